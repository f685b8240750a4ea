"""The end of a token set: stamped, its refresh token revoked, the Django session behind it gone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, router, transaction
from django.http import HttpRequest
from django.utils import timezone

from . import deferral, revocation, signals, stores, vault
from .contents import Contents
from .exceptions import TemporarilyUnavailable
from .models import TokenSet

logger = logging.getLogger(__name__)


class Outcome(Enum):
    """What came of it."""

    NOTHING = auto()
    ENDED = auto()
    SESSION_LEFT = auto()


def end(
    handle: str, reason: str, *, with_session: bool = False, only_dead: bool = False
) -> Outcome:
    """End that token set, or ``only_dead`` if it has no refresh token; return what came of it.

    ``with_session``: the Django session behind it ends too, through its own engine; it is left
    where its key is lost, for what was sealed is gone or does not open. Raises
    ``TemporarilyUnavailable``, and the token set lives on, when that engine fails, or the cache
    where the session's key is sealed. Without it such a cache only delays the revocation.
    """
    using = router.db_for_write(TokenSet)
    with transaction.atomic(using=using):
        stored = claimed(handle)
        if stored is None:
            return Outcome.NOTHING
        if with_session and stored.unread:
            raise TemporarilyUnavailable(
                "The cache of the tokens fails (TMIBFF_CACHE_ALIAS): nothing was changed."
            )
        contents = vault.opened(handle, stored)
        if only_dead and contents is not None and contents.refresh_token is not None:
            return Outcome.NOTHING
        if with_session and contents is not None:
            _end_session_first(contents)
        owes = _stamp(handle, stored, contents, reason)
        if owes:
            # A function, for Django cannot log the failure of a partial.
            transaction.on_commit(lambda: _revoke_later(handle), using=using, robust=True)
    _tell(handle, stored.provider, reason, owes=owes)
    if with_session and contents is None:
        logger.error("session of token set %s not ended: its key is lost", handle)
        return Outcome.SESSION_LEFT
    return Outcome.ENDED


def expire(handle: str) -> bool:
    """End a token set that has expired; what it owes is due at once, for the caller to settle.

    False, and nothing changes, when it lives again, somebody is renewing it, it has ended, or what
    it holds does not open.
    """
    with transaction.atomic(using=router.db_for_write(TokenSet)):
        if not TokenSet.objects.claim_expired(handle):
            return False
        stored = stores.current().get(handle, fresh=True)
        contents = None if stored is None else vault.opened(handle, stored)
        if stored is None or contents is None:
            return False
        owes = _stamp(handle, stored, contents, "expired")
    _tell(handle, stored.provider, "expired", owes=owes)
    return True


def claimed(handle: str) -> stores.Stored | None:
    """Lock the token set to the transaction's end and return it; ``None`` if it has ended."""
    return stores.current().get(handle, fresh=True) if TokenSet.objects.claim(handle) else None


def end_with_session(source: HttpRequest | TokenSet, contents: Contents) -> None:
    """End the token set whose grant is dead, and the Django session that came from it (X6).

    Neither, when a new sign-in has mended the token set meanwhile. A session engine that fails is
    in the log only: the page is to learn of the grant, and its browser to lose the session.
    """
    if end(contents.handle, "invalid_grant", only_dead=True) is Outcome.NOTHING:
        return
    try:
        with _session_engine(contents.handle):
            _sign_out(source, contents.session_key)
    except TemporarilyUnavailable:
        if isinstance(source, HttpRequest):
            source.session = type(source.session)()
            source.user = AnonymousUser()


def _sign_out(source: HttpRequest | TokenSet, session_key: str | None) -> None:
    if isinstance(source, HttpRequest):
        auth.logout(source)
    else:
        _delete_session(session_key)


def _stamp(handle: str, stored: stores.Stored, contents: Contents | None, reason: str) -> bool:
    """Write the end down; return whether a revocation is owed."""
    debt = None if contents is None else revocation.owed(contents)
    may_owe = stored.unread and revocation.is_possible(stored.provider)
    owes = may_owe or debt is not None
    now = timezone.now()
    columns: dict[str, Any] = {
        "version": stored.version,
        "owner": None,
        "ended_at": now,
        "end_reason": reason,
        "revoke_at": now if owes else None,
    }
    if may_owe:
        # The row alone: what is owed is to be found where nobody answers now.
        stamped = TokenSet.objects.compare_and_set(handle, **columns)
    else:
        sealed = None if debt is None else debt.sealed()
        stamped = stores.current().put(handle, sealed, **columns)
    if not stamped:
        raise DatabaseError(f"token set {handle} changed while it was locked")
    return owes


def _tell(handle: str, provider: str, reason: str, *, owes: bool) -> None:
    logger.info("token set %s ended: %s", handle, reason)
    signals.session_ended.send_robust(
        TokenSet,
        handle=handle,
        provider=provider,
        reason=reason,
        owes_revocation=owes,
    )


def _revoke_later(handle: str) -> None:
    deferral.after_response(lambda: revocation.settle(handle))


def _end_session_first(contents: Contents) -> None:
    """End the Django session before its token set: who fails in between has done no harm.

    Sessions in a cache do not come back with a rollback, but only sign in again.
    """
    handle, session_key = contents.handle, contents.session_key

    def end_again() -> None:
        # A cache in front of the database may have read the row that was not gone yet.
        with suppress(TemporarilyUnavailable), _session_engine(handle):
            _delete_session(session_key)

    with _session_engine(handle):
        _delete_session(session_key)
    transaction.on_commit(end_again, using=router.db_for_write(TokenSet), robust=True)


@contextmanager
def _session_engine(handle: str) -> Iterator[None]:
    """Translate whatever a session engine raises."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        logger.error("session of token set %s not ended: %s", handle, kind)  # noqa: TRY400  # its text may hold a cache's password
        raise TemporarilyUnavailable(
            "The session cannot be ended now (SESSION_ENGINE): nothing was changed."
        ) from None


def _delete_session(session_key: str | None) -> None:
    if session_key is not None:
        engine = import_module(django_settings.SESSION_ENGINE)
        engine.SessionStore(session_key).delete()
