"""DPoP (RFC 9449): what a page sends along to show that it has the key of its tokens.

The page makes its proof for the authorization server's token endpoint, and we carry it there. It is
checked here first, all of it, so that no refresh token is spent on a proof that is good for
nothing, and no stored token handed to somebody who has seen one.
"""

import hashlib
import json
import random
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from django.utils.crypto import constant_time_compare

from . import deferral, stores, strict_json
from .conf import LEEWAY_SECONDS, Provider
from .exceptions import InvalidDpopProof, TemporarilyUnavailable, forgets_locals
from .own_key import ALG, base64url, without_query

HEADER = "DPoP"

# How far a proof's time may be from ours: the page has learned ours a moment ago.
WINDOW_SECONDS = 60.0
_NONCE_SECONDS = 300.0

# Fewer than are forgotten at a time.
_SWEEPS_ONE_IN = 100

_MAX_CHARACTERS = 4096
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_JTI = re.compile(r"[\x21-\x7E]{1,256}")
# RFC 7518 §6.2, §6.3, §6.4: no key of ours to know.
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(slots=True)
class Proof:
    """A proof in which everything was checked but that it is used once; ``jkt`` is its key's name.

    ``expires_at``: from when on it is too old to be sent here, in seconds since the epoch.
    """

    text: str = field(repr=False)
    jkt: str
    jti: str
    expires_at: float
    _was_sent: bool = False

    def to_send(self) -> str:
        """Return it for the authorization server, which takes each proof once.

        Raises ``TemporarilyUnavailable`` when it was sent already: the page makes another then.
        """
        if self._was_sent:
            raise TemporarilyUnavailable("The tokens changed meanwhile: ask again.")
        self._was_sent = True
        return self.text


@forgets_locals
def verified(text: str, provider: Provider) -> Proof:
    """Return the proof in a request's header, for the token endpoint of ``provider``.

    Raises ``InvalidDpopProof``, and nothing else, whatever ``text`` is (RFC 9449 §4.3).
    """
    # Servers join a header that is sent twice with a comma, which no JWT has.
    if len(text) > _MAX_CHARACTERS or not _JWT.fullmatch(text):
        raise InvalidDpopProof("The request header DPoP must hold one proof, and be sent once.")
    header, payload, _signature = text.split(".")
    jwk = _public_jwk(_members(header))
    _check_signature(text, jwk)
    claims = _members(payload)
    _check_purpose(claims, provider)
    return Proof(text, thumbprint(jwk), claims["jti"], claims["iat"] + WINDOW_SECONDS)


def check_key(proof: Proof, pinned: str | None) -> None:
    """Raise ``InvalidDpopProof`` for another key than the first one that the sign-in has seen."""
    if pinned is not None and not constant_time_compare(proof.jkt, pinned):
        raise InvalidDpopProof(
            "This sign-in's tokens are bound to another key: sign in again to use this one.",
            sign_in_helps=True,
        )


def use_up(proof: Proof) -> None:
    """Raise ``InvalidDpopProof`` for a proof that was here before (RFC 9449 §11.1)."""
    name = hashlib.sha256(f"{proof.jkt} {proof.jti}".encode()).hexdigest()
    # Another host of ours, whose clock is behind, takes it for longer than this one does.
    seconds = max(0.0, proof.expires_at - time.time()) + LEEWAY_SECONDS
    if not stores.current().once(f"dpop-proof:{name}", seconds):
        raise InvalidDpopProof("This proof was used before: each request needs one of its own.")
    if random.randrange(_SWEEPS_ONE_IN) == 0:  # noqa: S311  # no secret
        # Each request leaves a fact behind, and the purge may be far.
        deferral.after_response(stores.current().forget_some)


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the name of an elliptic curve's public key (RFC 7638 §3)."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(text.encode()).digest())


def is_bound(token_type: str | None) -> bool:
    """Return whether a token of that type is bound to a key."""
    return (token_type or "").lower() == "dpop"


def info(provider: Provider) -> dict[str, Any] | None:
    """Return what a page needs for a proof; ``None`` where there is no token endpoint.

    The time is ours, for browsers' clocks are off.
    """
    if not provider.token_endpoint:
        return None
    known = {
        "token_endpoint": without_query(provider.token_endpoint),
        "signing_algs": [ALG],
        "nonce": recall_nonce(provider.name),
        "now": int(time.time()),
    }
    return {name: value for name, value in known.items() if value is not None}


def remember_nonce(provider: str, nonce: str | None) -> None:
    """Let all pages have the nonce that the authorization server wants next, if it named one."""
    if nonce is not None:
        stores.current().remember(_nonce_fact(provider), nonce, _NONCE_SECONDS)


def recall_nonce(provider: str) -> str | None:
    """Return the authorization server's last nonce, where it has named one lately."""
    nonce = stores.current().recall(_nonce_fact(provider))
    return nonce if isinstance(nonce, str) else None


def _members(part: str) -> dict[str, Any]:
    """Return the JSON object that a part of a JWT is, if it says the same to every parser.

    The authorization server, which has one of its own, gets the same proof (RFC 7515 §4).
    """
    try:
        text = urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        members = strict_json.loads(text, unique_names=True)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise InvalidDpopProof("The proof is not a JWT.")
    return members


def _public_jwk(header: Mapping[str, Any]) -> dict[str, str]:
    """Return the key that the proof is said to be signed with, and nothing beside it."""
    if header.get("typ") != "dpop+jwt" or header.get("alg") != ALG or "crit" in header:
        raise InvalidDpopProof(f"A proof has the type dpop+jwt, and is signed with {ALG}.")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        raise InvalidDpopProof("A proof names its key, an elliptic curve's, as a JWK.")
    if _PRIVATE & jwk.keys():
        raise InvalidDpopProof("The proof shows a private key: that key is nobody's any more.")
    if not all(_is_coordinate(jwk.get(name)) for name in ("x", "y")):
        raise InvalidDpopProof("The proof's key is none of its curve.")
    return {name: jwk[name] for name in ("kty", "crv", "x", "y")}


def _is_coordinate(value: object) -> bool:
    """Return whether ``value`` is one in the only way to write it: a key has one thumbprint."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]{43}", value):
        return False
    return base64url(urlsafe_b64decode(f"{value}=")) == value


def _check_signature(text: str, jwk: dict[str, str]) -> None:
    try:
        jwt.PyJWS().decode(text, jwt.PyJWK(jwk, ALG).key, algorithms=[ALG])
    except (jwt.PyJWTError, TypeError, ValueError):
        raise InvalidDpopProof("The proof is not signed with the key that it names.") from None


def _check_purpose(claims: Mapping[str, Any], provider: Provider) -> None:
    endpoint = without_query(provider.token_endpoint or "")
    if not endpoint or claims.get("htm") != "POST" or claims.get("htu") != endpoint:
        raise InvalidDpopProof("The proof is for another request than a POST to token_endpoint.")
    iat, now = claims.get("iat"), time.time()
    if isinstance(iat, bool) or not isinstance(iat, int | float):
        raise InvalidDpopProof("The proof does not say when it was made.")
    if not now - WINDOW_SECONDS <= iat <= now + WINDOW_SECONDS:
        raise InvalidDpopProof("The proof is not of now: take the time from bff-sessioninfo.")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not _JTI.fullmatch(jti):
        raise InvalidDpopProof("The proof has no name of its own.")


def _nonce_fact(provider: str) -> str:
    return f"dpop-nonce:{provider}"
