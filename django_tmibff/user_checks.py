"""How long a check of a user may be trusted on the fast path: ``TMIBFF_USER_CHECK_SECONDS`` (E3).

What is remembered is the session hash that a user's password gives, and that the user was active.
"""

import time
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model

from . import stores
from .conf import settings
from .stores import Stored, caching


class Found(NamedTuple):
    """The cache's token set, the hash of a check that is still trusted, and a session's entry."""

    stored: Stored | None = None
    session_hash: str | None = None
    session: Any = None


def with_recent(handle: str, user_id: str, session_key: str | None = None) -> Found:
    """Return what the cache has, in one round trip.

    ``session_key``: under which the same cache has a session.
    """
    fact_key = _fact(user_id) if settings.user_check_seconds else None
    if fact_key is None and session_key is None:
        return Found()
    try:
        stored, fact, session = caching.read_together(handle, fact_key, session_key)
    except caching.CacheFailsError:
        return Found()
    return Found(stored, _trusted(fact), session)


def remember(user_id: str, session_hash: str, *, checked_at: float) -> None:
    """Trust for a while that this user is active, with a password that gives this hash.

    ``checked_at``: when that was about to be looked up, in seconds since the epoch.
    """
    if settings.user_check_seconds:
        # Only where nothing is there: what a change of the user has left stays.
        fact = [session_hash, checked_at]
        _quietly(caching.remember_first, _fact(user_id), fact, settings.user_check_seconds)


def _trusted(fact: Any) -> str | None:
    """Return the hash that is in ``fact``, unless it was looked up too long ago.

    The cache counts from when it was told, and by then a slow process may have slept.
    """
    match fact:
        case [str(session_hash), int() | float() as checked_at]:
            is_recent = 0 <= time.time() - checked_at < settings.user_check_seconds
            return session_hash if is_recent else None
    return None


def forget(user: Any) -> None:
    """Trust no check of a user who was just changed, nor one that is under way.

    The word that is left for it outlives whatever was read before the change was committed.
    """
    if settings.user_check_seconds and stores.current().uses_cache:
        # A child of the user model may have another key of its own.
        user_id = getattr(user, get_user_model()._meta.pk.attname)
        fact, seconds = _fact(str(user_id)), settings.user_check_seconds
        _quietly(caching.remember, fact, "", seconds)
        caching.after_commit(lambda: _quietly(caching.remember, fact, "", seconds))


def _quietly(call: Any, *arguments: Any) -> None:
    try:
        call(*arguments)
    except caching.CacheFailsError:
        return  # Nothing is remembered, so that nothing is trusted.


def _fact(user_id: str) -> str:
    return f"user-check:{user_id}"
