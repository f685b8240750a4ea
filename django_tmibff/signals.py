"""The signals we send. No argument of any of them holds a token.

Each comes with ``sender=TokenSet`` and ``handle``, the token set's public name. A receiver that
raises is logged by Django, and changes nothing.
"""

from django.dispatch import Signal

#: After a sign-in's tokens were kept. Arguments: ``handle``, ``provider``, ``request``.
tokens_stored = Signal()

#: After the authorization server gave a new access token. Arguments: ``handle``, ``provider``,
#: ``resources``, ``scope``, ``seconds``: how long the authorization server took.
tokens_renewed = Signal()

#: After a renewal came to nothing. Arguments: ``handle``, ``provider``, ``error``, ``seconds``.
renewal_failed = Signal()

#: After a caller has waited while another one renewed. Arguments: ``handle``, ``seconds``.
lease_waited = Signal()

#: After an access token was handed out. Arguments: ``handle``, ``resources``, ``scope``.
token_served = Signal()

#: After a caller got an error instead. Arguments: ``handle`` (``None`` where the session has no
#: tokens), ``error``.
token_refused = Signal()

#: After a token set ended. Arguments: ``handle``, ``provider``, ``reason``, ``owes_revocation``.
session_ended = Signal()

#: After a try to deliver a revocation that was owed. Arguments: ``handle``, ``provider``,
#: ``outcome``: ``"delivered"``, ``"failed"`` or ``"given up"``.
revocation_tried = Signal()
