"""What real authorization servers answer, and no specification would make one expect."""

import time
from typing import Any

import jwt
import pytest

from django_tmibff.models import TokenSet
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import SESSION_INFO, Page
from tests.sealed import contents_of

pytestmark = pytest.mark.django_db

ORDERS = "https://api.example/orders"
LOGIN_URL = "/bff/login"


@pytest.fixture
def provider(authorization_server: Any) -> OpenIDProvider:
    return OpenIDProvider(authorization_server)


def is_signed_in(page: Page) -> bool:
    return page.fetch(SESSION_INFO).status_code == 200


def lifetime(token_set: TokenSet) -> float:
    """Return how long the record lives from its sign-in, in seconds."""
    assert token_set.expires_at is not None
    return (token_set.expires_at - token_set.created_at).total_seconds()


class TestIdTokenInARenewal:
    """OpenID Connect Core §12.2."""

    @pytest.fixture
    def page(self, page: Page, provider: OpenIDProvider) -> Page:
        provider.tokens = {"expires_in": 0}
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

    def test_one_that_is_not_signed_is_taken_for_it_came_from_the_token_endpoint(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        """§3.1.3.7; one provider's documentation says that its renewals bring such a token."""
        claims = {"iss": ISSUER, "sub": "alice", "aud": "client", "name": "Alice B."}
        unsigned = jwt.encode(claims, None, algorithm="none")
        provider.server.gives(access_token="new", expires_in=900, id_token=unsigned)
        assert page.token()["access_token"] == "new"
        assert page.fetch(SESSION_INFO).json()["name"] == "Alice B."

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


class TestClocks:
    """The provider's clock is not ours."""

    @pytest.mark.parametrize(
        ("issued", "expires"), [(0, 300), (55, 355), (-345, -45)], ids=["alike", "ahead", "behind"]
    )
    def test_a_sign_in_allows_the_providers_clock_a_minute(
        self, page: Page, provider: OpenIDProvider, issued: int, expires: int
    ) -> None:
        now = int(time.time())
        provider.id_token = {"iat": now + issued, "nbf": now + issued, "exp": now + expires}
        provider.sign_in(page)
        assert is_signed_in(page)

    @pytest.mark.parametrize("changed", [{"iat": 90}, {"nbf": 90}, {"exp": -90}], ids=str)
    def test_but_no_more(
        self, page: Page, provider: OpenIDProvider, caplog: Any, changed: dict[str, int]
    ) -> None:
        provider.id_token = {name: int(time.time()) + off for name, off in changed.items()}
        provider.sign_in(page)
        assert not is_signed_in(page)
        assert "does not verify" in caplog.text

    def test_a_renewals_id_token_may_be_from_the_future(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        provider.tokens = {"expires_in": 0}
        provider.sign_in(page)
        claims = {"iss": ISSUER, "sub": "alice", "aud": "client", "iat": int(time.time()) + 55}
        provider.server.gives(access_token="new", id_token=provider.signed(claims))
        assert page.token()["access_token"] == "new"

    @pytest.mark.parametrize("off", [-3600, 3600], ids=["behind", "ahead"])
    def test_a_lifetime_counts_from_our_clock_whatever_the_server_says_of_its_own(
        self, signed_in: Any, authorization_server: Any, off: int
    ) -> None:
        """R2: ``expires_in`` alone, for the other members are times of the server's."""
        theirs = int(time.time()) + off
        stamped = {"created_at": theirs, "expires_at": theirs + 100, "expires_on": str(theirs)}
        page = signed_in(expires_in=0, **stamped)
        authorization_server.answers(
            json={"access_token": "new", "expires_in": 100, **stamped},
            headers={"Date": "Mon, 01 Jan 2001 00:00:00 GMT"},
        )
        assert 90 < page.token()["expires_in"] <= 100


class TestRefreshTokenLifetimes:
    """B2: as two servers' families tell them."""

    @pytest.mark.parametrize("member", ["refresh_expires_in", "refresh_token_expires_in"])
    @pytest.mark.parametrize("told", [600, "600", 600.9], ids=repr)
    def test_the_record_ends_with_the_refresh_token(
        self, signed_in: Any, token_set: Any, member: str, told: Any
    ) -> None:
        signed_in(**{member: told})
        assert 590 < lifetime(token_set()) < 610

    @pytest.mark.parametrize("member", ["refresh_expires_in", "refresh_token_expires_in"])
    @pytest.mark.parametrize("told", [0, "0", 0.0, None, "never", ...], ids=repr)
    def test_zero_is_a_way_to_say_never(
        self, signed_in: Any, token_set: Any, settings: Any, member: str, told: Any
    ) -> None:
        signed_in(**{member: told})
        assert lifetime(token_set()) > settings.SESSION_COOKIE_AGE - 10

    def test_a_renewal_may_say_never_too(
        self, signed_in: Any, authorization_server: Any, token_set: Any, settings: Any
    ) -> None:
        page = signed_in(refresh_expires_in=600, expires_in=0)
        authorization_server.gives(
            access_token="new", refresh_token="rotated", refresh_expires_in=0, expires_in=60
        )
        page.token()
        assert lifetime(token_set()) > settings.SESSION_COOKIE_AGE - 10


class TestScopes:
    """R7: what else a server does when it is asked for less, or for what it calls otherwise."""

    def test_where_narrowing_sticks_the_page_is_told_what_it_really_has(
        self, signed_in: Any, authorization_server: Any, caplog: Any
    ) -> None:
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="narrow", scope="openid", refresh_token="narrowed")
        assert page.token(scope="openid")["scope"] == "openid"
        authorization_server.gives(access_token="still", scope="openid", expires_in=900)
        assert page.token()["scope"] == "openid"
        assert "renewed with a narrower scope than granted" in caplog.text
        authorization_server.refuses("invalid_scope")
        url = f"{LOGIN_URL}?scope=email"
        assert page.refusal(scope="email") == {"error": "invalid_scope", "login_url": url}
        page.store()
        assert page.token()["scope"] == "openid email"

    @pytest.mark.parametrize("choice", ["serve", "refuse"])
    def test_where_asking_for_less_costs_something_the_server_is_not_asked(
        self, signed_in: Any, authorization_server: Any, settings: Any, choice: str
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = choice
        page = signed_in()
        page.fetch(query={"scope": "openid"})
        assert page.token()["scope"] == "openid email"
        assert authorization_server.calls == 0

    def test_a_scope_that_comes_back_under_another_name_is_served_as_it_came(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        named = "openid https://op.example/auth/userinfo.email"
        page = signed_in(scope=named)
        assert page.token()["scope"] == named
        assert page.refusal(scope="email")["error"] == "invalid_scope"
        settings.TMIBFF_SCOPES = ["email"]
        authorization_server.gives(access_token="new", scope=named.split()[1], expires_in=900)
        for _ in range(2):
            assert page.token(scope="email")["scope"] == named.split()[1]
        assert authorization_server.calls == 1


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_x6_invalid_grant_ends_the_grant_whatever_its_status(
        self, page: Page, provider: OpenIDProvider, status: int
    ) -> None:
        provider.tokens = {"expires_in": 0}
        provider.sign_in(page)
        provider.server.refuses("invalid_grant", status=status)
        assert page.refusal() == {"error": "invalid_grant", "login_url": LOGIN_URL}
        assert not is_signed_in(page)

    def test_x4_line_breaks_in_a_description_cost_the_description_alone(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        authorization_server.refuses(
            "interaction_required",
            error_description="AADSTS50076: Use multifactor authentication.\r\nTrace ID: 1",
            error_codes=[50076],
            suberror="basic_action",
        )
        page = signed_in(expires_in=0)
        assert page.refusal() == {"error": "interaction_required", "login_url": LOGIN_URL}

    def test_t5_a_refresh_token_that_an_invalid_target_has_used_up_costs_one_sign_in(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        """A listed resource that the server does not know; what is stored still works."""
        settings.TMIBFF_RESOURCES = [ORDERS]
        page = signed_in()
        authorization_server.refuses("invalid_target")
        for _ in range(3):
            assert page.refusal(resource=ORDERS)["error"] == "invalid_target"
        assert page.token()["access_token"] == "canary-access-token"
        assert authorization_server.calls == 1
        for _ in range(2):
            authorization_server.refuses("invalid_grant")
        url = f"{LOGIN_URL}?scope=openid"
        assert page.refusal(scope="openid") == {"error": "invalid_grant", "login_url": url}


class TestResources:
    def test_whether_a_resource_was_ignored_cannot_be_seen_from_here(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        """Access tokens are for resource servers to read: theirs is the check of the audience."""
        settings.TMIBFF_RESOURCES = [ORDERS]
        authorization_server.gives(access_token="usual", scope="openid email", expires_in=900)
        answer = signed_in().token(resource=ORDERS)
        assert (answer["access_token"], answer["scope"]) == ("usual", "openid email")

    def test_a_token_that_a_resource_has_bound_cannot_read_userinfo(
        self, page: Page, provider: OpenIDProvider, caplog: Any
    ) -> None:
        provider.server.mocker.get(f"{ISSUER}/userinfo", status_code=401)
        provider.sign_in(page)
        assert not is_signed_in(page)
        assert "userinfo endpoint gave no claims (status 401)" in caplog.text


def test_a_sign_in_without_an_email_address_is_refused_where_the_site_asks_for_one(
    page: Page, provider: OpenIDProvider, caplog: Any
) -> None:
    provider.server.mocker.get(f"{ISSUER}/userinfo", json={"sub": "alice"})
    provider.sign_in(page)
    assert not is_signed_in(page)
    assert "Claims verification failed" in caplog.text
