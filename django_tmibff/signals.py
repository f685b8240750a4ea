"""The signals we send. No argument of any of them holds a token.

Each comes with ``sender=TokenSet`` and ``handle``, the token set's public name.
"""

from django.dispatch import Signal

#: After a sign-in's tokens were kept. Arguments: ``handle``, ``provider``, ``request``.
tokens_stored = Signal()

#: After the authorization server gave a new access token.
#: Arguments: ``handle``, ``provider``, ``resources``, ``scope``.
tokens_renewed = Signal()

#: After a renewal came to nothing. Arguments: ``handle``, ``provider``, ``error``.
renewal_failed = Signal()

#: After a token set ended. Arguments: ``handle``, ``provider``, ``reason``.
session_ended = Signal()

#: After an access token was handed out. Arguments: ``handle``, ``resources``, ``scope``.
token_served = Signal()
