"""How a token for a resource is asked for, chosen for each provider."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_tmibff import resource_requests
from django_tmibff.conf import settings as our_settings
from django_tmibff.contents import TokenKey
from django_tmibff.exceptions import InvalidTarget
from tests.page import Page
from tests.sealed import contents_of

pytestmark = pytest.mark.django_db

ORDERS, MAIL = "https://api.example/orders", "https://api.example/mail"


@pytest.fixture
def way(settings: Any) -> Any:
    """Let the provider know one of the ways; takes more of its members."""
    settings.TMIBFF_RESOURCES = {
        ORDERS: {"scope": "orders:read orders:write"},
        MAIL: {"extra": {"authorization_details": [{"type": "mail"}], "tenant": 7}},
    }

    def choose(name: str, **members: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"default": {"resource_request": name, **members}}

    return choose


def sent(authorization_server: Any, number: int = -1) -> dict[str, Any]:
    """Return what was asked for, without what every refresh has."""
    usual = {"grant_type", "refresh_token", "client_id", "client_secret"}
    form = authorization_server.requests[number]
    return {name: values for name, values in form.items() if name not in usual}


class TestResource:
    """RFC 8707."""

    def test_each_is_named(self, way: Any, signed_in: Any, authorization_server: Any) -> None:
        way("resource")
        signed_in().token(resource=[ORDERS, MAIL])
        assert sent(authorization_server) == {
            "resource": [MAIL, ORDERS],
            "scope": ["orders:read orders:write"],
            "authorization_details": ['[{"type": "mail"}]'],
            "tenant": ["7"],
        }

    def test_or_one_at_a_time(self, way: Any, signed_in: Any, authorization_server: Any) -> None:
        way("one_resource")
        signed_in().token(resource=ORDERS)
        assert sent(authorization_server) == {
            "resource": [ORDERS],
            "scope": ["orders:read orders:write"],
        }

    @pytest.mark.parametrize("error", ["invalid_target", "invalid_scope"])
    def test_a_refusal_names_the_settings_to_look_at(
        self, way: Any, signed_in: Any, authorization_server: Any, caplog: Any, error: str
    ) -> None:
        way("resource")
        authorization_server.refuses(error)
        assert signed_in().refusal(resource=ORDERS)["error"] == error
        assert "see resource_request, resources_at_sign_in" in caplog.text


class TestAudience:
    def test_it_is_named(self, way: Any, signed_in: Any, authorization_server: Any) -> None:
        way("audience")
        signed_in().token(resource=ORDERS)
        assert sent(authorization_server) == {
            "audience": [ORDERS],
            "scope": ["orders:read orders:write"],
        }

    @pytest.mark.parametrize("name", ["one_resource", "audience", "scope_prefix"])
    def test_there_is_one_at_a_time_and_nobody_is_asked(
        self, way: Any, signed_in: Any, authorization_server: Any, name: str
    ) -> None:
        way(name)
        assert signed_in().refusal(resource=[ORDERS, MAIL])["error"] == "invalid_target"
        assert authorization_server.calls == 0


class TestScopePrefix:
    def test_each_value_begins_with_the_resource(
        self, way: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        way("scope_prefix")
        both = f"{ORDERS}/orders:read {ORDERS}/orders:write"
        authorization_server.gives(access_token="a", expires_in=60, scope=f"openid {both}")
        answer = signed_in().token(resource=ORDERS)
        assert sent(authorization_server) == {"scope": [both]}
        assert answer["scope"] == "openid orders:read orders:write"

    def test_without_a_scope_it_is_the_default(
        self, way: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        way("scope_prefix")
        signed_in().token(resource=MAIL)
        assert sent(authorization_server)["scope"] == [f"{MAIL}/.default"]

    def test_the_sign_ins_own_token_is_asked_for_as_ever(
        self, way: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        way("scope_prefix")
        signed_in(expires_in=0).token()
        assert sent(authorization_server) == {}


class TestTokenExchange:
    """RFC 8693."""

    def test_the_sign_ins_token_is_exchanged(
        self, way: Any, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        way("token_exchange")
        page = signed_in()
        authorization_server.gives(
            access_token="exchanged", expires_in=60, refresh_token="canary-of-another"
        )
        assert page.token(resource=ORDERS)["access_token"] == "exchanged"
        assert authorization_server.requests[0] == {
            "grant_type": [resource_requests.TOKEN_EXCHANGE],
            "subject_token": ["canary-access-token"],
            "subject_token_type": [resource_requests.ACCESS_TOKEN_TYPE],
            "requested_token_type": [resource_requests.ACCESS_TOKEN_TYPE],
            "audience": [ORDERS],
            "scope": ["orders:read orders:write"],
        }
        assert contents_of(token_set()).refresh_token == "canary-refresh-token"
        assert page.token()["access_token"] == "canary-access-token"

    def test_one_that_has_expired_is_renewed_first_and_kept(
        self, way: Any, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        way("token_exchange")
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="own", expires_in=900, refresh_token="rotated")
        authorization_server.refuses("access_denied")
        assert page.refusal(resource=ORDERS)["error"] == "access_denied"
        assert [r["grant_type"] for r in authorization_server.requests] == [
            ["refresh_token"],
            [resource_requests.TOKEN_EXCHANGE],
        ]
        assert authorization_server.requests[1]["subject_token"] == ["own"]
        assert contents_of(token_set()).refresh_token == "rotated"
        assert page.token()["access_token"] == "own"

    def test_one_that_expires_meanwhile_is_renewed(
        self, way: Any, signed_in: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        way("token_exchange")
        page = signed_in()
        ensure = "django_tmibff.single_flight._ensure_subject_token"
        from django_tmibff import single_flight, vault

        original = single_flight._ensure_subject_token

        def expire_then(contents: Any, key: TokenKey, seconds: Any) -> None:
            monkeypatch.setattr(ensure, original)
            now = vault.read(contents.handle)
            now.access_tokens.clear()
            assert vault.save(now, owner="")

        monkeypatch.setattr(ensure, expire_then)
        assert page.token(resource=ORDERS)["access_token"] == "fresh-2"

    def test_x6_a_refusal_of_the_exchange_does_not_end_the_session(
        self, way: Any, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        way("token_exchange")
        page = signed_in()
        authorization_server.refuses("invalid_grant")
        assert page.refusal(resource=ORDERS)["error"] == "invalid_grant"
        assert token_set().ended_at is None
        assert page.token()["access_token"] == "fresh-2"

    def test_x9_the_subject_token_is_not_repeated(
        self, way: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        way("token_exchange")
        page = signed_in()
        authorization_server.refuses(
            "invalid_request", error_description="canary-access-token is bad"
        )
        assert "canary" not in json.dumps(page.refusal(resource=ORDERS))


class TestAtSignIn:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("resource", [("resource", ORDERS), ("resource", MAIL)]),
            ("one_resource", [("resource", ORDERS), ("resource", MAIL)]),
            ("audience", [("audience", ORDERS)]),
            ("scope_prefix", []),
            ("token_exchange", []),
        ],
    )
    def test_what_is_asked_for(self, way: Any, name: str, expected: Any) -> None:
        way(name)
        assert resource_requests.at_sign_in(our_settings.provider(), (), ("a",)) == (["a"], [])
        way(name, resources_at_sign_in=True)
        found = resource_requests.at_sign_in(our_settings.provider(), (), ("a",))
        assert found == (["a"], expected)

    @pytest.mark.parametrize(
        ("name", "scopes", "expected"),
        [
            ("resource", ["a"], [("resource", MAIL)]),
            ("audience", ["a"], [("audience", MAIL)]),
            ("scope_prefix", [f"{MAIL}/a"], []),
            ("token_exchange", ["a"], []),
        ],
    )
    def test_what_is_asked_for_one_of_them(
        self, way: Any, name: str, scopes: list[str], expected: Any
    ) -> None:
        way(name)
        found = resource_requests.at_sign_in(our_settings.provider(), (MAIL,), ("a",))
        assert found == (scopes, expected)

    @pytest.mark.parametrize("name", ["audience", "scope_prefix"])
    def test_where_one_at_a_time_is_possible_two_are_refused(self, way: Any, name: str) -> None:
        way(name)
        with pytest.raises(InvalidTarget):
            resource_requests.at_sign_in(our_settings.provider(), (MAIL, ORDERS), ())

    def test_the_sign_in_names_each_of_them(self, way: Any, page: Page, settings: Any) -> None:
        way("resource", resources_at_sign_in=True)
        redirect = page.get("/oidc/authenticate/", secure=True)
        query = parse_qs(urlsplit(redirect["Location"]).query)
        assert query["resource"] == [ORDERS, MAIL]
        assert query["client_id"] == ["client"]

    def test_otherwise_it_names_none(self, way: Any, page: Page) -> None:
        way("resource")
        assert "resource" not in page.get("/oidc/authenticate/", secure=True)["Location"]


def test_another_way_is_said_to_be_none(way: Any) -> None:
    way("telepathy")
    with pytest.raises(ImproperlyConfigured, match="resource_request"):
        our_settings.provider()
