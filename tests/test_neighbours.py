"""The endpoints beside other people's middleware: E4, E8, E11, and ATOMIC_REQUESTS."""

import json
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.urls import reverse

from django_tmibff import tokens
from tests.page import HOST, SESSION_INFO, SIGN_IN, TOKEN, Page

BOTH = pytest.mark.parametrize("path", [TOKEN, SESSION_INFO])
EVIL = "https://evil.example"


class TestLoginRequired:
    @BOTH
    def test_e11_no_login_redirect(self, page: Page, db: None, settings: Any, path: str) -> None:
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ]
        assert page.get("/", secure=True).status_code == 302
        assert json.loads(page.fetch(path).content)["error"] == "invalid_session"


class TestSessionRefresh:
    @pytest.fixture
    def stale(self, page: Page, user: Any, settings: Any) -> Page:
        """A page whose ID token has expired, as SessionRefresh sees it."""
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "mozilla_django_oidc.middleware.SessionRefresh",
        ]
        page.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
        page.store()
        session = page.session
        session["oidc_id_token_expiration"] = 0
        session.save()
        return page

    @BOTH
    def test_e11_answers_where_the_endpoints_are_exempt(
        self, stale: Page, settings: Any, path: str
    ) -> None:
        settings.OIDC_EXEMPT_URLS = ["tmibff-token", "tmibff-sessioninfo"]
        assert stale.fetch(path).status_code == 200

    @BOTH
    @pytest.mark.usefixtures("without_fast_path")
    def test_e11_would_redirect_otherwise_which_is_why_a_check_stands(
        self, stale: Page, path: str
    ) -> None:
        assert stale.fetch(path).status_code == 302


class TestCors:
    """E4, with a site that opens everything to everybody."""

    @pytest.fixture
    def open_to_all(self, signed_in: Any, settings: Any) -> Page:
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "corsheaders"]
        settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
        settings.CORS_ALLOW_ALL_ORIGINS = True
        settings.CORS_ALLOW_CREDENTIALS = True
        return signed_in()

    @BOTH
    @pytest.mark.parametrize(
        "sent", [{"origin": EVIL, "sec-fetch-site": "cross-site"}, {"origin": EVIL}]
    )
    def test_e4_another_origin_is_refused_and_may_not_even_read_that(
        self,
        open_to_all: Page,
        path: str,
        sent: dict[str, str],
    ) -> None:
        elsewhere = open_to_all.get("/", headers=sent, secure=True)
        assert elsewhere.headers["Access-Control-Allow-Origin"] == EVIL
        answer = open_to_all.get(path, headers=sent, secure=True)
        assert answer.status_code == 403
        assert not [n for n in answer.headers if n.lower().startswith("access-control-")]

    @BOTH
    def test_e4_a_preflight_opens_nothing(self, open_to_all: Page, path: str) -> None:
        sent = {"origin": EVIL, "access-control-request-method": "GET"}
        open_to_all.options(path, headers=sent, secure=True)
        answer = open_to_all.get(path, headers={"origin": EVIL}, secure=True)
        assert answer.status_code == 403

    @BOTH
    def test_e4_our_own_origin_is_answered(self, open_to_all: Page, path: str) -> None:
        answer = open_to_all.fetch(path, headers={"origin": f"https://{HOST}"})
        assert answer.status_code == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


class TestSiteCache:
    @BOTH
    def test_e8_djangos_site_cache_keeps_no_answer(
        self, signed_in: Any, user: Any, settings: Any, path: str
    ) -> None:
        cache.clear()
        settings.MIDDLEWARE = [
            "django.middleware.cache.UpdateCacheMiddleware",
            *settings.MIDDLEWARE,
            "django.middleware.cache.FetchFromCacheMiddleware",
        ]
        page = signed_in()
        assert page.fetch(path).status_code == 200
        assert "canary" not in str(cache._cache)
        page.store({"access_token": "second"})
        if path == TOKEN:
            assert page.token()["access_token"] == "second"
        page.logout()
        assert json.loads(page.fetch(path).content)["error"] == "invalid_session"

    @BOTH
    def test_e8_conditional_requests_and_compression_change_nothing(
        self, signed_in: Any, settings: Any, path: str
    ) -> None:
        settings.MIDDLEWARE = [
            "django.middleware.gzip.GZipMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            *settings.MIDDLEWARE,
        ]
        answer = signed_in().fetch(path)
        assert answer.status_code == 200
        assert "ETag" not in answer.headers


class TestTransactions:
    @BOTH
    def test_the_endpoints_stay_out_of_atomic_requests(
        self, signed_in: Any, settings: Any, authorization_server: Any, path: str
    ) -> None:
        from django.db import connection

        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            assert signed_in(expires_in=0).fetch(path).status_code == 200
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False

    def test_get_inside_a_transaction_raises_always(self, signed_in: Any, token_set: Any) -> None:
        """A rollback would lose a refresh token that has been replaced already."""
        signed_in()
        with (
            transaction.atomic(),
            pytest.raises(TransactionManagementError, match="Call it before"),
        ):
            tokens.get(token_set())

    @pytest.mark.django_db(transaction=True)
    def test_get_without_autocommit_raises_too(self, signed_in: Any, token_set: Any) -> None:
        signed_in()
        record = token_set()
        transaction.set_autocommit(False)
        try:
            with pytest.raises(TransactionManagementError):
                tokens.get(record)
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

    def test_a_sign_in_inside_a_transaction_is_kept_with_it(
        self, page: Page, user: Any, token_set: Any
    ) -> None:
        page.sign_in(user)
        with transaction.atomic():
            page.store()
            page.store({"access_token": "second"})
        assert page.token()["access_token"] == "second"


ENGINES = [
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.cached_db",
    "django.contrib.sessions.backends.file",
    "django.contrib.sessions.backends.signed_cookies",
]


@pytest.mark.parametrize("engine", ENGINES)
class TestSessionEngines:
    @pytest.fixture(autouse=True)
    def chosen(self, engine: str, settings: Any, tmp_path: Any) -> None:
        settings.SESSION_ENGINE = engine
        settings.SESSION_FILE_PATH = str(tmp_path)

    def test_e3_stored_renewed_and_ended(
        self, signed_in: Any, authorization_server: Any, engine: str
    ) -> None:
        page = signed_in()
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert page.token(scope="openid")["access_token"] == "fresh-1"
        before = page.cookies["sessionid"].value
        page.logout()
        page.cookies["sessionid"] = before
        for path in (TOKEN, SESSION_INFO):
            assert json.loads(page.fetch(path).content)["error"] == "invalid_session"

    def test_s2_exp_where_the_engine_knows_it(self, signed_in: Any, engine: str) -> None:
        info = json.loads(signed_in().fetch(SESSION_INFO).content)
        assert ("exp" in info) is engine.endswith((".db", ".cached_db", ".file"))

    def test_a_signed_cookies_key_is_its_data_and_never_kept(
        self, signed_in: Any, token_set: Any, engine: str
    ) -> None:
        from tests.sealed import contents_of

        page = signed_in()
        page.token()
        kept = contents_of(token_set()).session_key
        signed = engine.endswith("signed_cookies")
        assert kept == (None if signed else page.session.session_key)


def test_s2_exp_from_a_cache_that_tells(signed_in: Any, settings: Any, monkeypatch: Any) -> None:
    """django-redis has ttl()."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    page = signed_in()
    monkeypatch.setattr(type(cache._connections["default"]), "ttl", lambda s, k: 60, raising=False)
    assert "exp" in json.loads(page.fetch(SESSION_INFO).content)


def test_the_endpoints_are_where_the_draft_wants_them() -> None:
    """E1."""
    assert (reverse("tmibff-token"), reverse("tmibff-sessioninfo")) == (TOKEN, SESSION_INFO)
