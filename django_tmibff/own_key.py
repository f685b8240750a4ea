"""Makes DPoP proofs (RFC 9449 §4.2), where no page does: nothing here needs Django."""

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

# The one that WebCrypto has everywhere, and every server that knows DPoP.
ALG = "ES256"


class OwnKey:
    """A key of ours, for one call or two: what only this site needs to have is bound to it.

    ``jwk``: its public half.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.jwk = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)

    def proof(
        self,
        method: str,
        url: str,
        *,
        nonce: str | None = None,
        access_token: str | None = None,
        at: float | None = None,
    ) -> str:
        """Return a proof for one request, with the access token that goes along.

        ``at``: the time by the other side's clock, in seconds since the epoch, where that is known.
        """
        claims: dict[str, Any] = {
            "htm": method,
            "htu": without_query(url),
            "iat": int(time.time() if at is None else at),
            "jti": secrets.token_urlsafe(24),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if access_token is not None:
            claims["ath"] = base64url(hashlib.sha256(access_token.encode()).digest())
        header = {"typ": "dpop+jwt", "jwk": self.jwk}
        return jwt.encode(claims, self._key, algorithm=ALG, headers=header)


def without_query(url: str) -> str:
    """Return what a proof names of ``url``: neither its query nor its fragment."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def base64url(data: bytes) -> str:
    """Return ``data`` in base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()
