"""PROTOCOL T: what a page may ask for."""

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.page import SIGN_IN, TOKEN, Page

ORDERS = "https://api.example/orders"
MAIL = "https://api.example/mail"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def listed(settings: Any) -> None:
    settings.TMIBFF_RESOURCES = [ORDERS, MAIL]
    settings.TMIBFF_SCOPES = ["orders:read", "orders:write"]


class TestMethods:
    """T1."""

    def test_t1_get_with_parameters_in_the_query(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        signed_in().token(resource=ORDERS, scope="orders:read")
        assert authorization_server.requests[0]["resource"] == [ORDERS]
        assert authorization_server.requests[0]["scope"] == ["orders:read"]

    def test_t1_post_with_a_form(self, signed_in: Any, authorization_server: Any) -> None:
        answer = signed_in().fetch(
            f"{TOKEN}?scope=openid",
            method="POST",
            data=f"resource={ORDERS}&scope=orders:read",
            content_type=FORM,
        )
        assert answer.status_code == 200
        assert authorization_server.requests[0]["resource"] == [ORDERS]
        assert authorization_server.requests[0]["scope"] == ["orders:read"]

    def test_t1_a_post_without_a_body_asks_for_the_default(self, signed_in: Any) -> None:
        assert signed_in().fetch(method="POST", data="", content_type="").status_code == 200

    @pytest.mark.parametrize(
        "media_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", "x"]
    )
    def test_t1_another_media_type(self, signed_in: Any, media_type: str) -> None:
        answer = signed_in().fetch(method="POST", data="scope=openid", content_type=media_type)
        assert answer.status_code == 400
        assert json.loads(answer.content)["error"] == "invalid_request"


class TestResource:
    """T2."""

    @pytest.mark.parametrize(
        "resource",
        [
            "orders",
            "/orders",
            "//api.example/orders",
            f"{ORDERS}#part",
            f"{ORDERS}#",
            "https://",
            "https:",
            "https://api.example/a b",
            "https://api.example/ä",
            "https://[",
            "https://api.example/\x00",
            "1https://api.example",
            "javascript:alert(1)<",
        ],
    )
    def test_t2_malformed(self, signed_in: Any, authorization_server: Any, resource: str) -> None:
        assert signed_in().refusal(resource=resource)["error"] == "invalid_target"
        assert authorization_server.calls == 0

    def test_t2_may_be_repeated(self, signed_in: Any, authorization_server: Any) -> None:
        signed_in().token(resource=[ORDERS, MAIL])
        assert sorted(authorization_server.requests[0]["resource"]) == [MAIL, ORDERS]

    @pytest.mark.parametrize("resource", ["urn:example:orders", "https://api.example:8443/a?b=c"])
    def test_t2_any_absolute_uri(
        self, signed_in: Any, settings: Any, authorization_server: Any, resource: str
    ) -> None:
        settings.TMIBFF_RESOURCES = [resource]
        signed_in().token(resource=resource)
        assert authorization_server.requests[0]["resource"] == [resource]


class TestScope:
    """T3."""

    @pytest.mark.parametrize(
        "scope", ['a"b', "a\\b", "a  b", " a", "a ", " ", "a\tb", "ä", "a\x7f", "a\nb", "a\x00"]
    )
    def test_t3_malformed(self, signed_in: Any, authorization_server: Any, scope: str) -> None:
        assert signed_in().refusal(scope=scope)["error"] == "invalid_scope"
        assert authorization_server.calls == 0

    def test_t3_repeated(self, signed_in: Any) -> None:
        assert signed_in().refusal(scope=["openid", "email"])["error"] == "invalid_request"

    def test_t3_case_matters(self, signed_in: Any) -> None:
        assert signed_in().refusal(scope="OpenID")["error"] == "invalid_scope"


class TestDefaults:
    """T4."""

    @pytest.mark.parametrize("query", ["", "scope=", "resource=", "resource=&scope=&resource="])
    def test_t4_without_a_value_counts_as_absent(self, signed_in: Any, query: str) -> None:
        answer = signed_in().fetch(TOKEN, query)
        assert json.loads(answer.content)["access_token"] == SIGN_IN["access_token"]

    def test_t4_an_empty_scope_beside_another_is_not_a_repetition(self, signed_in: Any) -> None:
        assert signed_in().fetch(TOKEN, "scope=&scope=openid+email").status_code == 200

    def test_t4_the_sites_default_resource_and_scope(
        self, signed_in: Any, settings: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_DEFAULT_RESOURCE = "https://api.example/default"
        settings.TMIBFF_DEFAULT_SCOPE = "default:read"
        page = signed_in()
        assert page.token()["access_token"] == "fresh-1"
        assert authorization_server.requests[0]["resource"] == ["https://api.example/default"]
        assert authorization_server.requests[0]["scope"] == ["default:read"]
        assert page.token()["access_token"] == "fresh-1"
        named = page.token(resource="https://api.example/default", scope="default:read")
        assert named["access_token"] == "fresh-1"


class TestLists:
    """T5: known before the authorization server is asked."""

    @pytest.mark.parametrize(
        ("query", "error"),
        [
            ({"resource": "https://api.example/other"}, "invalid_target"),
            ({"resource": [ORDERS, "https://api.example/other"]}, "invalid_target"),
            ({"resource": f"{ORDERS}/"}, "invalid_target"),
            ({"scope": "admin"}, "invalid_scope"),
            ({"scope": "openid admin"}, "invalid_scope"),
        ],
    )
    def test_t5_outside_the_lists(
        self, signed_in: Any, authorization_server: Any, query: dict[str, Any], error: str
    ) -> None:
        refusal = signed_in().refusal(**query)
        assert refusal["error"] == error
        assert "login_url" not in refusal
        assert authorization_server.calls == 0

    def test_t5_no_resource_unless_the_site_lists_it(self, signed_in: Any, settings: Any) -> None:
        del settings.TMIBFF_RESOURCES
        assert signed_in().refusal(resource=ORDERS)["error"] == "invalid_target"

    def test_t5_scopes_of_the_sign_in_and_of_the_site_and_of_the_resource(
        self, signed_in: Any, settings: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "orders:all"}, MAIL: {}}
        page = signed_in()
        for scope in ("openid", "orders:read"):
            page.token(scope=scope)
        page.token(resource=ORDERS, scope="orders:all")
        assert page.refusal(resource=MAIL, scope="orders:all")["error"] == "invalid_scope"

    def test_t5_a_resources_own_scope_is_asked_for_by_default(
        self, signed_in: Any, settings: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "orders:all"}}
        answer = signed_in().token(resource=ORDERS)
        assert authorization_server.requests[0]["scope"] == ["orders:all"]
        assert answer["scope"] == "orders:all"

    def test_t5_scopes_not_told_at_sign_in_are_the_sites_alone(self, signed_in: Any) -> None:
        assert signed_in(scope=...).refusal(scope="openid")["error"] == "invalid_scope"


def refused(access_token: str) -> dict[str, str]:
    digest = hashlib.sha256(access_token.encode()).digest()
    return {"tmibff-refused": base64.urlsafe_b64encode(digest).decode().rstrip("=")}


class TestRefusedByTheResourceServer:
    """T6."""

    def test_t6_the_stored_token_is_renewed(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        answer = signed_in().fetch(headers=refused(SIGN_IN["access_token"]))
        assert json.loads(answer.content)["access_token"] == "fresh-1"

    @pytest.mark.parametrize("header", ["", "x", "ä", refused("another-token")["tmibff-refused"]])
    def test_t6_any_other_is_served_from_store(
        self, signed_in: Any, authorization_server: Any, header: str
    ) -> None:
        answer = signed_in().fetch(headers={"tmibff-refused": header})
        assert json.loads(answer.content)["access_token"] == SIGN_IN["access_token"]
        assert authorization_server.calls == 0

    def test_t6_at_most_once_in_an_interval(
        self, signed_in: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page = signed_in()
        page.fetch(headers=refused(SIGN_IN["access_token"]))
        answer = page.fetch(headers=refused("fresh-1"))
        assert json.loads(answer.content)["access_token"] == "fresh-1"
        assert authorization_server.calls == 1

    def test_t6_again_after_the_interval(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_FORCED_REFRESH_INTERVAL = 0
        page = signed_in()
        page.fetch(headers=refused(SIGN_IN["access_token"]))
        answer = page.fetch(headers=refused("fresh-1"))
        assert json.loads(answer.content)["access_token"] == "fresh-2"

    @pytest.mark.parametrize("name", ["cache-control", "pragma"])
    def test_t6_the_requests_own_cache_headers_mean_nothing(
        self, signed_in: Any, authorization_server: Any, name: str
    ) -> None:
        signed_in().fetch(headers={name: "no-cache"})
        assert authorization_server.calls == 0

    def test_t6_not_served_again_when_the_authorization_server_refuses(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        authorization_server.refuses("invalid_scope")
        answer = signed_in().fetch(headers=refused(SIGN_IN["access_token"]))
        assert json.loads(answer.content)["error"] == "invalid_scope"

    def test_t6_served_as_it_is_when_it_cannot_be_renewed_now(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        authorization_server.answers(status_code=503)
        answer = signed_in().fetch(headers=refused(SIGN_IN["access_token"]))
        assert json.loads(answer.content)["access_token"] == SIGN_IN["access_token"]


class TestRate:
    """T7."""

    def test_t7_beyond_the_limit_it_is_not_asked(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_AS_CALLS_PER_MINUTE = 3
        page = signed_in(expires_in=0)
        for number in range(3):
            authorization_server.gives(access_token=f"short-{number}", expires_in=0)
            page.token()
        answer = page.fetch()
        assert json.loads(answer.content)["error"] == "temporarily_unavailable"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert authorization_server.calls == 3

    def test_t7_failures_count_too(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_AS_CALLS_PER_MINUTE = 2
        page = signed_in(expires_in=0)
        for _ in range(5):
            authorization_server.answers(status_code=500)
            page.refusal()
        assert authorization_server.calls == 2

    def test_t7_a_site_may_forbid_it_altogether(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_AS_CALLS_PER_MINUTE = 0
        assert signed_in(expires_in=0).refusal()["error"] == "temporarily_unavailable"

    def test_t7_a_minute_later_it_is_asked_again(
        self, signed_in: Any, authorization_server: Any, settings: Any, monkeypatch: Any
    ) -> None:
        settings.TMIBFF_AS_CALLS_PER_MINUTE = 1
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="short", expires_in=0)
        page.token()
        assert page.refusal()["error"] == "temporarily_unavailable"
        in_a_minute = time.time() + 61
        monkeypatch.setattr("time.time", lambda: in_a_minute)
        assert page.token()["access_token"] == "fresh-2"


TEXT = st.text(max_size=30)
VALUES = st.one_of(
    TEXT,
    st.sampled_from(["openid", "openid email", ORDERS, MAIL, f"{ORDERS}#", "https://x y", ""]),
    st.from_regex(r"[a-z]{1,8}://?[^\s]{0,20}", fullmatch=True),
)
QUERIES = st.lists(
    st.tuples(st.one_of(st.sampled_from(["resource", "scope"]), TEXT), VALUES), max_size=5
)


@pytest.mark.parametrize("method", ["GET", "POST"])
@hypothesis_settings(max_examples=150)
@given(query=QUERIES)
def test_x1_any_parameters_get_an_answer_of_ours(
    signed_in: Any, authorization_server: Any, settings: Any, method: str, query: Any
) -> None:
    """T2, T3, T5, X1: whatever is asked, a token or one of our errors; no 500, no HTML."""
    from urllib.parse import urlencode

    settings.TMIBFF_AS_CALLS_PER_MINUTE = 1_000_000
    page: Page = signed_in()
    encoded = urlencode(
        [(k.encode(errors="replace"), v.encode(errors="replace")) for k, v in query]
    )
    if method == "GET":
        answer = page.fetch(TOKEN, encoded)
    else:
        answer = page.fetch(method="POST", data=encoded, content_type=FORM)
    data = json.loads(answer.content)
    if answer.status_code == 200:
        assert data["access_token"]
    else:
        assert answer.status_code == 400
        assert data["error"] in {"invalid_request", "invalid_target", "invalid_scope"}
    sent = [call.get("resource", []) for call in authorization_server.requests]
    assert {resource for resources in sent for resource in resources} <= {ORDERS, MAIL}
