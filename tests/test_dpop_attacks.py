"""DPoP under attack: what somebody tries who has proofs of others, or a key of their own."""

import json
from typing import Any

import pytest

from tests.page import TOKEN, Page
from tests.proofs import PageKey

pytestmark = pytest.mark.django_db

ORDERS = "https://api.example/orders"
BOUND = {"token_type": "DPoP", "expires_in": 3600, "scope": "openid email"}


@pytest.fixture(autouse=True)
def required(settings: Any) -> None:
    settings.TMIBFF_DPOP = "required"
    settings.TMIBFF_RESOURCES = [ORDERS]


@pytest.fixture
def key() -> PageKey:
    return PageKey()


def ask(page: Page, proof: str | None, **query: Any) -> Any:
    return page.fetch(TOKEN, query, headers={} if proof is None else {"DPoP": proof})


class TestBearerInDisguise:
    """With ``required`` no token is handed out that works without the key."""

    def test_one_that_was_given_for_a_proof_while_it_was_allowed(
        self, signed_in: Any, authorization_server: Any, settings: Any, key: PageKey
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        page = signed_in()
        authorization_server.gives(access_token="bearer", token_type="Bearer", expires_in=3600)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bearer"
        settings.TMIBFF_DPOP = "required"
        authorization_server.gives(access_token="bound", **BOUND)
        assert json.loads(ask(page, key.proof()).content)["access_token"] == "bound"
