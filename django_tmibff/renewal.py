"""Renewal by who holds the lease: read inside it, ask the authorization server, save, tell.

What came back is saved before anyone sees the new access token.
"""

import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import (
    DataError,
    Error,
    IntegrityError,
    ProgrammingError,
)
from django.db.models import F
from django.utils import timezone

from . import dpop, grant, oauth, outage, policy, resource_requests, revocation, signals, vault
from .conf import Provider, settings
from .contents import CALL_WINDOW, AccessToken, Contents, Refusal, TokenKey
from .exceptions import (
    AuthorizationServerRefused,
    BackendNotReady,
    BearerRefused,
    InvalidDpopProof,
    InvalidScope,
    InvalidSession,
    TemporarilyUnavailable,
    TokenError,
)
from .models import (
    TokenSet,
    hand_back_pooled_connection,
    to_datetime,
    use_fresh_connection,
)
from .own_key import OwnKey
from .resource_requests import Request

logger = logging.getLogger(__name__)

# How long saving is tried again: a database may restart between the answer and the save.
SAVE_SECONDS = 30.0
_RETRY_SECONDS = (0.05, 0.15)
_MARGIN_SECONDS = 5.0

# Refused for one resource and scope: it says nothing about the session's other tokens (X7).
_REFUSED_FOR_ONE_KEY = frozenset(
    {
        "invalid_scope",
        "invalid_target",
        "invalid_resource",
        "unauthorized_client",
        "consent_required",
        "interaction_required",
    }
)


_PROOF_NOT_LIKED = "The authorization server does not take this proof."


class GrantEnded(AuthorizationServerRefused):
    """The refresh token is dead, and that is believed (X6).

    ``made_session``: the sign-in that the grant comes from made the Django session.
    """

    def __init__(self, refusal: AuthorizationServerRefused, *, made_session: bool) -> None:
        super().__init__(refusal.error, refusal.description)
        self.made_session = made_session


class OutdatedError(Exception):
    """Somebody else has changed the token set meanwhile: read it again."""


def lease_seconds() -> float:
    """Return how long a lease lives: longer than a call and the saving of its answer can take."""
    return settings.as_timeout + SAVE_SECONDS + _MARGIN_SECONDS


@dataclass
class Holder:
    """Renews one token set while nobody else may.

    ``proof`` is of the DPoP key in ``key``; ``tests_grant``: nobody wants the access token.
    """

    handle: str
    owner: str
    key: TokenKey
    refused: AccessToken | None
    session_seconds: float | None
    probes_outage: bool
    proof: dpop.Proof | None = None
    tests_grant: bool = False
    holds_lease: bool = True
    sent: str | None = field(default=None, repr=False)
    answered: bool = False
    seconds: float = 0.0

    def renew(self) -> AccessToken:
        try:
            contents = vault.read(self.handle)
            self._pin(contents)
            token = policy.fitting(contents, self.key, time.time())
            if token is not None and self._still_serves(token):
                return token
            check_worth_asking(contents, self.key)
            return self._renewed(contents, self._proof(contents))
        finally:
            self._release()

    def _pin(self, contents: Contents) -> None:
        """Let the first key of a sign-in be its only one: script would bring one of its own."""
        if self.proof is not None:
            dpop.check_key(self.proof, contents.jkt)
            contents.jkt = self.proof.jkt

    def _still_serves(self, token: AccessToken) -> bool:
        return token != self.refused and not policy.is_due(token, time.time())

    def _renewed(self, contents: Contents, proof: str | None) -> AccessToken:
        try:
            response = self._ask(contents, proof)
        except TokenError as error:
            self._note_failure(contents, error)
            raise
        return self._keep(contents, response)

    def _release(self) -> None:
        # A lease that cannot be given back lapses by itself.
        if self.holds_lease:
            with suppress(Error):
                TokenSet.objects.release_lease(self.handle, self.owner)

    def _ask(self, contents: Contents, proof: str | None) -> oauth.TokenResponse:
        scope = policy.requested_scope(self.key)
        try:
            return self._send_proved(contents, scope, proof)
        except AuthorizationServerRefused as refusal:
            if refusal.error != "invalid_grant":
                raise
            plain = not (self.key.resources or scope or self.proof)
            self._believe_or_doubt(contents, refusal, plain=plain)
            raise

    def _send_proved(
        self, contents: Contents, scope: str, proof: str | None
    ) -> oauth.TokenResponse:
        try:
            return self._send(contents, self.key.resources, scope, proof)
        except AuthorizationServerRefused as refusal:
            # A page repeats its request itself; who has sent no proof cannot do better.
            is_own = proof is not None and self.proof is None
            if not (is_own and refusal.wants_nonce):
                raise
        self._extend_lease()
        return self._send(contents, self.key.resources, scope, self._own_proof(contents))

    def _believe_or_doubt(
        self, contents: Contents, refusal: AuthorizationServerRefused, *, plain: bool
    ) -> None:
        """Raise ``GrantEnded`` if ``invalid_grant`` is to be believed (X6); else return.

        Some servers say it of a resource without consent, or of a proof that they do not like: a
        plain refresh tells which it is.
        """
        if vault.read(self.handle).refresh_token != self.sent:
            raise OutdatedError from refusal
        if not plain:
            self._extend_lease()
            try:
                own_proof = self._own_proof(contents)  # The page's is used up.
                response = self._send(contents, proof=own_proof)
            except AuthorizationServerRefused as again:
                if again.error != "invalid_grant":
                    raise
            else:
                _apply_refresh_token(contents, response)
                if own_proof is None:
                    contents.put(_access_token(TokenKey(), response, contents))
                if self.key.is_sign_ins:
                    raise InvalidDpopProof(_PROOF_NOT_LIKED) from refusal
                _remember_refusal(contents, self.key, refusal)
                return
        contents.refresh_token = None
        raise GrantEnded(refusal, made_session=contents.made_session) from refusal

    def _proof(self, contents: Contents) -> str | None:
        return self._own_proof(contents) if self.proof is None else self.proof.to_send()

    def _own_proof(self, contents: Contents) -> str | None:
        """Return a proof of a key that nobody keeps, where a token that works is not the point.

        ``None`` where none is needed.
        """
        if self.proof is None and not self._has_own_key(contents):
            return None
        provider = oauth.provider(contents.provider)
        endpoint, nonce = provider.token_endpoint or "", dpop.recall_nonce(provider.name)
        return OwnKey().proof("POST", endpoint, nonce=nonce)

    def _has_own_key(self, contents: Contents) -> bool:
        """Return whether the token is to be bound to a key of ours: then nobody can use it."""
        if self.proof is not None:
            return False
        only_bound = self.tests_grant and settings.dpop == "required"
        return only_bound or oauth.provider(contents.provider).dpop_bound_access_tokens

    def _send(
        self,
        contents: Contents,
        resources: tuple[str, ...] = (),
        scope: str = "",
        proof: str | None = None,
    ) -> oauth.TokenResponse:
        provider = oauth.provider(contents.provider, issuer=contents.issuer)
        _check_rate(contents)
        contents.calls.append(time.time())
        self.sent = contents.refresh_token or ""
        request = self._request(provider, contents, resources, scope)
        request = replace(request, proof=proof)
        hand_back_pooled_connection()
        started_at = time.monotonic()
        try:
            response = resource_requests.send(provider, request)
        except TemporarilyUnavailable as error:
            outage.report(
                provider.name,
                self.handle,
                resources=resources,
                no_connection=error.no_connection,
            )
            raise
        except TokenError as error:
            self._note_answer(provider, error.dpop_nonce)
            raise
        finally:
            self.seconds += time.monotonic() - started_at
        self.answered = True
        self._note_answer(provider, response.dpop_nonce)
        if response.id_token is not None:
            grant.follow(contents, response.id_token, client_id=provider.client_id)
        return response

    def _request(
        self, provider: Provider, contents: Contents, resources: tuple[str, ...], scope: str
    ) -> Request:
        request = Request(self.sent or "", resources=resources, scope=scope)
        if not resource_requests.needs_subject_token(provider, resources):
            return request
        subject = policy.fitting(contents, TokenKey(), time.time())
        if subject is None:
            raise OutdatedError  # It has expired since it was looked at.
        return replace(request, subject_token=subject.value)

    def _note_answer(self, provider: Provider, dpop_nonce: str | None) -> None:
        # An answer is not lost because the database is just not there for this.
        with suppress(Error):
            dpop.remember_nonce(provider.name, dpop_nonce)
        if self.probes_outage:
            with suppress(Error):
                outage.end(provider.name)
            self.probes_outage = False

    def _extend_lease(self) -> None:
        if not TokenSet.objects.extend_lease(self.handle, self.owner, lease_seconds()):
            raise OutdatedError

    def _keep(self, contents: Contents, response: oauth.TokenResponse) -> AccessToken:
        token = _access_token(self.key, response, contents)
        too_wide = policy.refusal_of_wider(token)
        refusal = self._refusal_of_bearer(contents, token) or too_wide
        _apply_refresh_token(contents, response)
        if too_wide is not None:
            _remember_refusal(contents, self.key, too_wide, by_us=True)
        elif refusal is None and not self._has_own_key(contents):
            contents.put(token)
        self._save(contents, **self._columns(contents, token))
        self._tell(contents, token)
        if refusal is not None:
            raise refusal
        return token

    def _refusal_of_bearer(self, contents: Contents, token: AccessToken) -> BearerRefused | None:
        """Return why a token that came in place of a bound one is not handed out."""
        is_proved = self.proof is not None or self._has_own_key(contents)
        if not is_proved or dpop.is_bound(token.token_type) or settings.dpop != "required":
            return None
        logger.error("provider %s gives bearer tokens in spite of a proof", contents.provider)
        return BearerRefused()

    def _columns(self, contents: Contents, token: AccessToken) -> dict[str, Any]:
        columns: dict[str, Any] = {
            "refreshed_at": timezone.now(),
            "refresh_count": F("refresh_count") + 1,
            "access_expires_at": to_datetime(token.expires_at),
            "last_error": "",
            "last_error_at": None,
        }
        if token.key.is_sign_ins and token.scope is not None:
            columns["scope"] = token.scope
        if self.session_seconds is not None:
            contents.expires_at = contents.ends_at(self.session_seconds)
            columns["expires_at"] = to_datetime(contents.expires_at)
        return columns

    def _tell(self, contents: Contents, token: AccessToken) -> None:
        logger.info("token set %s renewed", self.handle)
        if token.key.is_sign_ins and policy.is_narrower(token.scope, contents.granted):
            logger.warning("token set %s renewed with a narrower scope than granted", self.handle)
        signals.tokens_renewed.send_robust(
            TokenSet,
            handle=self.handle,
            provider=contents.provider,
            resources=token.key.resources,
            scope=token.scope,
            seconds=self.seconds,
        )

    def _note_failure(self, contents: Contents, error: TokenError) -> None:
        if error.wants_nonce:
            self._save(contents)  # The key is pinned, and nothing has failed.
            return
        if error.error in _REFUSED_FOR_ONE_KEY:
            _remember_refusal(contents, self.key, error)
        level = logging.ERROR if error.error == "invalid_client" else logging.WARNING
        logger.log(level, "token set %s not renewed: %s", self.handle, error.recorded)
        self._save(contents, last_error=error.recorded, last_error_at=timezone.now())
        signals.renewal_failed.send_robust(
            TokenSet,
            handle=self.handle,
            provider=contents.provider,
            error=error.error,
            seconds=self.seconds,
        )

    def _save(self, contents: Contents, **columns: Any) -> None:
        """Save and free the lease.

        Raises ``OutdatedError`` when somebody else has changed the token set meanwhile: then only
        the refresh token that came back is saved, if the one it replaces is still there.
        """
        if self._is_saved(contents, columns):
            self.holds_lease = False
            return
        while not self._is_saved(self._rebased(contents), {}):
            pass
        self.holds_lease = False
        raise OutdatedError

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
                use_fresh_connection()
                time.sleep(random.uniform(*_RETRY_SECONDS))  # noqa: S311  # jitter

    def _rebased(self, contents: Contents) -> Contents:
        """Return the token set as it is now, with the refresh token that just came."""
        try:
            now = vault.read(self.handle)
        except (BackendNotReady, InvalidSession):
            if self.answered:
                revocation.take_on(contents)
            raise
        if not self.answered or now.refresh_token != self.sent:
            raise OutdatedError
        self._extend_lease()
        now.refresh_token = contents.refresh_token
        now.refresh_expires_at = contents.refresh_expires_at
        return now


def ends_session(error: TokenError) -> bool:
    """Return whether the Django session ends with its grant (X6)."""
    return (
        isinstance(error, GrantEnded)
        and error.made_session
        and settings.end_session_on_invalid_grant
    )


def check_worth_asking(contents: Contents, key: TokenKey) -> None:
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
    return response.token(key, default_scope=asked)


def _apply_refresh_token(contents: Contents, response: oauth.TokenResponse) -> None:
    """Take over the new refresh token; without one the old one is kept (R12)."""
    if response.refresh_token is not None:
        contents.refresh_token = response.refresh_token
        contents.refresh_expires_at = response.refresh_expires_at
    elif response.refresh_expires_at is not None:
        contents.refresh_expires_at = response.refresh_expires_at
