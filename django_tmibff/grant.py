"""What a sign-in brings: a token response and claims, put into a token set."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import jwt

from . import oauth
from .conf import settings
from .contents import Contents, TokenKey
from .exceptions import BackendNotReady
from .models import as_column, to_datetime

logger = logging.getLogger(__name__)

# Claims that are kept beside those that the site lists: what identifies a sign-in.
_IDENTITY_CLAIMS = ("iss", "sub", "sid", "auth_time", "acr", "amr")


def fill(
    contents: Contents,
    response: oauth.TokenResponse,
    claims: Mapping[str, Any],
    *,
    session_seconds: float,
) -> None:
    """Put a sign-in's tokens and claims into ``contents``, which has none yet.

    ``session_seconds``: how long the Django session lives from now.
    """
    contents.granted = response.scope
    contents.refresh_token = response.refresh_token
    contents.refresh_expires_at = response.refresh_expires_at
    contents.expires_at = contents.ends_at(session_seconds)
    contents.id_token = response.id_token
    contents.claims = _kept(claims)
    contents.put(response.token(TokenKey(), default_scope=None))


def follow(contents: Contents, id_token: str, *, client_id: str) -> None:
    """Take over the ID token that came with a renewal, and what it says of the user.

    It must be about the same sign-in (OpenID Connect Core §12.2); its signature is not needed, for
    it came from the token endpoint itself (§3.1.3.7). Raises ``BackendNotReady``.
    """
    if not {"iss", "sub"} <= contents.claims.keys():
        return  # Another kind of sign-in.
    claims = unverified_claims(id_token)
    audience = claims.get("aud")
    same_user = all(claims.get(name) == contents.claims[name] for name in ("iss", "sub"))
    for_us = client_id in (audience if isinstance(audience, list) else [audience])
    if not same_user or not for_us:
        logger.error("token set %s got the ID token of another sign-in", contents.handle)
        raise BackendNotReady("The authorization server answered for another sign-in.")
    contents.id_token = id_token
    contents.claims = {**contents.claims, **_kept(claims)}


def unverified_claims(token: str) -> dict[str, Any]:
    """Return what a JWT says, whoever has signed it; nothing where it is none."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}
    return claims


def _kept(claims: Mapping[str, Any]) -> dict[str, Any]:
    kept = {*_IDENTITY_CLAIMS, *settings.session_info_claims}
    return {n: v for n, v in claims.items() if n in kept and _is_plain(v)}


def take_over(contents: Contents, old: Contents) -> None:
    """Let ``contents``, of a new sign-in, follow on ``old``, of the same user and provider."""
    contents.handle = old.handle
    contents.version = old.version
    contents.calls = old.calls
    contents.made_session = contents.made_session or old.made_session
    contents.resources = sorted({*old.resources, *contents.resources})
    contents.id_token = contents.id_token or old.id_token
    contents.claims = {**old.claims, **contents.claims}
    # The old refresh token is not revoked when a new one comes: servers revoke by grant, and both
    # may belong to the same one.
    if contents.refresh_token is None:
        contents.refresh_token = old.refresh_token
        contents.refresh_expires_at = old.refresh_expires_at


def columns(contents: Contents) -> dict[str, Any]:
    """Return what the row says of a sign-in."""
    expiries = [token.expires_at for token in contents.access_tokens]
    claims = contents.claims
    return {
        "provider": contents.provider,
        "issuer": as_column(claims.get("iss")),
        "subject": as_column(claims.get("sub")),
        "sid": as_column(claims.get("sid")),
        "scope": contents.granted or "",
        "refreshed_at": None,
        "access_expires_at": to_datetime(next(iter(expiries), None)),
        "expires_at": to_datetime(contents.expires_at),
        "last_error": "",
        "last_error_at": None,
    }


def _is_plain(value: object, depth: int = 3) -> bool:
    """Return whether a claim is one that JSON can hold, and not nested without end."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list | dict):
        children = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(child, depth - 1) for child in children)
    return value is None or isinstance(value, str | int)
