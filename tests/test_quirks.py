"""What real authorization servers answer, and no specification would make one expect."""

import time
from typing import Any

import jwt
import pytest

from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import SESSION_INFO, Page
from tests.sealed import contents_of

pytestmark = pytest.mark.django_db


class TestIdTokenInARenewal:
    """OpenID Connect Core §12.2."""

    @pytest.fixture
    def provider(self, authorization_server: Any) -> OpenIDProvider:
        provider = OpenIDProvider(authorization_server)
        provider.tokens = {"expires_in": 0}
        return provider

    @pytest.fixture
    def page(self, page: Page, provider: OpenIDProvider) -> Page:
        provider.sign_in(page)
        return page

    @pytest.fixture
    def renewed(self, provider: OpenIDProvider) -> Any:
        """Let the next renewal bring an ID token with these claims."""

        def bring(**changed: Any) -> str:
            now = int(time.time())
            usual = {"iss": ISSUER, "sub": "alice", "aud": "client", "iat": now, "exp": now + 60}
            claims = {name: v for name, v in {**usual, **changed}.items() if v is not ...}
            id_token = provider.signed(claims)
            provider.server.gives(
                access_token="new", expires_in=900, refresh_token="rotated", id_token=id_token
            )
            return id_token

        return bring

    def test_it_replaces_the_old_one_and_updates_the_claims(
        self, page: Page, renewed: Any, token_set: Any
    ) -> None:
        id_token = renewed(name="Alice B.", aud=["other", "client"])
        assert page.token()["access_token"] == "new"
        assert contents_of(token_set()).id_token == id_token
        info = page.fetch(SESSION_INFO).json()
        assert (info["name"], info["email"]) == ("Alice B.", "alice@op.example")

    @pytest.mark.parametrize(
        "changed",
        [
            {"sub": "mallory"},
            {"sub": ...},
            {"iss": "https://evil.example"},
            {"aud": "another"},
            {"aud": ...},
        ],
    )
    def test_one_of_another_sign_in_is_refused_with_all_that_came_along(
        self, page: Page, renewed: Any, token_set: Any, changed: dict[str, Any], caplog: Any
    ) -> None:
        renewed(**changed)
        assert page.refusal()["error"] == "backend_not_ready"
        contents = contents_of(token_set())
        assert contents.refresh_token == "canary-refresh-of-alice"
        assert contents.claims["sub"] == "alice"
        assert "got the ID token of another sign-in" in caplog.text

    def test_what_is_no_jwt_is_refused(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.server.gives(access_token="new", expires_in=900, id_token="a.b.c")
        assert page.refusal()["error"] == "backend_not_ready"


def test_a_sign_in_without_openid_connect_takes_none(
    signed_in: Any, authorization_server: Any, token_set: Any
) -> None:
    page = signed_in(expires_in=0)
    id_token = jwt.encode({"sub": "x"}, "k" * 32)
    authorization_server.gives(access_token="new", expires_in=900, id_token=id_token)
    assert page.token()["access_token"] == "new"
    assert contents_of(token_set()).id_token is None
