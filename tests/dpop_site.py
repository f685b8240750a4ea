"""What pages get of a site whose tokens are bound to their key (RFC 9449)."""

import json
from typing import Any

from tests.page import TOKEN, Page
from tests.proofs import PageKey

# The resource that there is, and what the authorization server says with a token.
ORDERS = "https://api.example/orders"
BOUND = {"token_type": "DPoP", "expires_in": 3600, "scope": "openid email"}


def ask(page: Page, proof: str | None, **query: Any) -> Any:
    """Return the answer of bff-token to a request with that proof."""
    return page.fetch(TOKEN, query, headers={} if proof is None else {"DPoP": proof})


def given_token(page: Page, key: PageKey, **query: Any) -> dict[str, Any]:
    """Return the token answer for a sound proof, which must be a success."""
    answer = ask(page, key.proof(), **query)
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


def refused(page: Page, proof: str | None, **query: Any) -> dict[str, Any]:
    """Return the error answer to that proof, which must be one of PROTOCOL X1's."""
    answer = ask(page, proof, **query)
    assert answer.status_code == 400, answer.content
    return json.loads(answer.content)
