"""DPoP proofs as the demo's OpenID Provider and its API verify them (RFC 9449 §4.3).

Just what the demo needs. A server of your own has a library for it.
"""

import hashlib
import json
import threading
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
from django.http import HttpRequest

WINDOW_SECONDS = 60

_used: dict[str, float] = {}
_lock = threading.Lock()


class ProofRefused(Exception):
    """The proof is missing, or proves nothing."""


def verified(request: HttpRequest, origin: str, *, access_token: str | None = None) -> str:
    """Return the thumbprint of the key that has signed the request's proof.

    ``origin``: this server's, for whoever sends a proof chooses the Host header too.
    ``access_token``: what has come along. Raises ``ProofRefused``.
    """
    jwk, claims = _decoded(request.headers.get("DPoP", ""))
    is_recent = abs(time.time() - claims["iat"]) <= WINDOW_SECONDS
    says = (claims.get("htm"), claims.get("htu"), claims.get("ath"))
    here = (request.method, f"{origin}{request.path}", _hash_of(access_token))
    if says != here or not is_recent or not _is_new(str(claims["jti"])):
        raise ProofRefused
    return _thumbprint(jwk)


def _decoded(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        header = jwt.get_unverified_header(proof)
        jwk = header["jwk"]
        if header.get("typ") != "dpop+jwt" or "d" in jwk:
            raise ProofRefused
        key, required = jwt.PyJWK(jwk, "ES256").key, {"require": ["iat", "jti"]}
        return jwk, jwt.decode(proof, key, algorithms=["ES256"], options=required, leeway=60)
    except (jwt.PyJWTError, LookupError, TypeError, ValueError) as error:
        raise ProofRefused from error


def _is_new(jti: str) -> bool:
    """Return whether this process has not seen the proof: each of the servers is one process."""
    now = time.time()
    with _lock:
        for name in [name for name, until in _used.items() if until < now]:
            del _used[name]
        if jti in _used:
            return False
        _used[jti] = now + 2 * WINDOW_SECONDS
    return True


def _thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638 §3."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return _base64url(hashlib.sha256(text.encode()).digest())


def _hash_of(access_token: str | None) -> str | None:
    if access_token is None:
        return None
    return _base64url(hashlib.sha256(access_token.encode()).digest())


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
