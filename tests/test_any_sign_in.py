"""Any sign-in technology: Django's password form, and tokens from elsewhere."""

import json
from typing import Any

import pytest
import requests
from django.contrib.auth import authenticate, login
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import include, path

from django_tmibff import tokens
from django_tmibff.exceptions import BackendNotReady, InvalidSession, TokenError
from django_tmibff.models import TokenSet
from tests.page import SESSION_INFO, SIGN_IN, Page

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.test_any_sign_in")]


def password_form(request: HttpRequest) -> HttpResponse:
    """Sign in with Django's form fields, then fetch tokens in the site's own way."""
    user = authenticate(
        request, username=request.POST["username"], password=request.POST["password"]
    )
    login(request, user)
    response = requests.post(
        "https://op.example/token", data={"grant_type": "password"}, timeout=5
    ).json()
    tokens.store(request, response, claims={"iss": "https://op.example", "sub": "alice-there"})
    return HttpResponse("signed in")


def server_side(request: HttpRequest) -> HttpResponse:
    """Use a token in the site's own code."""
    return HttpResponse(tokens.get(request, scope="openid").value)


urlpatterns = [
    path("", include("django_tmibff.urls")),
    path("login", password_form),
    path("server-side", server_side),
]


@pytest.fixture
def form_page(page: Page, user: Any, authorization_server: Any) -> Page:
    """A page whose user signed in with the password form."""
    authorization_server.gives(**SIGN_IN)
    credentials = {"username": "alice", "password": "wonderland"}
    assert page.post("/login", credentials, secure=True).status_code == 200
    return page


class TestPasswordForm:
    def test_the_endpoints_work(self, form_page: Page, authorization_server: Any) -> None:
        assert form_page.token()["access_token"] == SIGN_IN["access_token"]
        assert form_page.token(scope="openid")["access_token"] == "fresh-2"
        info = json.loads(form_page.fetch(SESSION_INFO).content)
        assert (info["iss"], info["sub"]) == ("https://op.example", "alice-there")

    def test_server_side_code_gets_the_same_tokens(self, form_page: Page) -> None:
        for_the_page = form_page.token(scope="openid")["access_token"]
        assert form_page.get("/server-side", secure=True).content.decode() == for_the_page

    def test_x6_a_dead_grant_leaves_the_session_that_the_password_made(
        self, form_page: Page, authorization_server: Any
    ) -> None:
        authorization_server.refuses("invalid_grant")
        authorization_server.refuses("invalid_grant")
        form_page.refusal(scope="openid")
        assert form_page.token()["access_token"] == SIGN_IN["access_token"]
        assert form_page.refusal(scope="email")["error"] == "backend_not_ready"
        assert form_page.fetch(SESSION_INFO).status_code == 200


class TestStore:
    def test_nobody_signed_in(self, page: Page) -> None:
        with pytest.raises(ValueError, match="call login"):
            page.store()

    @pytest.mark.parametrize("response", [{}, {"access_token": None}, {"access_token": "ä"}, []])
    def test_no_access_token(self, page: Page, user: Any, response: Any) -> None:
        page.sign_in(user)
        with pytest.raises(ValueError, match="token response"):
            tokens.store(page.request_of(user), response)
        assert not TokenSet.objects.exists()

    def test_another_provider_begins_another_token_set(
        self,
        signed_in: Any,
        settings: Any,
        authorization_server: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        settings.TMIBFF_PROVIDERS = {
            "other": {"token_endpoint": "https://op.example/token", "client_id": "other-client"}
        }
        page = signed_in()
        with django_capture_on_commit_callbacks(execute=True):
            page.store({"access_token": "other"}, provider="other")
        assert authorization_server.revoked == [SIGN_IN["refresh_token"]]
        assert page.token()["access_token"] == "other"
        assert [s.end_reason for s in TokenSet.objects.order_by("pk")] == ["replaced", ""]

    @pytest.mark.parametrize(
        ("claim", "column"),
        [
            ("a\0b", "ab"),
            ("\ud800", "?"),
            ("x" * 400, "x" * 255),
            (7, ""),
            (None, ""),
            (["a"], ""),
            ("ünïcode", "ünïcode"),
        ],
    )
    def test_claims_of_any_kind_fit_the_record(
        self, page: Page, user: Any, claim: Any, column: str
    ) -> None:
        page.sign_in(user)
        token_set = page.store(claims={"iss": claim, "sub": claim, "sid": claim})
        token_set.refresh_from_db()
        assert (token_set.issuer, token_set.subject, token_set.sid) == (column, column, column)


class TestForATokenSet:
    """Celery tasks and the admin have no request."""

    def test_get(self, signed_in: Any, token_set: Any, authorization_server: Any) -> None:
        signed_in()
        assert tokens.get(token_set()).value == SIGN_IN["access_token"]
        assert tokens.get(token_set(), scope="openid").value == "fresh-1"

    def test_describe_shows_no_token(self, signed_in: Any, token_set: Any) -> None:
        signed_in()
        description = tokens.describe(token_set())
        [token] = description.access_tokens
        assert (token.scope, token.token_type, len(token.fingerprint)) == (
            "openid email",
            "Bearer",
            8,
        )
        assert description.has_refresh_token
        assert "canary" not in repr(description)

    def test_end_is_one_way(self, signed_in: Any, token_set: Any) -> None:
        signed_in()
        tokens.end(token_set(), "first")
        ended_at = token_set().ended_at
        tokens.end(token_set(), "second")
        assert (token_set().ended_at, token_set().end_reason) == (ended_at, "first")
        with pytest.raises(InvalidSession):
            tokens.get(token_set())
        with pytest.raises(InvalidSession):
            tokens.describe(token_set())

    def test_end_of_what_does_not_exist(self) -> None:
        tokens.end("0" * 32, "test")

    def test_a_request_without_tokens(self, page: Page, user: Any) -> None:
        page.sign_in(user)
        request = page.request_of(user)
        assert tokens.describe(request) is None
        with pytest.raises(BackendNotReady):
            tokens.get(request)
        tokens.end(request, "nothing to end")

    def test_errors_are_one_family(self) -> None:
        assert issubclass(BackendNotReady, TokenError)


def test_a_request_factorys_request_will_do(signed_in: Any, user: Any) -> None:
    page = signed_in()
    request = RequestFactory().get("/")
    request.session, request.user = page.session, user
    assert tokens.get(request).value == SIGN_IN["access_token"]
