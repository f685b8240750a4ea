"""A page's DPoP key and its proofs (RFC 9449 §4.2), sound unless a test says otherwise."""

import base64
import hashlib
import json
import secrets
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

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
        usual = {
            "htm": "POST",
            "htu": TOKEN_ENDPOINT,
            "iat": int(time.time()),
            "jti": secrets.token_urlsafe(16),
            **claims,
        }
        named = {"typ": "dpop+jwt", "jwk": self.jwk, **(header or {})}
        return jwt.encode(
            {name: value for name, value in usual.items() if value is not ...},
            self.private if signed_by is None else signed_by,
            algorithm=alg,
            headers={name: value for name, value in named.items() if value is not ...},
        )


def ath_of(access_token: str) -> str:
    """Return the hash of an access token that goes along with a proof (RFC 9449 §4.2)."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
