"""The end of a token set: stamped, its refresh token revoked, the Django session behind it gone."""

import logging
from importlib import import_module

from django.conf import settings as django_settings
from django.contrib import auth
from django.db import DatabaseError, Error, router, transaction
from django.http import HttpRequest
from django.utils import timezone

from . import signals, stores, vault
from .conf import settings
from .contents import Contents
from .exceptions import forgets_locals
from .models import TokenSet
from .revocation import revoke

logger = logging.getLogger(__name__)


def end(handle: str, reason: str, *, only_dead: bool = False) -> bool:
    """End that token set, or ``only_dead`` if it has no refresh token; return whether it ended."""
    using = router.db_for_write(TokenSet)
    with transaction.atomic(using=using):
        stored = claimed(handle)
        if stored is None:
            return False
        contents = vault.opened(handle, stored)
        if only_dead and contents is not None and contents.refresh_token is not None:
            return False
        owed = None if contents is None else _owed(contents)
        data = owed.sealed() if owed else None
        columns = {"ended_at": timezone.now(), "end_reason": reason}
        if not stores.current().put(handle, data, version=stored.version, owner=None, **columns):
            raise DatabaseError(f"token set {handle} changed while it was locked")
        if owed is not None:
            # A function, for Django cannot log the failure of a partial.
            transaction.on_commit(lambda: _deliver_revocation(owed), using=using, robust=True)
    logger.info("token set %s ended: %s", handle, reason)
    signals.session_ended.send_robust(
        TokenSet, handle=handle, provider=stored.provider, reason=reason
    )
    return True


def claimed(handle: str) -> stores.Stored | None:
    """Lock the token set to the transaction's end and return it; ``None`` if it has ended."""
    return stores.current().get(handle, fresh=True) if TokenSet.objects.claim(handle) else None


def end_with_session(source: HttpRequest | TokenSet, contents: Contents) -> None:
    """End the token set whose grant is dead, and the Django session that came from it (X6).

    Neither, when a new sign-in has mended the token set meanwhile.
    """
    if not end(contents.handle, "invalid_grant", only_dead=True):
        return
    if isinstance(source, HttpRequest):
        auth.logout(source)
    elif contents.session_key is not None:
        engine = import_module(django_settings.SESSION_ENGINE)
        engine.SessionStore(contents.session_key).delete()


def _owed(contents: Contents) -> Contents | None:
    """Return what is kept of an ended token set: the refresh token, until it is revoked (B4)."""
    provider = settings.find_provider(contents.provider)
    if contents.refresh_token is None or provider is None or not provider.revocation_endpoint:
        return None
    return Contents(
        handle=contents.handle,
        provider=contents.provider,
        user=contents.user,
        version=contents.version + 1,
        refresh_token=contents.refresh_token,
    )


@forgets_locals
def _deliver_revocation(owed: Contents) -> None:
    if not revoke(owed):
        return
    try:
        stores.current().delete(owed.handle)
    except Error:
        logger.warning("token set %s is revoked, which could not be noted", owed.handle)
