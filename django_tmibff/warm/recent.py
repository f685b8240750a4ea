"""Whose tokens a session had when it was last here: a guess, for reading all at once.

Only the session itself says whose they are, and it has to be read first. This process remembers
what it said, and who is told a wrong guess by it reads once more.
"""

import hashlib
from typing import NamedTuple

# A few megabytes. Whoever is forgotten costs one more reading.
_MOST = 10_000


class Owner(NamedTuple):
    """The handle of a session's token set, and its user's id as the session has it."""

    handle: str
    user_id: str


_owners: dict[bytes, Owner] = {}


def owner(session_key: str | None) -> Owner | None:
    """Return what that session said when it was last here."""
    return _owners.get(_digest(session_key)) if session_key else None


def remember(session_key: str | None, owner: Owner) -> None:
    """Remember what that session says."""
    if session_key:
        if len(_owners) >= _MOST:
            _owners.clear()
        _owners[_digest(session_key)] = owner


def _digest(session_key: str) -> bytes:
    # A session's key lets in who has it: it is not to stay in memory.
    return hashlib.sha256(session_key.encode()).digest()
