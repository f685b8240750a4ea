"""PROTOCOL X: what goes wrong, and what the page is told."""

import json
import time
from typing import Any

import pytest
import requests
from django.contrib.sessions.models import Session
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_tmibff import tokens
from django_tmibff.exceptions import AuthorizationServerRefused
from django_tmibff.models import TokenSet
from tests.page import SIGN_IN, Page

ORDERS = "https://api.example/orders"
LOGIN_URL = "/bff/login"
INVALID_GRANT = {"status_code": 400, "json": {"error": "invalid_grant"}}


@pytest.fixture
def expired(signed_in: Any, settings: Any) -> Page:
    """A page whose access token has expired."""
    settings.TMIBFF_RESOURCES = [ORDERS]
    return signed_in(expires_in=0)


class TestOurs:
    """X1, X2, X3."""

    def test_x1_an_error_is_400_in_ascii_with_a_text_for_people(self, expired: Page) -> None:
        answer = expired.fetch(query={"resource": "ä"})
        assert answer.status_code == 400
        assert answer.content.isascii()
        assert json.loads(answer.content)["error_description"]

    @pytest.mark.parametrize("path", ["/.well-known/bff-token", "/.well-known/bff-sessioninfo"])
    def test_x2_no_session_offers_sign_in_where_it_is_installed(
        self, page: Page, db: None, path: str
    ) -> None:
        refusal = json.loads(page.fetch(path).content)
        assert (refusal["error"], refusal["login_url"]) == ("invalid_session", LOGIN_URL)

    @pytest.mark.urls("django_tmibff.urls")
    def test_x2_no_login_url_where_no_sign_in_is_installed(self, page: Page, db: None) -> None:
        assert "login_url" not in json.loads(page.fetch().content)

    def test_x2_an_ended_sign_in_is_no_session(self, signed_in: Any, token_set: Any) -> None:
        page = signed_in()
        tokens.end(token_set(), "test")
        for path in ("/.well-known/bff-token", "/.well-known/bff-sessioninfo"):
            assert json.loads(page.fetch(path).content)["error"] == "invalid_session"

    def test_x3_no_tokens_at_all(self, page: Page, user: Any) -> None:
        page.sign_in(user)
        refusal = page.refusal()
        assert (refusal["error"], refusal["login_url"]) == ("backend_not_ready", LOGIN_URL)

    def test_x3_no_refresh_token(self, signed_in: Any, authorization_server: Any) -> None:
        refusal = signed_in(expires_in=0, refresh_token=...).refusal()
        assert (refusal["error"], refusal["login_url"]) == ("backend_not_ready", LOGIN_URL)
        assert authorization_server.calls == 0

    def test_x3_tokens_of_another_user_are_none(
        self, signed_in: Any, user: Any, django_user_model: Any, caplog: Any
    ) -> None:
        page = signed_in()
        handle = page.session[tokens.SESSION_KEY]
        page.sign_in(django_user_model.objects.create_user("bob", password="builder"))
        session = page.session
        session[tokens.SESSION_KEY] = handle
        session.save()
        assert page.refusal()["error"] == "backend_not_ready"
        assert "belongs to another user" in caplog.text


class TestRefusals:
    """X4, X8."""

    @pytest.mark.parametrize(
        "error", ["invalid_request", "invalid_scope", "access_denied", "own:error!"]
    )
    def test_x4_the_authorization_servers_own_words(
        self, expired: Page, authorization_server: Any, error: str
    ) -> None:
        authorization_server.refuses(error, error_description="because of that")
        assert expired.refusal() == {
            "error": error,
            "error_description": "because of that",
            "login_url": LOGIN_URL,
        }

    @pytest.mark.parametrize("error", ["invalid_session", "backend_not_ready"])
    def test_x4_our_own_words_in_its_mouth(
        self, expired: Page, authorization_server: Any, error: str
    ) -> None:
        authorization_server.refuses(error)
        assert expired.refusal()["error"] == "server_error"

    @pytest.mark.parametrize("description", ["a\nb", 'say "x"', "ä", "back\\slash", 7, ["x"], ""])
    def test_x4_a_description_that_the_rfc_does_not_allow_is_dropped(
        self, expired: Page, authorization_server: Any, description: Any
    ) -> None:
        authorization_server.refuses("invalid_scope", error_description=description)
        assert "error_description" not in expired.refusal()

    @pytest.mark.parametrize("error", ["a\nb", 'say "x"', "ä", "", 7, None, ["x"], {"a": "b"}])
    def test_x4_an_error_that_the_rfc_does_not_allow_is_none(
        self, expired: Page, authorization_server: Any, error: Any
    ) -> None:
        authorization_server.refuses(error)
        assert expired.refusal()["error"] == "backend_not_ready"

    @pytest.mark.parametrize(
        "error",
        [
            "invalid_client",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_dpop_proof",
            "use_dpop_nonce",
        ],
    )
    def test_x8_no_login_url_where_asking_the_user_cannot_help(
        self, expired: Page, authorization_server: Any, error: str
    ) -> None:
        authorization_server.refuses(error, status=401 if error == "invalid_client" else 400)
        refusal = expired.refusal()
        assert refusal["error"] == error
        assert "login_url" not in refusal

    def test_x8_nor_for_what_passes_by_itself(
        self, expired: Page, authorization_server: Any
    ) -> None:
        authorization_server.refuses("temporarily_unavailable")
        refusal = expired.refusal()
        assert refusal["error"] == "temporarily_unavailable"
        assert "login_url" not in refusal

    def test_x8_login_url_is_a_path_of_ours_without_next(
        self, expired: Page, authorization_server: Any
    ) -> None:
        """tests/test_login.py says what is in its query."""
        authorization_server.refuses("invalid_scope")
        assert expired.refusal()["login_url"] == LOGIN_URL


NO_ANSWER: dict[str, dict[str, Any]] = {
    "no-connection": {"exc": requests.ConnectionError("refused")},
    "time-out": {"exc": requests.ReadTimeout("slow")},
    "tls": {"exc": requests.exceptions.SSLError("certificate")},
    "cut-off": {"exc": requests.exceptions.ChunkedEncodingError("cut off")},
    "bad-url": {"exc": requests.exceptions.InvalidURL("url")},
    "500": {"status_code": 500, "json": {"error": "invalid_grant"}},
    "502-html": {"status_code": 502, "text": "<html>Bad gateway</html>"},
    "503": {"status_code": 503},
    "429": {"status_code": 429, "json": {"error": "slow_down"}},
    "redirect": {"status_code": 302, "headers": {"Location": "https://op.example/login"}},
    "html": {"text": "<html>Sign in</html>", "headers": {"Content-Type": "text/html"}},
    "empty": {"text": ""},
    "truncated": {"text": '{"access_token": "canary'},
    "list": {"json": ["access_token"]},
    "text": {"json": "access_token"},
    "null": {"json": None},
    "number": {"json": 7},
    "nan": {"text": '{"access_token": "a", "expires_in": NaN}'},
    "deep": {"text": "[" * 100_000},
    "not-utf8": {"content": b'{"access_token": "\xff\xfe"}'},
    "no-access-token": {"json": {"token_type": "Bearer"}},
    "error-in-200": {"json": {"error": "bad_refresh_token"}},
    "access-token-number": {"json": {"access_token": 7}},
    "access-token-empty": {"json": {"access_token": ""}},
    "access-token-newline": {"json": {"access_token": "a\r\nSet-Cookie: b"}},
    "access-token-unicode": {"json": {"access_token": "tökén"}},
    "too-large": {"json": {"access_token": "a", "padding": "x" * 300_000}},
    "no-content": {"status_code": 204},
}


class TestNoAnswer:
    """X5."""

    @pytest.mark.parametrize("answer", NO_ANSWER.values(), ids=NO_ANSWER.keys())
    def test_x5_not_an_oauth_answer_is_temporary(
        self, expired: Page, authorization_server: Any, token_set: Any, answer: dict[str, Any]
    ) -> None:
        authorization_server.answers(**answer)
        response = expired.fetch()
        refusal = json.loads(response.content)
        assert response.status_code == 400
        assert refusal["error"] == "temporarily_unavailable"
        assert "login_url" not in refusal
        assert int(response.headers["Retry-After"]) >= 1
        assert authorization_server.calls == 1
        assert token_set().last_error == "temporarily_unavailable"
        # The refresh token is kept, and the next answer counts.
        assert expired.token()["access_token"] == "fresh-2"
        assert authorization_server.requests[1]["refresh_token"] == [SIGN_IN["refresh_token"]]

    @pytest.mark.parametrize(
        ("sent", "answered"),
        [
            ("7", 7),
            ("0", 1),
            ("-5", 1),
            ("99999999", 3600),
            ("9" * 30, 1),
            ("soon", 1),
            ("Mon, 01 Jan 2001 00:00:00 GMT", 1),
            ("Fri, 01 Jan 2100 00:00:00 GMT", 3600),
        ],
    )
    def test_x5_retry_after_is_the_servers_own_within_reason(
        self, expired: Page, authorization_server: Any, sent: str, answered: int
    ) -> None:
        authorization_server.answers(status_code=503, headers={"Retry-After": sent})
        assert int(expired.fetch().headers["Retry-After"]) == answered

    @pytest.mark.parametrize(
        "answer",
        [
            {"status_code": 400},
            {"status_code": 400, "text": "<html>"},
            {"status_code": 404, "text": "not found"},
            {"status_code": 400, "json": ["invalid_grant"]},
        ],
    )
    def test_x5_a_refusal_without_a_reason_asks_the_user_and_keeps_the_refresh_token(
        self, expired: Page, authorization_server: Any, answer: dict[str, Any]
    ) -> None:
        authorization_server.answers(**answer)
        refusal = expired.refusal()
        assert (refusal["error"], refusal["login_url"]) == ("backend_not_ready", LOGIN_URL)
        assert expired.token()["access_token"] == "fresh-2"

    def test_x5_json_is_read_whatever_its_label(
        self, expired: Page, authorization_server: Any
    ) -> None:
        html = {"Content-Type": "text/html"}
        authorization_server.answers(
            status_code=400, text='{"error": "invalid_target"}', headers=html
        )
        assert expired.refusal()["error"] == "invalid_target"
        authorization_server.answers(text='{"access_token": "a"}', headers=html)
        assert expired.token(scope="openid")["access_token"] == "a"

    @pytest.mark.parametrize("status", [400, 401])
    def test_x5_a_bad_client_secret_is_the_sites_fault_and_logged_as_an_error(
        self, expired: Page, authorization_server: Any, caplog: Any, status: int
    ) -> None:
        authorization_server.refuses("invalid_client", status=status)
        assert expired.refusal()["error"] == "invalid_client"
        assert [record.levelname for record in caplog.records if "renewed" in record.message] == [
            "ERROR"
        ]
        assert expired.token()["access_token"] == "fresh-2"

    def test_x4_a_word_without_end_is_cut_in_the_log_as_it_is_in_the_record(
        self, expired: Page, authorization_server: Any, token_set: Any, caplog: Any
    ) -> None:
        authorization_server.refuses("x" * 5000)
        assert expired.refusal()["error"] == "x" * 5000
        assert token_set().last_error == "x" * 100
        assert f"not renewed: {'x' * 100}" in caplog.messages[0]
        assert "x" * 101 not in caplog.text

    def test_x5_a_site_without_a_token_endpoint(self, expired: Page, settings: Any) -> None:
        del settings.OIDC_OP_TOKEN_ENDPOINT
        assert expired.refusal()["error"] == "backend_not_ready"

    def test_x5_a_provider_that_was_taken_out_of_the_settings(
        self, page: Page, user: Any, settings: Any, caplog: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"other": {"client_id": "other-client"}}
        page.sign_in(user)
        page.store({"expires_in": 0}, provider="other")
        settings.TMIBFF_PROVIDERS = {}
        assert page.refusal()["error"] == "backend_not_ready"
        assert "TMIBFF_PROVIDERS has no provider named 'other'" in caplog.text

    @pytest.mark.parametrize(
        "secret", [SIGN_IN["refresh_token"], "canary-client-secret", "canary%2Fform%2Bencoded"]
    )
    @pytest.mark.parametrize("member", ["error", "error_description"])
    def test_x9_a_server_that_repeats_a_secret_is_not_quoted(
        self,
        expired: Page,
        authorization_server: Any,
        token_set: Any,
        caplog: Any,
        settings: Any,
        member: str,
        secret: str,
    ) -> None:
        if "form" in secret:
            settings.OIDC_RP_CLIENT_SECRET = "canary/form+encoded"
        said = {"error": "access_denied", member: f"token {secret} is not active"}
        authorization_server.answers(json=said, status_code=400)
        answer = expired.fetch()
        expected = "server_error" if member == "error" else "access_denied"
        assert json.loads(answer.content)["error"] == expected
        assert "canary" not in answer.content.decode() + caplog.text + token_set().last_error

    def test_x6_a_dead_refresh_token_that_is_quoted_is_dead_all_the_same(
        self, expired: Page, authorization_server: Any
    ) -> None:
        description = f"Invalid refresh token: {SIGN_IN['refresh_token']}"
        authorization_server.refuses("invalid_grant", error_description=description)
        assert expired.refusal() == {"error": "invalid_grant", "login_url": LOGIN_URL}
        assert expired.refusal()["error"] == "backend_not_ready"

    def test_x4_a_client_secret_that_is_a_word_of_an_error_hides_none(
        self, expired: Page, authorization_server: Any, settings: Any
    ) -> None:
        settings.OIDC_RP_CLIENT_SECRET = "client"
        authorization_server.refuses("invalid_client", status=401)
        assert expired.refusal()["error"] == "invalid_client"

    @pytest.mark.parametrize("error", [ValueError("http://["), RuntimeError("can't start thread")])
    def test_x5_whatever_goes_wrong_on_the_way_is_no_answer(
        self, expired: Page, authorization_server: Any, error: Exception
    ) -> None:
        authorization_server.answers(exc=error)
        assert expired.refusal()["error"] == "temporarily_unavailable"


class TestInvalidGrant:
    """X6."""

    def test_x6_the_refresh_token_is_dropped(
        self, expired: Page, authorization_server: Any
    ) -> None:
        authorization_server.answers(**INVALID_GRANT)
        refusal = expired.refusal()
        assert (refusal["error"], refusal["login_url"]) == ("invalid_grant", LOGIN_URL)
        assert expired.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 1

    def test_x6_a_session_that_the_same_sign_in_made_ends(
        self, page: Page, user: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page.sign_in(user)
        page.store({"expires_in": 0}, made_session=True)
        authorization_server.answers(**INVALID_GRANT)
        assert page.refusal()["error"] == "invalid_grant"
        assert token_set().end_reason == "invalid_grant"
        assert not Session.objects.exists()
        assert page.refusal()["error"] == "invalid_session"

    def test_x6_even_where_the_stored_token_would_still_work(
        self, page: Page, user: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page.sign_in(user)
        page.store({"expires_in": 100}, made_session=True)
        shortly_before = time.time() + 90
        monkeypatch.setattr("time.time", lambda: shortly_before)
        authorization_server.answers(**INVALID_GRANT)
        assert page.refusal()["error"] == "invalid_grant"

    def test_x6_the_site_may_let_the_session_live(
        self, page: Page, user: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_END_SESSION_ON_INVALID_GRANT = False
        page.sign_in(user)
        page.store({"expires_in": 0}, made_session=True)
        authorization_server.answers(**INVALID_GRANT)
        assert page.refusal()["error"] == "invalid_grant"
        assert page.refusal()["error"] == "backend_not_ready"

    def test_x6_from_outside_a_request_the_session_ends_too(
        self, page: Page, user: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page.sign_in(user)
        page.store({"expires_in": 0}, made_session=True)
        authorization_server.answers(**INVALID_GRANT)
        with pytest.raises(AuthorizationServerRefused, match="invalid_grant"):
            tokens.get(token_set())
        assert not Session.objects.exists()

    def test_x6_another_process_has_replaced_the_refresh_token_meanwhile(
        self, expired: Page, user: Any, authorization_server: Any
    ) -> None:
        def sign_in_again() -> None:
            authorization_server.before_answering = lambda: None
            expired.store({"expires_in": 0, "refresh_token": "canary-newer"})

        authorization_server.before_answering = sign_in_again
        authorization_server.answers(**INVALID_GRANT)
        assert expired.token()["access_token"] == "fresh-2"
        assert authorization_server.requests[1]["refresh_token"] == ["canary-newer"]

    @pytest.mark.parametrize("query", [{"scope": "openid"}, {"resource": ORDERS}])
    def test_x6_said_of_a_resource_or_scope_it_is_believed_only_if_a_plain_refresh_says_so(
        self, expired: Page, authorization_server: Any, query: dict[str, str]
    ) -> None:
        authorization_server.answers(**INVALID_GRANT)
        authorization_server.gives(
            access_token="plain", refresh_token="canary-rotated", expires_in=600
        )
        assert expired.refusal(**query)["error"] == "invalid_grant"
        plain = authorization_server.requests[1]
        assert "scope" not in plain
        assert "resource" not in plain
        # What the plain one gave is stored, and the refusal is remembered as X7's.
        assert expired.token()["access_token"] == "plain"
        assert expired.refusal(**query)["error"] == "invalid_grant"
        assert authorization_server.calls == 2
        expired.token(scope="email")
        assert authorization_server.requests[2]["refresh_token"] == ["canary-rotated"]

    def test_x6_believed_when_the_plain_refresh_says_so_too(
        self, expired: Page, authorization_server: Any
    ) -> None:
        for _ in range(2):
            authorization_server.answers(**INVALID_GRANT)
        assert expired.refusal(scope="openid")["error"] == "invalid_grant"
        assert expired.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 2

    def test_x6_not_believed_while_the_plain_refresh_gets_no_answer(
        self, expired: Page, authorization_server: Any
    ) -> None:
        authorization_server.answers(**INVALID_GRANT)
        authorization_server.answers(status_code=503)
        assert expired.refusal(scope="openid")["error"] == "temporarily_unavailable"
        assert expired.token()["access_token"] == "fresh-3"


class TestRemembered:
    """X7."""

    @pytest.mark.parametrize(
        "error",
        [
            "invalid_scope",
            "invalid_target",
            "invalid_resource",
            "unauthorized_client",
            "consent_required",
            "interaction_required",
        ],
    )
    def test_x7_a_refusal_for_one_key_is_remembered_for_that_key_alone(
        self, expired: Page, authorization_server: Any, error: str
    ) -> None:
        authorization_server.refuses(error, error_description="no")
        first = expired.refusal(resource=ORDERS)
        assert expired.refusal(resource=ORDERS) == first
        assert authorization_server.calls == 1
        assert expired.token()["access_token"] == "fresh-2"
        assert expired.token(scope="openid")["access_token"] == "fresh-3"

    def test_x7_for_a_short_while(
        self, expired: Page, authorization_server: Any, monkeypatch: Any
    ) -> None:
        authorization_server.refuses("invalid_scope")
        expired.refusal(scope="openid")
        later = time.time() + 31
        monkeypatch.setattr("time.time", lambda: later)
        assert expired.token(scope="openid")["access_token"] == "fresh-2"

    def test_x7_nor_for_long_where_another_hosts_clock_was_ahead(
        self, expired: Page, authorization_server: Any, monkeypatch: Any
    ) -> None:
        authorization_server.refuses("invalid_scope")
        expired.refusal(scope="openid")
        earlier = time.time() - 3600
        monkeypatch.setattr("time.time", lambda: earlier)
        assert expired.token(scope="openid")["access_token"] == "fresh-2"

    def test_x7_a_new_sign_in_forgets_it(self, expired: Page, authorization_server: Any) -> None:
        authorization_server.refuses("invalid_scope")
        expired.refusal(scope="openid")
        expired.store()
        assert expired.token(scope="openid")["access_token"] == "fresh-2"

    def test_x7_other_refusals_are_not_remembered(
        self, expired: Page, authorization_server: Any
    ) -> None:
        authorization_server.refuses("access_denied")
        expired.refusal()
        assert expired.token()["access_token"] == "fresh-2"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3)
    ),
    max_leaves=8,
)
MEMBERS = (
    "access_token",
    "refresh_token",
    "token_type",
    "expires_in",
    "scope",
    "id_token",
    "refresh_expires_in",
    "error",
    "error_description",
)
RESPONSES = st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6)
BODIES = st.one_of(st.binary(max_size=200), JSON.map(json.dumps), RESPONSES.map(json.dumps))


@hypothesis_settings(max_examples=200)
@given(
    status=st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 429, 500, 503]),
    body=BODIES,
)
def test_x5_whatever_the_authorization_server_answers_is_an_answer_of_ours(
    signed_in: Any, authorization_server: Any, settings: Any, status: int, body: Any
) -> None:
    """X1, X4, X5, R2: no 500, no HTML, and only what the RFCs allow is passed on."""
    settings.TMIBFF_AS_CALLS_PER_MINUTE = 1_000_000
    page = signed_in(expires_in=0)
    authorization_server.answers(
        status_code=status, content=body if isinstance(body, bytes) else body.encode()
    )
    answer = page.fetch()
    data = json.loads(answer.content)
    if answer.status_code == 200:
        assert type(data.get("expires_in", 0)) is int
        assert data["access_token"].isascii()
    else:
        assert answer.status_code == 400
        assert data["error"].isascii()
        assert data.get("error_description", "").isascii()
    TokenSet.objects.all().delete()
