"""Fixed phrases that are kept in English, and shown in the language of whoever reads them."""

import re

from django.utils.translation import gettext, gettext_noop

ENDED_HERE = gettext_noop("ended in the admin")
#: Why token sets end; a protocol's own words, such as invalid_grant, are the same everywhere.
REASONS = frozenset(
    {
        ENDED_HERE,
        gettext_noop("another sign-in"),
        gettext_noop("back-channel logout"),
        gettext_noop("expired"),
        gettext_noop("logout"),
        gettext_noop("replaced"),
        gettext_noop("user deactivated"),
        gettext_noop("user deleted"),
    }
)

# What the log says that an operator did.
RENEWED = gettext_noop("Renewed.")
NOT_RENEWED = gettext_noop("Not renewed: %(error)s.")
FORGOTTEN = gettext_noop("Access tokens forgotten.")
ENDED = gettext_noop("Ended and revoked.")

_NOT_RENEWED = re.compile(r"Not renewed: (?P<error>\w+)\.")


def log_message(message: str) -> str:
    """Return what the log says, whoever wrote it."""
    found = _NOT_RENEWED.fullmatch(message)
    return gettext(NOT_RENEWED) % found.groupdict() if found else gettext(message)
