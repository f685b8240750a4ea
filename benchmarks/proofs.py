"""DPoP proofs for as many requests as a moment may have: each is good once."""

import json
import secrets
import time
from collections.abc import Iterator, Sequence

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN_ENDPOINT = "https://op.example/token"  # That of benchmarks.site.settings.
# More than anybody here answers in a second.
A_SECOND = 3000

# Always the same one, for the session is made in another process; it opens nothing.
_KEY = ec.derive_private_key(9449, ec.SECP256R1())
JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(_KEY.public_key()))


def proof() -> str:
    """Return a proof."""
    claims = {
        "htm": "POST",
        "htu": TOKEN_ENDPOINT,
        "iat": int(time.time()),
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode(claims, _KEY, "ES256", {"typ": "dpop+jwt", "jwk": JWK})


def with_proofs(cookies: Sequence[str], seconds: int) -> Iterator[str]:
    """Yield the cookies in turn, each with a proof of its own, as ``load.drive`` takes them."""
    for number in range(A_SECOND * seconds):
        yield f"{cookies[number % len(cookies)]}\t{proof()}"
