"""What everybody has stored: a token as long as a JWT with some claims, always the same one."""

import random
import string

LETTERS = string.ascii_letters + string.digits + "-_"
SECONDS = 24 * 3600
SCOPE = "openid email profile"


def letters(count: int, seed: int) -> str:
    """Return that many characters of a token."""
    return "".join(random.Random(seed).choices(LETTERS, k=count))  # noqa: S311  # opens nothing


ACCESS_TOKEN = letters(1200, 1)
REFRESH_TOKEN = letters(64, 2)
ID_TOKEN = letters(900, 3)
CLAIMS = {
    "iss": "https://op.example",
    "sub": "248289761001",
    "name": "Alice Example",
    "given_name": "Alice",
    "family_name": "Example",
    "preferred_username": "alice",
    "email": "alice@op.example",
    "email_verified": True,
}
RESPONSE = {
    "access_token": ACCESS_TOKEN,
    "refresh_token": REFRESH_TOKEN,
    "id_token": ID_TOKEN,
    "token_type": "Bearer",
    "expires_in": SECONDS,
    "scope": SCOPE,
}
