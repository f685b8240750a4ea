"""Logout tokens: what a provider sends when a user signs out there.

OpenID Connect Back-Channel Logout 1.0, §2.4 and §2.6.
"""

import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import jwt

from . import key_sets
from .conf import LEEWAY_SECONDS, Provider, settings
from .exceptions import forgets_locals

logger = logging.getLogger(__name__)

EVENT = "http://schemas.openid.net/event/backchannel-logout"

# The most that §4 recommends. The specification asks for ``exp`` since December 2023 only; some
# servers leave it out.
_USUAL_SECONDS = 120.0
# A year: what is said beyond that must not overflow a date.
_LONGEST_SECONDS = 365 * 24 * 3600.0
_MAX_CHARACTERS = 16 * 1024
_TYPES = (None, "JWT", "logout+jwt", "application/logout+jwt")
_REQUIRED = ["iss", "aud", "iat", "jti", "events"]


class LogoutTokenRefused(Exception):
    """The logout token is not one that a provider of this site sent to it; the text says why."""


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Who signed out where: at least one of ``subject`` and ``sid`` is given."""

    provider: str
    issuer: str
    subject: str | None = field(repr=False)
    sid: str | None = field(repr=False)
    jti: str
    expires_at: float

    @property
    def seconds_left(self) -> float:
        """How long this token would still be accepted."""
        left = self.expires_at + LEEWAY_SECONDS - time.time()
        return min(max(1.0, left), _LONGEST_SECONDS)


@forgets_locals
def parse(token: str) -> LogoutToken:
    """Return what ``token`` says, once everything about it is checked (§2.6).

    Whether its ``jti`` was seen before is left to the caller. Raises ``LogoutTokenRefused``.
    """
    provider, header = _addressed(token)
    claims = _verified(token, provider, header)
    _check_is_about_logout(claims)
    return LogoutToken(
        provider=provider.name,
        issuer=claims["iss"],
        subject=claims.get("sub"),
        sid=claims.get("sid"),
        jti=claims["jti"],
        expires_at=_expires_at(claims),
    )


def _addressed(token: str) -> tuple[Provider, Mapping[str, Any]]:
    """Return the provider that the token says it is from, and its header; nothing is proved yet."""
    if len(token) > _MAX_CHARACTERS:
        raise LogoutTokenRefused("it is too long")
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise LogoutTokenRefused("it is no JWT") from None
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    for provider in filter(lambda one: one.issuer, settings.providers):
        if provider.issuer == claims.get("iss") and provider.client_id in audiences:
            return provider, header
    raise LogoutTokenRefused("it is not from a provider of this site to its client there")


def _verified(token: str, provider: Provider, header: Mapping[str, Any]) -> dict[str, Any]:
    if header.get("typ") not in _TYPES:
        raise LogoutTokenRefused("it is a token of another type")
    if header.get("alg") != provider.signing_alg or provider.signing_alg == "none":
        raise LogoutTokenRefused(f"it is not signed with {provider.signing_alg}")
    failure = "its key is not known"
    for key in _keys(provider, header.get("kid")):
        try:
            return _decoded(token, key, provider)
        except jwt.PyJWTError as error:
            failure = f"it does not verify: {type(error).__name__}"
        except (ArithmeticError, TypeError, ValueError):
            failure = "it does not verify"
    raise LogoutTokenRefused(failure)


def _keys(provider: Provider, kid: object) -> list[Any]:
    if provider.signs_with_secret:
        # Anybody can sign with an empty key.
        return [provider.client_secret] if provider.client_secret else []
    if provider.signing_key is not None:
        return [provider.signing_key]
    if kid is not None and not isinstance(kid, str):
        return []
    return list(key_sets.signing_keys(provider, kid=kid, alg=provider.signing_alg))


def _decoded(token: str, key: Any, provider: Provider) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[provider.signing_alg],
        audience=provider.client_id,
        issuer=provider.issuer,
        leeway=LEEWAY_SECONDS,
        options={"require": _REQUIRED},
    )


def _expires_at(claims: Mapping[str, Any]) -> float:
    """Return when the token ends, in seconds since the epoch; without ``exp``, soon after it began.

    Raises ``LogoutTokenRefused`` when that has been, or is no time; an ``exp`` was verified.
    """
    if "exp" in claims:
        return _seconds(claims["exp"])
    expires_at = _seconds(claims["iat"]) + _USUAL_SECONDS
    if expires_at + LEEWAY_SECONDS <= time.time():
        raise LogoutTokenRefused("it is too old")
    return expires_at


def _seconds(time_claim: Any) -> float:
    """Return a verified time; PyJWT takes integers, and texts of them, of any size."""
    with suppress(OverflowError):
        if math.isfinite(seconds := float(time_claim)):
            return seconds
    raise LogoutTokenRefused("its exp or iat is out of range")


def _check_is_about_logout(claims: Mapping[str, Any]) -> None:
    events = claims["events"]
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise LogoutTokenRefused("it is about another event")
    if "nonce" in claims:
        raise LogoutTokenRefused("it has a nonce, so it is an ID token")
    named = [claims[name] for name in ("sub", "sid") if claims.get(name) is not None]
    if not named or not all(isinstance(name, str) and name for name in named):
        raise LogoutTokenRefused("it names neither a subject nor a session")
    if not isinstance(claims["jti"], str) or not claims["jti"]:
        raise LogoutTokenRefused("it has no name of its own")
