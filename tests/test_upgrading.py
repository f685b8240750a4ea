"""docs/upgrading.md: tokens that lay in sessions, and what another version has sealed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.contrib.auth import BACKEND_SESSION_KEY
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from django_tmibff import crypto
from django_tmibff.models import TokenSet
from tests.authorization_server import AuthorizationServer
from tests.page import SESSION_INFO, SIGN_IN, Page
from tests.real.project import DOCS
from tests.sealed import plant, sealed_of

pytestmark = pytest.mark.django_db

PAGE = (DOCS / "upgrading.md").read_text()
OLD_BACKEND = "mozilla_django_oidc.auth.OIDCAuthenticationBackend"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
ID_TOKEN = jwt.encode({"iss": "https://op.example", "sub": "alice-there"}, "k" * 32)
IN_SESSION = {
    "oidc_access_token": "old-access-token",
    "oidc_id_token": ID_TOKEN,
    "oidc_refresh_token": "old-refresh-token",
}


def code_of(file: str) -> dict[str, Any]:
    """Return what the page's code for that file defines."""
    [code] = re.findall(rf"```python\n# {re.escape(file)}\n(.*?)```", PAGE, re.DOTALL)
    found: dict[str, Any] = {"__name__": Path(file).stem}
    exec(code, found)  # noqa: S102  # the page's own
    return found


CarryOver = code_of("carry_over.py")["CarryOver"]
urlpatterns = [
    path("", include("tests.urls")),
    path("old/token", code_of("views.py")["token"]),
]


@pytest.fixture
def old_session(page: Page, user: Any, settings: Any) -> Callable[..., None]:
    """Let the page's session be one of the old sign-in, with these members."""
    settings.AUTHENTICATION_BACKENDS = [
        "django_tmibff.backends.OIDCAuthenticationBackend",
        "django.contrib.auth.backends.ModelBackend",
    ]
    settings.OIDC_RP_SCOPES = "openid email"

    def make(**members: Any) -> None:
        page.force_login(user, backend=OLD_BACKEND)
        session = page.session
        session.update(members)
        session.save()

    return make


@pytest.fixture
def carrying_over(settings: Any) -> None:
    """The page's middleware, where it says."""
    settings.MIDDLEWARE = list(settings.MIDDLEWARE)
    after = settings.MIDDLEWARE.index(AUTHENTICATION) + 1
    settings.MIDDLEWARE.insert(after, "tests.test_upgrading.CarryOver")


class TestSessionsOfTheOldSignIn:
    def test_without_more_people_sign_in_again(
        self, page: Page, old_session: Callable[..., None]
    ) -> None:
        old_session(**IN_SESSION)
        refusal = page.refusal()
        assert (refusal["error"], refusal["login_url"]) == ("invalid_session", "/bff/login")

    def test_with_a_backend_whose_name_stays_they_are_signed_in_without_tokens(
        self, page: Page, user: Any
    ) -> None:
        page.sign_in(user)
        refusal = page.refusal()
        assert (refusal["error"], refusal["login_url"]) == ("backend_not_ready", "/bff/login")


@pytest.mark.usefixtures("carrying_over")
class TestCarriedOver:
    def test_the_session_goes_on_with_its_refresh_token(
        self,
        page: Page,
        old_session: Callable[..., None],
        authorization_server: AuthorizationServer,
    ) -> None:
        old_session(**IN_SESSION)
        assert page.token()["access_token"] == "fresh-1"
        assert authorization_server.requests[0]["refresh_token"] == ["old-refresh-token"]
        info = json.loads(page.fetch(SESSION_INFO).content)
        assert (info["iss"], info["sub"]) == ("https://op.example", "alice-there")
        assert not IN_SESSION.keys() & page.session.keys()

    def test_once_although_two_requests_come_together(
        self, page: Page, user: Any, old_session: Callable[..., None]
    ) -> None:
        old_session(**IN_SESSION)
        answer = CarryOver(lambda request: HttpResponse())
        requests: list[HttpRequest] = [page.request_of(user), page.request_of(user)]
        assert all(IN_SESSION.keys() <= request.session.keys() for request in requests)
        for request in requests:
            answer(request)
        assert TokenSet.objects.count() == 1

    def test_once_although_a_slow_request_brings_the_old_tokens_back(
        self, page: Page, old_session: Callable[..., None], authorization_server: Any
    ) -> None:
        old_session(**IN_SESSION)
        before = dict(page.session)
        page.token()
        session = page.session
        session.clear()
        session.update(before)
        session.save()
        assert page.refusal()["error"] == "backend_not_ready"
        assert TokenSet.objects.count() == 1

    def test_without_a_refresh_token_there_is_nothing_to_carry(
        self, page: Page, old_session: Callable[..., None]
    ) -> None:
        old_session(oidc_access_token="old-access-token", oidc_id_token=ID_TOKEN)
        assert page.refusal()["error"] == "backend_not_ready"
        assert not IN_SESSION.keys() & page.session.keys()

    def test_tokens_of_a_new_sign_in_stay(self, page: Page, signed_in: Callable[..., Page]) -> None:
        signed_in()
        session = page.session
        session.update(IN_SESSION)
        session.save()
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert not IN_SESSION.keys() & page.session.keys()

    def test_nobodys_are_dropped(self, page: Page) -> None:
        session = page.session
        session.update({**IN_SESSION, BACKEND_SESSION_KEY: OLD_BACKEND})
        session.save()
        assert page.refusal()["error"] == "invalid_session"
        assert not TokenSet.objects.exists()


@pytest.mark.urls("tests.test_upgrading")
class TestTheOldAddress:
    def test_it_answers_with_what_the_new_one_would_give(
        self, page: Page, signed_in: Callable[..., Page]
    ) -> None:
        signed_in()
        answer = page.get("/old/token", secure=True)
        found = json.loads(answer.content)
        assert found["access_token"] == SIGN_IN["access_token"]
        assert 0 < found["expires_in"] <= SIGN_IN["expires_in"]
        assert "no-store" in answer["Cache-Control"]

    def test_errors_too(self, page: Page, user: Any, settings: Any) -> None:
        page.sign_in(user)
        answer = page.get("/old/token", secure=True)
        assert answer.status_code == 401
        assert json.loads(answer.content) == {"error": "backend_not_ready"}


def test_what_a_newer_version_has_sealed_stays_for_that_one(
    signed_in: Callable[..., Page], token_set: Callable[[], TokenSet], caplog: Any
) -> None:
    page = signed_in()
    sealed = sealed_of(token_set())
    assert sealed is not None
    newer = json.loads(crypto.unseal(sealed)) | {"format": 2, "colour": "red"}
    plant(token_set(), crypto.seal(json.dumps(newer).encode()))
    assert page.refusal()["error"] == "backend_not_ready"
    assert "cannot be opened" in caplog.text
    assert token_set().ended_at is None
    plant(token_set(), sealed)
    assert page.token()["access_token"] == SIGN_IN["access_token"]
