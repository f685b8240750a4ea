"""Revocation of refresh tokens (RFC 7009): owed from a token set's end until delivered (B4)."""

import logging
import math
import time
from datetime import datetime, timedelta

from django.utils import timezone

from . import oauth, outage, signals, stores, vault
from .conf import settings
from .contents import Contents
from .exceptions import TemporarilyUnavailable, TokenError, forgets_locals
from .models import TokenSet, hand_back_pooled_connection

logger = logging.getLogger(__name__)

# Between two tries: a minute, then twice as long each time, up to six hours.
_FIRST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=6)
# How often a token set that changes meanwhile is read again.
_ATTEMPTS = 3


def owed(contents: Contents) -> Contents | None:
    """Return what is kept of a token set that ends: the refresh token, if it can be revoked."""
    if contents.refresh_token is None or time.time() >= (contents.refresh_expires_at or math.inf):
        return None
    provider = settings.find_provider(contents.provider)
    if provider is None or not provider.revocation_endpoint:
        return None
    return Contents(
        handle=contents.handle,
        provider=contents.provider,
        user=contents.user,
        version=contents.version + 1,
        refresh_token=contents.refresh_token,
        refresh_expires_at=contents.refresh_expires_at,
        claims={"iss": contents.issuer} if contents.issuer else {},
    )


@forgets_locals
def settle(handle: str) -> bool:
    """Deliver the revocation that the token set owes, if it is due; return whether it was.

    What cannot be delivered stays owed, for a later try.
    """
    record = TokenSet.objects.filter(handle=handle).first()
    if record is None or record.revoke_at is None or _nobody_answers(record.provider):
        return False
    if not TokenSet.objects.claim_revocation(handle, _next_try):
        return False
    stored = stores.current().get(handle, fresh=True)
    # A cache that fails has nothing for now.
    contents = None if stored is None else vault.opened(handle, stored)
    if contents is None or not _revoked(contents):
        return False
    return _nothing_owed(handle, contents.version)


def give_up(handle: str) -> bool:
    """Forget the revocation that the token set owes; false when somebody else was faster."""
    stored = stores.current().get(handle, fresh=True)
    if stored is None or not _nothing_owed(handle, stored.version):
        return False
    logger.error("token set %s never revoked: given up", handle)
    _tell(handle, stored.provider, "given up")
    return True


@forgets_locals
def take_on(contents: Contents) -> None:
    """Revoke the refresh token of ``contents``, which came for a token set that has ended (B4)."""
    if _revoked(contents):
        return
    for _ in range(_ATTEMPTS):
        stored = stores.current().get(contents.handle, fresh=True)
        if stored is None or not stored.ended:
            break
        contents.version = stored.version
        debt = owed(contents)
        if debt is None or stores.current().put(
            contents.handle,
            debt.sealed(),
            version=stored.version,
            owner=None,
            ended=True,
            revoke_at=_next_try(1),
            revoke_count=1,
        ):
            return
    logger.error("token set %s never revoked: it is gone", contents.handle)


def _revoked(contents: Contents) -> bool:
    if contents.refresh_token is None:
        return True
    hand_back_pooled_connection()
    try:
        provider = oauth.provider(contents.provider, issuer=contents.issuer)
        oauth.revoke(provider, contents.refresh_token)
    except TokenError as error:
        logger.warning("token set %s not revoked: %s", contents.handle, error.recorded)
        _tell(contents.handle, contents.provider, "failed")
        if isinstance(error, TemporarilyUnavailable):
            endpoint = _endpoint(contents.provider)
            outage.report(endpoint, contents.handle, no_connection=error.no_connection)
        return False
    logger.info("token set %s revoked", contents.handle)
    _tell(contents.handle, contents.provider, "delivered")
    return True


def _tell(handle: str, provider: str, outcome: str) -> None:
    signals.revocation_tried.send_robust(
        TokenSet, handle=handle, provider=provider, outcome=outcome
    )


def _nobody_answers(provider: str) -> bool:
    return outage.lasts(provider) or outage.lasts(_endpoint(provider))


def _endpoint(provider: str) -> str:
    # An outage of its own: tokens are renewed while only revocations fail.
    return f"{provider} (revocation)"


def _nothing_owed(handle: str, version: int) -> bool:
    return stores.current().put(
        handle, None, version=version, owner=None, ended=True, revoke_at=None
    )


def _next_try(tries: int) -> datetime:
    doubled: int = 2 ** min(tries - 1, 10)
    return timezone.now() + min(_FIRST_PAUSE * doubled, _LONGEST_PAUSE)
