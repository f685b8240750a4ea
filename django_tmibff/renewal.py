"""Renewal, single flight: one refresh at a time for each token set, across processes and hosts.

All access tokens of a token set share one refresh token, and an authorization server that rotates
revokes everything when it sees the same one twice. So whoever asks it holds the row's lease, reads
the refresh token inside it, and saves what came back before anyone sees the new access token.
"""

import logging
import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeGuard

from django.db import (
    DataError,
    Error,
    IntegrityError,
    ProgrammingError,
    connections,
    router,
)
from django.db.models import F
from django.utils import timezone

from . import oauth, outage, policy, signals, vault
from .conf import Provider, settings
from .contents import CALL_WINDOW, AccessToken, Contents, Refusal, TokenKey
from .exceptions import (
    AuthorizationServerRefused,
    BackendNotReady,
    InvalidScope,
    InvalidSession,
    TemporarilyUnavailable,
    TokenError,
)
from .models import TokenSet

logger = logging.getLogger(__name__)

# How long saving is tried again: a database may restart between the answer and the save.
SAVE_SECONDS = 30.0
_MARGIN_SECONDS = 5.0
_POLL_SECONDS = (0.05, 0.15)

# Refused for one resource and scope: it says nothing about the session's other tokens (X7).
_REFUSED_FOR_ONE_KEY = frozenset(
    {
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "consent_required",
        "interaction_required",
    }
)


class GrantEnded(AuthorizationServerRefused):
    """The refresh token is dead, and that is believed (X6).

    ``made_session``: the sign-in that the grant comes from made the Django session.
    """

    def __init__(self, refusal: AuthorizationServerRefused, *, made_session: bool) -> None:
        super().__init__(refusal.error, refusal.description)
        self.made_session = made_session


class _OutdatedError(Exception):
    """Somebody else has changed the token set meanwhile: read it again."""


def lease_seconds() -> float:
    """Return how long a lease lives: longer than a call and the saving of its answer can take."""
    return settings.as_timeout + SAVE_SECONDS + _MARGIN_SECONDS


def obtain(
    contents: Contents,
    key: TokenKey,
    *,
    current: AccessToken | None = None,
    forced: bool = False,
    session_seconds: float | None = None,
) -> AccessToken:
    """Return a token for ``key``, newly obtained by this caller or by whoever was faster.

    ``contents``: as read a moment ago. ``current``: the stored token that fits and has not expired;
    ``forced`` when a resource server refused it (T6). ``session_seconds``: how long the Django
    session lives from now. Raises ``TokenError``.
    """
    try:
        _check_worth_asking(contents, key)
        return _obtained(contents, key, current, forced, session_seconds)
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
) -> AccessToken:
    handle = contents.handle
    refused = current if forced else None
    gives_up_at = time.monotonic() + lease_seconds()
    while time.monotonic() < gives_up_at:
        probes = outage.check(contents.provider)
        owner = secrets.token_hex(16)
        if TokenSet.objects.take_lease(handle, owner, lease_seconds()):
            try:
                return _Holder(handle, owner, key, refused, session_seconds, probes).renew()
            except _OutdatedError:
                continue
        if _works(current) and not forced:
            return current  # Nobody waits for a token that still works (R9).
        _wait_for_lease(handle, gives_up_at)
        token = policy.fitting(_read(handle), key, time.time())
        if token is not None and token != refused:
            return token
    raise TemporarilyUnavailable("The token is being renewed; this takes longer than it should.")


def amend(handle: str, *, session_key: str | None, session_seconds: float) -> None:
    """Record the Django session's new key and end, unless somebody is just renewing."""
    owner = secrets.token_hex(16)
    if not TokenSet.objects.take_lease(handle, owner, lease_seconds()):
        return
    try:
        contents = _read(handle)
        contents.session_key = session_key
        contents.expires_at = ends_at(session_seconds, contents.refresh_expires_at)
        vault.save(contents, owner=owner, expires_at=to_datetime(contents.expires_at))
    finally:
        TokenSet.objects.release_lease(handle, owner)


def _wait_for_lease(handle: str, gives_up_at: float) -> None:
    while TokenSet.objects.is_leased(handle) and time.monotonic() < gives_up_at:
        _hand_back_pooled_connection()
        time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311  # jitter


def _hand_back_pooled_connection() -> None:
    # Those who wait must not keep a pool's connections from the one who has to save.
    connection = connections[_database()]
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        connection.close()


def _use_fresh_connection() -> None:
    connection = connections[_database()]
    if not connection.in_atomic_block:
        connection.close()
    time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311  # jitter


def _database() -> str:
    return router.db_for_write(TokenSet)


def _read(handle: str) -> Contents:
    contents = vault.load(handle, fresh=True)
    if contents is None:
        raise BackendNotReady
    return contents


@dataclass
class _Holder:
    """Renews one token set while nobody else may."""

    handle: str
    owner: str
    key: TokenKey
    refused: AccessToken | None
    session_seconds: float | None
    probes_outage: bool
    holds_lease: bool = True
    sent: str | None = field(default=None, repr=False)
    answered: bool = False

    def renew(self) -> AccessToken:
        try:
            contents = _read(self.handle)
            token = policy.fitting(contents, self.key, time.time())
            if token is not None and self._still_serves(token):
                return token
            _check_worth_asking(contents, self.key)
            return self._renewed(contents)
        finally:
            self._release()

    def _still_serves(self, token: AccessToken) -> bool:
        return token != self.refused and not policy.is_due(token, time.time())

    def _renewed(self, contents: Contents) -> AccessToken:
        try:
            response = self._ask(contents)
        except TokenError as error:
            self._note_failure(contents, error)
            raise
        return self._keep(contents, response)

    def _release(self) -> None:
        # A lease that cannot be given back lapses by itself.
        if self.holds_lease:
            with suppress(Error):
                TokenSet.objects.release_lease(self.handle, self.owner)

    def _ask(self, contents: Contents) -> oauth.TokenResponse:
        scope = policy.requested_scope(self.key)
        try:
            return self._refresh(contents, self.key.resources, scope)
        except AuthorizationServerRefused as refusal:
            if refusal.error != "invalid_grant":
                raise
            self._believe_or_doubt(contents, refusal, plain=not (self.key.resources or scope))
            raise

    def _believe_or_doubt(
        self, contents: Contents, refusal: AuthorizationServerRefused, *, plain: bool
    ) -> None:
        """Raise ``GrantEnded`` if ``invalid_grant`` is to be believed (X6); else return.

        Some servers say it of a resource without consent: a plain refresh tells which it is.
        """
        if _read(self.handle).refresh_token != self.sent:
            raise _OutdatedError from refusal
        if not plain:
            self._extend_lease()
            try:
                response = self._refresh(contents)
            except AuthorizationServerRefused as again:
                if again.error != "invalid_grant":
                    raise
            else:
                _apply_refresh_token(contents, response)
                contents.put(_access_token(TokenKey(), response, contents))
                _remember_refusal(contents, self.key, refusal)
                return
        contents.refresh_token = None
        raise GrantEnded(refusal, made_session=contents.made_session) from refusal

    def _refresh(
        self, contents: Contents, resources: tuple[str, ...] = (), scope: str = ""
    ) -> oauth.TokenResponse:
        provider = _provider(contents)
        _check_rate(contents)
        contents.calls.append(time.time())
        self.sent = contents.refresh_token or ""
        try:
            response = oauth.refresh(provider, self.sent, resources=resources, scope=scope)
        except TemporarilyUnavailable as error:
            outage.report(provider.name, self.handle, no_connection=error.no_connection)
            raise
        except TokenError:
            self._note_answer(provider)
            raise
        self.answered = True
        self._note_answer(provider)
        return response

    def _note_answer(self, provider: Provider) -> None:
        if self.probes_outage:
            outage.end(provider.name)
            self.probes_outage = False

    def _extend_lease(self) -> None:
        if not TokenSet.objects.extend_lease(self.handle, self.owner, lease_seconds()):
            raise _OutdatedError

    def _keep(self, contents: Contents, response: oauth.TokenResponse) -> AccessToken:
        token = _access_token(self.key, response, contents)
        too_wide = policy.refusal_of_wider(token)
        _apply_refresh_token(contents, response)
        if too_wide is None:
            contents.put(token)
        else:
            _remember_refusal(contents, self.key, too_wide, by_us=True)
        self._save(contents, **self._columns(contents, token))
        self._tell(contents, token)
        if too_wide is not None:
            raise too_wide
        return token

    def _columns(self, contents: Contents, token: AccessToken) -> dict[str, Any]:
        columns: dict[str, Any] = {
            "refreshed_at": timezone.now(),
            "refresh_count": F("refresh_count") + 1,
            "access_expires_at": to_datetime(token.expires_at),
            "last_error": "",
            "last_error_at": None,
        }
        if token.key == TokenKey() and token.scope is not None:
            columns["scope"] = token.scope
        if self.session_seconds is not None:
            contents.expires_at = ends_at(self.session_seconds, contents.refresh_expires_at)
            columns["expires_at"] = to_datetime(contents.expires_at)
        return columns

    def _tell(self, contents: Contents, token: AccessToken) -> None:
        logger.info("token set %s renewed", self.handle)
        if token.key == TokenKey() and policy.is_narrower(token.scope, contents.granted):
            logger.warning("token set %s renewed with a narrower scope than granted", self.handle)
        signals.tokens_renewed.send_robust(
            TokenSet,
            handle=self.handle,
            provider=contents.provider,
            resources=token.key.resources,
            scope=token.scope,
        )

    def _note_failure(self, contents: Contents, error: TokenError) -> None:
        if error.error in _REFUSED_FOR_ONE_KEY:
            _remember_refusal(contents, self.key, error)
        level = logging.ERROR if error.error == "invalid_client" else logging.WARNING
        logger.log(level, "token set %s not renewed: %s", self.handle, error.error)
        self._save(contents, last_error=error.error[:100], last_error_at=timezone.now())
        signals.renewal_failed.send_robust(
            TokenSet, handle=self.handle, provider=contents.provider, error=error.error
        )

    def _save(self, contents: Contents, **columns: Any) -> None:
        """Save and free the lease.

        Raises ``_OutdatedError`` when somebody else has changed the token set meanwhile: then only
        the refresh token that came back is saved, if the one it replaces is still there.
        """
        if self._is_saved(contents, columns):
            self.holds_lease = False
            return
        while not self._is_saved(self._rebased(contents), {}):
            pass
        self.holds_lease = False
        raise _OutdatedError

    def _is_saved(self, contents: Contents, columns: dict[str, Any]) -> bool:
        """Return whether nobody was faster; an answer is not given up for ``SAVE_SECONDS``."""
        gives_up_at = time.monotonic() + (SAVE_SECONDS if self.answered else 0)
        while True:
            try:
                return vault.save(contents, owner=self.owner, **columns)
            except (DataError, IntegrityError, ProgrammingError):
                raise
            except Error:
                # Anything else passes: a restart, a failover to a server that was read-only.
                if time.monotonic() >= gives_up_at:
                    raise
                logger.warning("token set %s not saved yet: the database fails", self.handle)
                _use_fresh_connection()

    def _rebased(self, contents: Contents) -> Contents:
        """Return the token set as it is now, with the refresh token that just came."""
        try:
            now = _read(self.handle)
        except (BackendNotReady, InvalidSession):
            if self.answered:
                revoke(contents)  # Who finds the set ended, or gone, owes this.
            raise
        if not self.answered or now.refresh_token != self.sent:
            raise _OutdatedError
        self._extend_lease()
        now.refresh_token = contents.refresh_token
        now.refresh_expires_at = contents.refresh_expires_at
        return now


def revoke(contents: Contents) -> bool:
    """Revoke the refresh token at the authorization server; false when that is still owed (B4)."""
    if contents.refresh_token is None:
        return True
    try:
        oauth.revoke(_provider(contents), contents.refresh_token)
    except TokenError as error:
        logger.warning("token set %s not revoked: %s", contents.handle, error.error)
        return False
    logger.info("token set %s revoked", contents.handle)
    return True


def ends_at(session_seconds: float, refresh_expires_at: float | None) -> float:
    """Return when the stored tokens end: with the session or the refresh token (B2)."""
    ends = [time.time() + session_seconds, refresh_expires_at]
    return min(end for end in ends if end is not None)


def to_datetime(seconds: float | None) -> datetime | None:
    """Return that time for a model's column, whatever ``USE_TZ`` says."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment if timezone.is_aware(timezone.now()) else timezone.make_naive(moment)


def ends_session(error: TokenError) -> bool:
    """Return whether the Django session ends with its grant (X6)."""
    return (
        isinstance(error, GrantEnded)
        and error.made_session
        and settings.end_session_on_invalid_grant
    )


def _works(token: AccessToken | None) -> TypeGuard[AccessToken]:
    return token is not None and token.seconds_left(time.time()) >= 1


def _is_final(error: TokenError) -> bool:
    """Return whether not even a token that still works may be served after ``error``."""
    return isinstance(error, InvalidSession) or ends_session(error)


def _provider(contents: Contents) -> Provider:
    provider = settings.find_provider(contents.provider)
    if provider is None:
        raise BackendNotReady("This site's authorization server is not set up.")
    return provider


def _check_worth_asking(contents: Contents, key: TokenKey) -> None:
    """Raise what the authorization server need not be asked for: X3, X7, T7."""
    remembered = policy.refusal(contents, key, time.time())
    if remembered is not None:
        if remembered.by_us:
            raise InvalidScope(remembered.description)
        raise AuthorizationServerRefused(remembered.error, remembered.description)
    if contents.refresh_token is None:
        raise BackendNotReady
    _check_rate(contents)


def _check_rate(contents: Contents) -> None:
    """Raise ``TemporarilyUnavailable`` after too many calls in the last minute (T7)."""
    now = time.time()
    contents.drop_expired(now)
    if len(contents.calls) >= settings.as_calls_per_minute:
        wait = max(1, round(min(contents.calls, default=now) + CALL_WINDOW - now))
        raise TemporarilyUnavailable("Too many renewals; try again later.", retry_after=wait)


def _remember_refusal(
    contents: Contents, key: TokenKey, error: TokenError, *, by_us: bool = False
) -> None:
    until = time.time() + settings.refusal_seconds
    contents.refuse(Refusal(key, error.error, error.description, until, by_us))


def _access_token(key: TokenKey, response: oauth.TokenResponse, contents: Contents) -> AccessToken:
    # An answer without scope means: what was asked for (RFC 6749 §5.1), else the grant's (§6).
    asked = policy.requested_scope(key) or (None if key.resources else contents.granted)
    return access_token(key, response, default_scope=asked)


def access_token(
    key: TokenKey, response: oauth.TokenResponse, *, default_scope: str | None
) -> AccessToken:
    """Return the access token of ``response``, to be stored under ``key``."""
    return AccessToken(
        key=key,
        value=response.access_token,
        token_type=response.token_type,
        scope=default_scope if response.scope is None else response.scope,
        issued_at=response.requested_at,
        expires_at=response.expires_at,
    )


def _apply_refresh_token(contents: Contents, response: oauth.TokenResponse) -> None:
    """Take over the new refresh token; without one the old one is kept (R12)."""
    if response.refresh_token is not None:
        contents.refresh_token = response.refresh_token
        contents.refresh_expires_at = response.refresh_expires_at
    elif response.refresh_expires_at is not None:
        contents.refresh_expires_at = response.refresh_expires_at
