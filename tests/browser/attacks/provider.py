"""The authorization server of the site under attack, which counts what it is asked."""

import itertools
import json
import time
from collections.abc import Iterable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.real.raw_server import RawServer, http

ISSUER = "https://op.example"
CLIENT_ID = "the-site"
ALGORITHM = "ES256"
SUBJECT = "canary-subject"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
KEYS = b"GET /keys "


class Provider(RawServer):
    """Gives everybody a new access token, which expires at once."""

    def __init__(self) -> None:
        """Make the key of its ID tokens."""
        super().__init__(self._answer)
        self._key = _new_key()
        self._numbers = itertools.count(1)

    @property
    def calls(self) -> int:
        """How often it was asked for something other than its public keys."""
        return len(self.requests) - self.key_requests

    @property
    def key_requests(self) -> int:
        """How often it was asked for its public keys."""
        return sum(request.startswith(KEYS) for request in self.requests)

    def django_settings(self) -> dict[str, Any]:
        """Return the settings with which a site is its client."""
        return {
            "OIDC_OP_ISSUER": ISSUER,
            "OIDC_OP_TOKEN_ENDPOINT": self.url,
            "OIDC_OP_REVOCATION_ENDPOINT": self.url,
            "OIDC_OP_JWKS_ENDPOINT": self.url.replace("/token", "/keys"),
            "OIDC_RP_CLIENT_ID": CLIENT_ID,
            "OIDC_RP_CLIENT_SECRET": "canary-client-secret",
            "OIDC_RP_SIGN_ALGO": ALGORITHM,
            # Whoever gets past the guard is to be counted, not to be held up.
            "TMIBFF_AS_CALLS_PER_MINUTE": 1_000_000,
        }

    def _answer(self) -> Iterable[bytes]:
        asks_for_keys = self.requests[-1].startswith(KEYS)
        said = {"keys": [_public(self._key)]} if asks_for_keys else self._tokens()
        headers = "Content-Type: application/json\r\n"
        return [http(json.dumps(said).encode(), headers=headers)]

    def _tokens(self) -> dict[str, Any]:
        given = {"access_token": f"canary-access-{next(self._numbers)}"}
        is_proved = b"\r\ndpop: " in self.requests[-1].lower()
        return sign_in_tokens(1) | given | ({"token_type": "DPoP"} if is_proved else {})


def sign_in_tokens(seconds: int) -> dict[str, Any]:
    """Return a sign-in's token response; its access token lives that long."""
    return {
        "access_token": "canary-access-of-sign-in",
        "refresh_token": "canary-refresh",
        "token_type": "Bearer",
        "expires_in": seconds,
        "scope": "openid",
    }


def forged_logout_token() -> str:
    """Return a logout token for the victim in which only the signature is wrong."""
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": CLIENT_ID,
        "sub": SUBJECT,
        "iat": now,
        "exp": now + 120,
        "jti": "forged",
        "events": {LOGOUT_EVENT: {}},
    }
    return jwt.encode(claims, _new_key(), ALGORITHM)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _public(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
