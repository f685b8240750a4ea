"""PROTOCOL E: who may ask, and what every answer carries."""

import json
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import TooManyFieldsSent
from django.http import HttpRequest, HttpResponse
from django.test import Client

from django_tmibff import stores
from tests.page import FETCH, HOST, MODEL_BACKEND, SESSION_INFO, TOKEN, Page

BOTH = pytest.mark.parametrize("path", [TOKEN, SESSION_INFO])
FORM = "application/x-www-form-urlencoded"


def said(answer: HttpResponse) -> Any:
    return json.loads(answer.content)["error"]


class TestPaths:
    """E1."""

    @BOTH
    def test_e1_at_the_root_without_a_trailing_slash(self, signed_in: Any, path: str) -> None:
        page = signed_in()
        assert page.fetch(path).status_code == 200
        assert page.fetch(f"{path}/").status_code == 404


class TestTransport:
    """E2."""

    @BOTH
    def test_e2_plain_http_has_no_session(self, signed_in: Any, path: str) -> None:
        answer = signed_in().get(path, headers=FETCH, secure=False)
        assert (answer.status_code, said(answer)) == (400, "invalid_session")

    @BOTH
    def test_e2_https_at_the_proxy_counts(self, signed_in: Any, settings: Any, path: str) -> None:
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
        page = signed_in()
        for sent, status in (("https", 200), ("http", 400)):
            answer = page.get(path, headers={**FETCH, "x-forwarded-proto": sent})
            assert answer.status_code == status

    @pytest.mark.parametrize(
        ("host", "debug", "status"),
        [
            ("localhost", True, 200),
            ("localhost:8000", True, 200),
            ("127.0.0.1:8000", True, 200),
            ("[::1]:8000", True, 200),
            ("app.example", True, 400),
            ("localhost", False, 400),
        ],
    )
    def test_e2_plain_http_only_on_a_developers_own_machine(
        self, signed_in: Any, settings: Any, host: str, debug: bool, status: int
    ) -> None:
        settings.DEBUG = debug
        answer = signed_in().get(TOKEN, headers={**FETCH, "host": host})
        assert answer.status_code == status


class TestSession:
    """E3."""

    @BOTH
    def test_e3_nobody_is_signed_in(self, page: Page, db: None, path: str) -> None:
        answer = page.fetch(path)
        assert (answer.status_code, said(answer)) == (400, "invalid_session")

    @BOTH
    @pytest.mark.parametrize(
        "backend", [MODEL_BACKEND, "django_tmibff.backends.OIDCAuthenticationBackend"]
    )
    def test_e3_a_deactivated_user_has_no_session(
        self, signed_in: Any, user: Any, path: str, backend: str
    ) -> None:
        page = signed_in()
        page.force_login(user, backend=backend)
        get_user_model().objects.update(is_active=False)
        assert said(page.fetch(path)) == "invalid_session"

    @BOTH
    def test_e3_not_even_where_the_sites_backend_lets_deactivated_users_in(
        self, page: Page, user: Any, settings: Any, path: str
    ) -> None:
        backend = "django.contrib.auth.backends.AllowAllUsersModelBackend"
        settings.AUTHENTICATION_BACKENDS = [backend]
        page.force_login(user, backend=backend)
        page.store()
        get_user_model().objects.update(is_active=False)
        assert said(page.fetch(path)) == "invalid_session"

    @BOTH
    def test_e3_a_password_changed_elsewhere_ends_it(
        self, signed_in: Any, user: Any, path: str
    ) -> None:
        page = signed_in()
        user.set_password("looking glass")
        user.save()
        assert said(page.fetch(path)) == "invalid_session"

    @BOTH
    def test_e3_a_deleted_user_has_no_session(self, signed_in: Any, user: Any, path: str) -> None:
        page = signed_in()
        user.delete()
        assert said(page.fetch(path)) == "invalid_session"

    @BOTH
    @pytest.mark.parametrize("cookie", ['"a\\000bcdefgh"', "x", "\x7f" * 40, "a" * 5000, ""])
    def test_e3_a_session_cookie_of_any_bytes_is_no_session(
        self, page: Page, db: None, path: str, cookie: str
    ) -> None:
        answer = page.fetch(path, headers={"cookie": f"sessionid={cookie}"})
        assert said(answer) == "invalid_session"


class TestSite:
    """E5: refused before any work is done. E6: what is not known is ignored."""

    @BOTH
    @pytest.mark.parametrize(
        "sent",
        [
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"},
            {"sec-fetch-site": ""},
            {"sec-fetch-mode": "no-cors"},
            {"sec-fetch-mode": "navigate"},
            {"sec-fetch-mode": "websocket"},
            {"sec-fetch-dest": "script"},
            {"sec-fetch-dest": "document"},
            {"sec-fetch-dest": "image"},
            {"sec-purpose": "prefetch"},
            {"sec-purpose": "prefetch;prerender"},
            {"purpose": "prefetch"},
            {"origin": "https://evil.example"},
            {"origin": f"http://{HOST}"},
            {"origin": f"https://{HOST}:8443"},
            {"origin": f"https://sub.{HOST}"},
            {"origin": f"https://{HOST}.evil.example"},
            {"origin": "null"},
            {"origin": ""},
        ],
    )
    def test_e5_refused_and_nothing_is_read(
        self,
        signed_in: Any,
        authorization_server: Any,
        django_assert_num_queries: Any,
        path: str,
        sent: dict[str, str],
    ) -> None:
        page = signed_in(expires_in=0)
        with django_assert_num_queries(0):
            answer = page.fetch(path, headers=sent)
        assert (answer.status_code, said(answer)) == (403, "invalid_request")
        assert authorization_server.calls == 0

    @BOTH
    @pytest.mark.parametrize(
        "sent",
        [
            {},
            FETCH,
            {**FETCH, "sec-fetch-mode": "same-origin"},
            {**FETCH, "origin": f"https://{HOST}"},
            {"origin": f"https://{HOST}"},
        ],
    )
    def test_e5_our_own_pages_are_answered(
        self, signed_in: Any, path: str, sent: dict[str, str]
    ) -> None:
        assert signed_in().get(path, headers=sent, secure=True).status_code == 200

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            ({}, 403),
            ({"sec-fetch-dest": "empty", "sec-fetch-mode": "cors"}, 403),
            ({"sec-fetch-site": "same-origin"}, 200),
            ({"origin": f"https://{HOST}"}, 200),
        ],
    )
    def test_e5_a_post_says_where_it_comes_from(
        self, signed_in: Any, sent: dict[str, str], status: int
    ) -> None:
        answer = signed_in().post(TOKEN, "", content_type=FORM, headers=sent, secure=True)
        assert answer.status_code == status

    @BOTH
    def test_e5_a_site_may_require_a_header(self, signed_in: Any, settings: Any, path: str) -> None:
        settings.TMIBFF_REQUIRED_HEADER = "X-Requested-With"
        page = signed_in()
        refused = page.fetch(path)
        assert (refused.status_code, said(refused)) == (403, "invalid_request")
        assert "X-Requested-With" in refused.headers["Vary"]
        assert page.fetch(path, headers={"x-requested-with": "page"}).status_code == 200

    @BOTH
    def test_e6_unknown_parameters_are_ignored(self, signed_in: Any, path: str) -> None:
        answer = signed_in().fetch(path, {"prompt": "none", "client_id": "x", "Scope": "y"})
        assert answer.status_code == 200


class TestAnswers:
    """E7, E8, E10: what every answer carries, errors too."""

    @pytest.fixture(params=["success", "error", "cross-site", "method", "plain-http"])
    def answer(self, request: Any, signed_in: Any, path: str) -> HttpResponse:
        page = signed_in()
        if request.param == "success":
            return page.fetch(path)
        if request.param == "error":
            return Page().fetch(path)
        if request.param == "cross-site":
            return page.fetch(path, headers={"sec-fetch-site": "cross-site"})
        if request.param == "method":
            return page.fetch(path, method="DELETE")
        return page.get(path, headers=FETCH)

    @BOTH
    def test_e7_json_that_is_not_sniffed(self, answer: HttpResponse, path: str) -> None:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert isinstance(json.loads(answer.content), dict)

    @BOTH
    def test_e8_never_cached_nor_framed_nor_read_elsewhere(
        self, answer: HttpResponse, path: str
    ) -> None:
        headers = answer.headers
        assert {"no-cache", "no-store", "private"} <= set(headers["Cache-Control"].split(", "))
        assert headers["Pragma"] == "no-cache"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        policy = set(headers["Content-Security-Policy"].split("; "))
        assert policy == {"sandbox", "default-src 'none'", "frame-ancestors 'none'"}
        judged = {"Cookie", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest"}
        assert judged <= set(headers["Vary"].split(", "))
        assert not [name for name in headers if name.lower().startswith("access-control-")]

    @BOTH
    def test_e8_middleware_on_the_way_cannot_weaken_it(
        self, signed_in: Any, settings: Any, path: str
    ) -> None:
        page = signed_in()
        before = dict(page.fetch(path).headers)
        settings.MIDDLEWARE = ["tests.test_guard.weakening_middleware", *settings.MIDDLEWARE]
        after = dict(page.elsewhere().fetch(path).headers)
        assert after.pop("X-Own") == "kept"
        assert after.pop("Vary") == f"Accept-Language, {before.pop('Vary')}"
        assert dict(after) == dict(before)

    @BOTH
    @pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"])
    def test_e10_other_methods_are_not_allowed(
        self, signed_in: Any, path: str, method: str
    ) -> None:
        answer = signed_in().fetch(path, method=method)
        assert answer.status_code == 405
        assert answer.headers["Allow"] == ("GET, POST" if path == TOKEN else "GET")


def weakening_middleware(get_response: Any) -> Any:
    """A middleware that sets its own headers on everything, as projects have them."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Cache-Control"] = "public, max-age=3600"
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
        response["Content-Security-Policy"] = "default-src *"
        response["Access-Control-Allow-Origin"] = "*"
        response["Vary"] = "Accept-Language"
        response["X-Own"] = "kept"
        del response["Cross-Origin-Resource-Policy"]
        del response.headers["Vary"]
        response.headers.pop("Referrer-Policy", None)
        response.headers.setdefault("Pragma", "cache")
        response["Vary"] = response["Vary"]
        return response

    return middleware


class TestDjangosOwnRefusals:
    """E12: what Django raises while it reads the request."""

    def test_e12_too_many_fields(self, signed_in: Any, settings: Any) -> None:
        settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3
        answer = signed_in().fetch(TOKEN, "a=1&b=2&c=3&d=4&e=5")
        assert (answer.status_code, said(answer)) == (400, "invalid_request")

    def test_e12_too_much_data(self, signed_in: Any, settings: Any) -> None:
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
        answer = signed_in().fetch(
            TOKEN, method="POST", data="scope=" + "a" * 20, content_type=FORM
        )
        assert (answer.status_code, said(answer)) == (400, "invalid_request")

    def test_e12_a_broken_body(self, signed_in: Any, monkeypatch: Any) -> None:
        def broken(*args: Any) -> bytes:
            raise OSError("connection reset")

        monkeypatch.setattr("django.test.client.FakePayload.read", broken)
        answer = signed_in().fetch(TOKEN, method="POST", data="scope=a", content_type=FORM)
        assert (answer.status_code, said(answer)) == (400, "invalid_request")

    @pytest.mark.parametrize(
        ("charset", "error"), [("utf-16", "invalid_request"), ("no-such-charset", "invalid_scope")]
    )
    def test_e12_an_odd_charset(self, signed_in: Any, charset: str, error: str) -> None:
        answer = signed_in().fetch(
            method="POST", data="scope=%c3%28", content_type=f"{FORM}; charset={charset}"
        )
        assert (answer.status_code, said(answer)) == (400, error)

    def test_e12_a_host_that_is_not_ours_stays_djangos(self, page: Page, db: None) -> None:
        answer = page.fetch(headers={"host": "rebound.example"})
        assert answer.status_code == 400
        assert answer.headers["Content-Type"].startswith("text/html")

    def test_e12_raised_by_middleware_that_reads_first_is_djangos_400(
        self, signed_in: Any, settings: Any
    ) -> None:
        settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 3
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_guard.reading_middleware"]
        page = signed_in().elsewhere()
        assert page.fetch(TOKEN, "a=1&b=2&c=3&d=4&e=5").status_code == 400


def reading_middleware(get_response: Any) -> Any:
    """A middleware that looks into the query before any view, and forgives what it finds."""

    def middleware(request: HttpRequest) -> HttpResponse:
        with suppress(TooManyFieldsSent):
            request.GET.get("lang")
        return get_response(request)

    return middleware


@BOTH
@pytest.mark.usefixtures("without_fast_path")
def test_x1_the_database_failing_is_an_error_of_ours(
    signed_in: Any, path: str, monkeypatch: Any, caplog: Any
) -> None:
    from django.db import OperationalError

    def down(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("server closed the connection")

    page = signed_in()
    monkeypatch.setattr(type(stores.current()), "get", down)
    answer = page.fetch(path)
    assert (answer.status_code, said(answer)) == (400, "temporarily_unavailable")
    assert "the database fails" in caplog.text


def test_a_tool_without_any_of_the_headers_is_answered(signed_in: Any) -> None:
    """E5: a browser that sends none cannot be told from a tool."""
    browser = Client(headers={"host": HOST})
    browser.cookies = signed_in().cookies
    assert browser.get(TOKEN, secure=True).status_code == 200
