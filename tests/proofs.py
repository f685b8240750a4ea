"""A page's DPoP key and its proofs (RFC 9449 §4.2), sound unless a test says otherwise."""

import base64
import hashlib
import json
import secrets
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from tests.addresses import TOKEN_ENDPOINT


class PageKey:
    """An elliptic curve's key, which a browser would keep to itself."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.private = ec.generate_private_key(curve or ec.SECP256R1())

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half."""
        return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))

    @property
    def private_jwk(self) -> dict[str, Any]:
        """Both halves."""
        return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private))

    def proof(
        self,
        *,
        signed_by: Any = None,
        alg: str = "ES256",
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a proof for the token endpoint; ``...`` leaves a claim or a header member out."""
        return jwt.encode(
            claims_of(**claims),
            self.private if signed_by is None else signed_by,
            algorithm=alg,
            headers=header_of(self, **{"alg": alg, **(header or {})}),
        )


def header_of(key: PageKey, **changed: Any) -> dict[str, Any]:
    """Return a sound proof's header, but for what is changed; ``...`` leaves a member out."""
    return _present({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk, **changed})


def claims_of(**changed: Any) -> dict[str, Any]:
    """Return a sound proof's claims, but for what is changed; ``...`` leaves one out."""
    usual = {"htm": "POST", "htu": TOKEN_ENDPOINT}
    return _present({**usual, "iat": int(time.time()), "jti": secrets.token_urlsafe(16), **changed})


def signed(key: PageKey, header: bytes | str, claims: bytes | str) -> str:
    """Return a proof of these JSON texts, whatever they are."""
    parts = (part.encode() if isinstance(part, str) else part for part in (header, claims))
    text = ".".join(map(encoded, parts))
    r, s = utils.decode_dss_signature(key.private.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{encoded(r.to_bytes(32) + s.to_bytes(32))}"


def claims_in(proof: str) -> dict[str, Any]:
    """Return what a proof claims; whether it is sound is for others to say."""
    return jwt.decode(proof, options={"verify_signature": False})


def ath_of(access_token: str) -> str:
    """Return the hash of an access token that goes along with a proof (RFC 9449 §4.2)."""
    return encoded(hashlib.sha256(access_token.encode()).digest())


def encoded(data: bytes) -> str:
    """Return the bytes as a JWT's part."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not ...}
