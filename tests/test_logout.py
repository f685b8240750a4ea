"""Signing out: here, and with a way to sign out at the provider too (B4, B5)."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from django_tmibff import logout
from tests.openid_provider import OpenIDProvider
from tests.page import FETCH, HOST, Page

pytestmark = pytest.mark.django_db

PATH = "/bff/logout"
END_SESSION = "https://op.example/end?tenant=1"


@pytest.fixture
def provider(authorization_server: Any, settings: Any) -> OpenIDProvider:
    settings.OIDC_OP_END_SESSION_ENDPOINT = END_SESSION
    return OpenIDProvider(authorization_server)


@pytest.fixture
def signed_in_page(page: Page, provider: OpenIDProvider) -> Page:
    """Alice's page, signed in at the provider."""
    provider.sign_in(page)
    return page


def is_signed_in(page: Page) -> bool:
    return "_auth_user_id" in page.session


def logout_url(page: Page) -> str:
    """Sign the page out; return where it is told to go."""
    answer = page.fetch(PATH, method="POST")
    assert answer.status_code == 200, answer.content
    return str(json.loads(answer.content)["logout_url"])


class TestPageLogout:
    def test_b5_it_ends_the_session_and_revokes_the_refresh_token(
        self,
        signed_in_page: Page,
        provider: OpenIDProvider,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            logout_url(signed_in_page)
        assert not is_signed_in(signed_in_page)
        assert token_set().end_reason == "logout"
        assert provider.server.revoked == ["canary-refresh-of-alice"]

    def test_b5_it_names_where_to_sign_out_at_the_provider(self, signed_in_page: Page) -> None:
        url = urlsplit(logout_url(signed_in_page))
        query = {name: value for name, [value] in parse_qs(url.query).items()}
        assert f"{url.scheme}://{url.netloc}{url.path}" == "https://op.example/end"
        assert query.pop("id_token_hint").startswith("eyJ")
        assert logout.is_own_state(query.pop("state"))
        assert query == {
            "tenant": "1",
            "client_id": "client",
            "post_logout_redirect_uri": f"https://{HOST}/",
        }

    def test_b5_the_sites_own_url_counts(self, signed_in_page: Page, settings: Any) -> None:
        settings.OIDC_OP_LOGOUT_URL_METHOD = "tests.test_logout.elsewhere"
        assert logout_url(signed_in_page) == "https://elsewhere.example/"

    def test_without_tokens_it_leads_home(self, page: Page, user: Any, settings: Any) -> None:
        settings.LOGOUT_REDIRECT_URL = "/bye/"
        page.sign_in(user)
        assert logout_url(page) == "/bye/"
        assert not is_signed_in(page)

    def test_without_an_end_session_endpoint_it_leads_home(
        self, signed_in_page: Page, settings: Any
    ) -> None:
        settings.OIDC_OP_END_SESSION_ENDPOINT = None
        settings.LOGOUT_REDIRECT_URL = None
        assert logout_url(signed_in_page) == "/"

    def test_after_the_token_set_ended_it_leads_home(
        self, signed_in_page: Page, token_set: Any
    ) -> None:
        from django_tmibff import ending

        ending.end(token_set().handle, "test")
        assert logout_url(signed_in_page) == "/"
        assert not is_signed_in(signed_in_page)

    def test_without_an_id_token_the_client_is_named(
        self, page: Page, user: Any, provider: OpenIDProvider
    ) -> None:
        page.sign_in(user)
        page.store()
        query = parse_qs(urlsplit(logout_url(page)).query)
        assert "id_token_hint" not in query
        assert query["client_id"] == ["client"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"sec-fetch-mode": "no-cors"},
        ],
    )
    def test_e5_no_other_site_signs_anybody_out(
        self, signed_in_page: Page, headers: dict[str, str]
    ) -> None:
        assert signed_in_page.fetch(PATH, method="POST", headers=headers).status_code == 403
        assert is_signed_in(signed_in_page)

    def test_e5_a_post_that_does_not_say_where_it_comes_from_is_refused(
        self, signed_in_page: Page
    ) -> None:
        assert signed_in_page.post(PATH, secure=True).status_code == 403
        assert is_signed_in(signed_in_page)

    def test_e10_a_get_is_refused(self, signed_in_page: Page) -> None:
        assert signed_in_page.fetch(PATH).status_code == 405
        assert is_signed_in(signed_in_page)

    def test_x2_nobody_is_signed_in(self, page: Page) -> None:
        answer = page.fetch(PATH, method="POST")
        assert json.loads(answer.content)["error"] == "invalid_session"

    def test_e8_its_answer_is_not_kept(self, signed_in_page: Page) -> None:
        assert "no-store" in signed_in_page.fetch(PATH, method="POST")["Cache-Control"]

    def test_no_csrf_token_is_needed(self, provider: OpenIDProvider) -> None:
        """The guard stands in its place: a page knows only the draft."""
        strict = Client(enforce_csrf_checks=True, headers={"host": HOST})
        answer = strict.generic("POST", PATH, headers=FETCH, secure=True)
        assert json.loads(answer.content)["error"] == "invalid_session"


class TestState:
    def test_ours_is_known_for_an_hour(self, monkeypatch: Any) -> None:
        state = logout._STATE.sign("x")
        assert logout.is_own_state(state)
        assert not logout.is_own_state(state, max_age=-1)

    @pytest.mark.parametrize("state", ["", "x", "x:y:z", "x" * 100])
    def test_anything_else_is_not(self, state: str) -> None:
        assert not logout.is_own_state(state)


def elsewhere(request: Any) -> str:
    """Return a site's own logout URL; the session is still there."""
    assert request.user.is_authenticated
    return "https://elsewhere.example/"
