"""Single flight: one renewal at a time for each token set, across processes and hosts.

All access tokens of a token set share one refresh token, and an authorization server that rotates
revokes everything when it sees the same one twice. So whoever asks it holds the row's lease; all
others serve what still works, or wait for what the holder brings.
"""

import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeGuard

from django.db import Error

from . import dpop, oauth, outage, policy, resource_requests, signals, vault
from .conf import settings
from .contents import AccessToken, Contents, TokenKey
from .exceptions import InvalidSession, TemporarilyUnavailable, TokenError
from .models import TokenSet, hand_back_pooled_connection, to_datetime
from .renewal import Holder, OutdatedError, check_worth_asking, ends_session, lease_seconds

logger = logging.getLogger(__name__)

# How often those who wait look again.
_POLL_SECONDS = (0.05, 0.15)


def obtain(
    contents: Contents,
    key: TokenKey,
    *,
    current: AccessToken | None = None,
    forced: bool = False,
    session_seconds: float | None = None,
    proof: dpop.Proof | None = None,
) -> AccessToken:
    """Return a token for ``key``, newly obtained by this caller or by whoever was faster.

    ``contents``: as read a moment ago. ``current``: the stored token that fits and has not expired;
    ``forced`` when a resource server refused it (T6). ``session_seconds``: how long the Django
    session lives from now. ``proof``: of the DPoP key in ``key``. Raises ``TokenError``.
    """
    try:
        check_worth_asking(contents, key)
        return _obtained(contents, key, current, forced, session_seconds, proof)
    except TokenError as error:
        # A token that still works outlives what went wrong (R10); one that was refused does not.
        if not _works(current) or _is_final(error) or (forced and not error.passing):
            raise
        return current
    except Error:
        if not _works(current):
            raise
        logger.warning("token set %s cannot be renewed: the database fails", contents.handle)
        return current


def _obtained(
    contents: Contents,
    key: TokenKey,
    current: AccessToken | None,
    forced: bool,
    session_seconds: float | None,
    proof: dpop.Proof | None = None,
    tests_grant: bool = False,
) -> AccessToken:
    handle = contents.handle
    refused = current if forced else None
    # A holder that crashes may have taken its lease after we came; then somebody calls anew.
    gives_up_at = time.monotonic() + lease_seconds() + settings.as_timeout
    while time.monotonic() < gives_up_at:
        _ensure_subject_token(contents, key, session_seconds)
        probes = outage.check(contents.provider)
        owner = secrets.token_hex(16)
        if TokenSet.objects.take_lease(handle, owner, lease_seconds()):
            try:
                holder = Holder(
                    handle, owner, key, refused, session_seconds, probes, proof, tests_grant
                )
                return holder.renew()
            except OutdatedError:
                continue
        if _works(current) and not forced:
            return current  # Nobody waits for a token that still works (R9).
        _wait_for_lease(handle, gives_up_at)
        token = policy.fitting(vault.read(handle), key, time.time())
        if token is not None and token != refused:
            return token
    raise TemporarilyUnavailable("The token is being renewed; this takes longer than it should.")


def _ensure_subject_token(contents: Contents, key: TokenKey, session_seconds: float | None) -> None:
    """Get the sign-in's own access token first, where ``key``'s is exchanged for it."""
    provider = oauth.provider(contents.provider)
    if not resource_requests.needs_subject_token(provider, key.resources):
        return
    contents = vault.read(contents.handle)
    token = policy.fitting(contents, TokenKey(), time.time())
    if token is None or policy.is_due(token, time.time()):
        check_worth_asking(contents, TokenKey())
        _obtained(contents, TokenKey(), token, forced=False, session_seconds=session_seconds)


def renew(contents: Contents, key: TokenKey) -> AccessToken:
    """Return a new token for ``key`` in place of the one that is stored; raises ``TokenError``."""
    check_worth_asking(contents, key)
    stored = policy.fitting(contents, key, time.time())
    return _obtained(contents, key, stored, forced=True, session_seconds=None, tests_grant=True)


def forget_access_tokens(handle: str) -> bool:
    """Forget them; false when the token set has ended, or somebody is just renewing."""

    def forget(contents: Contents) -> None:
        contents.access_tokens.clear()

    return _change(handle, forget, access_expires_at=None)


def amend(handle: str, *, session_key: str | None, session_seconds: float) -> None:
    """Record the Django session's new key and end, unless somebody is just renewing."""

    def follow(contents: Contents) -> None:
        contents.session_key = session_key
        contents.expires_at = contents.ends_at(session_seconds)

    _change(handle, follow)


def _change(handle: str, change: Callable[[Contents], None], **columns: Any) -> bool:
    """Change what is stored, and ``columns``, while nobody renews; return whether that was so."""
    owner = secrets.token_hex(16)
    if not TokenSet.objects.take_lease(handle, owner, lease_seconds()):
        return False
    try:
        contents = vault.read(handle)
        change(contents)
        columns["expires_at"] = to_datetime(contents.expires_at)
        return vault.save(contents, owner=owner, **columns)
    finally:
        TokenSet.objects.release_lease(handle, owner)


def _wait_for_lease(handle: str, gives_up_at: float) -> None:
    started_at = time.monotonic()
    while TokenSet.objects.is_leased(handle) and time.monotonic() < gives_up_at:
        hand_back_pooled_connection()
        time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311  # jitter
    seconds = time.monotonic() - started_at
    signals.lease_waited.send_robust(TokenSet, handle=handle, seconds=seconds)


def _works(token: AccessToken | None) -> TypeGuard[AccessToken]:
    return token is not None and token.seconds_left(time.time()) >= 1


def _is_final(error: TokenError) -> bool:
    """Return whether not even a token that still works may be served after ``error``.

    A page that is told the nonce has the next token at once.
    """
    return isinstance(error, InvalidSession) or ends_session(error) or error.wants_nonce
