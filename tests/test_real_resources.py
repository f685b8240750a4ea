"""Tokens for resources, from a certified OpenID Provider that gives what the sign-in asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jwt
import pytest

from tests.real.gunicorn import Gunicorn, migrate
from tests.real.http import get_json
from tests.real.oidc_provider import ALL_SCOPE, MAIL, ORDERS, PAYMENTS, OidcProvider
from tests.real.page import refused, signed_in_page
from tests.real.processes import wait_until
from tests.real.session import databases

pytestmark = pytest.mark.real

LIFETIME_SECONDS = 4
SECONDS = 5.0
PAYMENT = [{"type": "payment_initiation", "actions": ["initiate"], "amount": "12.00"}]
NAMED_AT_SIGN_IN = {"resource_request": "one_resource", "resources_at_sign_in": True}
RESOURCES = {
    ORDERS: {"scope": "orders:read orders:write"},
    MAIL: {"scope": "mail:read"},
    PAYMENTS: {"scope": "payments", "extra": {"authorization_details": PAYMENT}},
}

Run = Callable[..., None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gunicorn, OidcProvider]]:
    """The test project and its OpenID Provider."""
    folder = tmp_path_factory.mktemp("site")
    app = Gunicorn(folder, workers=1)
    provider = OidcProvider(app.origin, folder, access_token_ttl=LIFETIME_SECONDS)
    with databases("sqlite", folder) as found, provider:
        app.settings = {
            **provider.django_settings("strict", ALL_SCOPE),
            "DATABASES": found,
            "OIDC_OP_LOGOUT_URL_METHOD": "django_tmibff.logout.end_session_url",
            "TMIBFF_RESOURCES": RESOURCES,
        }
        migrate(app.settings)
        with app:
            yield app, provider


@pytest.fixture(scope="module")
def run(site: tuple[Gunicorn, OidcProvider]) -> Run:
    """Run the site with these members of its provider, and where given with other resources."""
    app = site[0]
    usual = app.settings

    def run(members: Mapping[str, Any], resources: Mapping[str, Any] = RESOURCES) -> None:
        own = {"TMIBFF_RESOURCES": resources, "TMIBFF_PROVIDERS": {"default": members}}
        app.run_with({**usual, **own})

    return run


@pytest.fixture
def app(site: tuple[Gunicorn, OidcProvider]) -> Gunicorn:
    """The test project."""
    return site[0]


@pytest.fixture
def provider(site: tuple[Gunicorn, OidcProvider]) -> OidcProvider:
    """The OpenID Provider."""
    return site[1]


def claims_of(provider: OidcProvider, answer: dict[str, Any], audience: str) -> dict[str, Any]:
    """Return what that resource server learns from the token, checked as RFC 9068 §4 says."""
    token = answer["access_token"]
    keys = jwt.PyJWKSet.from_dict(get_json(provider.metadata()["jwks_uri"]))
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    claims: dict[str, Any] = jwt.decode(
        token,
        keys[header["kid"]],
        algorithms=["ES256"],
        audience=audience,
        issuer=provider.issuer,
        # A machine with much to do may take longer than the token lives.
        leeway=60,
    )
    assert (claims["sub"], claims["client_id"]) == ("alice", "strict")
    assert claims["scope"] == answer["scope"]
    return claims


def is_active(provider: OidcProvider, token: str) -> bool:
    return bool(provider.introspect(token)["active"])


def test_a_whole_round(app: Gunicorn, provider: OidcProvider, run: Run) -> None:
    """R1, R7, R12, T2, B4, B5: from the sign-in to the sign-out at the provider."""
    run(NAMED_AT_SIGN_IN)
    with signed_in_page(app) as page:
        first, used = page.token()["access_token"], page.kept_refresh_token()
        wait_until(lambda: not is_active(provider, first), LIFETIME_SECONDS * 2, "expired")
        renewed = page.token()["access_token"]
        assert is_active(provider, renewed)
        assert not is_active(provider, used)

        orders = f"?resource={ORDERS}"
        wide, narrow = page.token(orders), page.token(f"{orders}&scope=orders:read")
        assert claims_of(provider, wide, ORDERS)["scope"] == "orders:read orders:write"
        assert claims_of(provider, narrow, ORDERS)["scope"] == "orders:read"
        again = page.token(orders, **refused(wide["access_token"]))
        assert claims_of(provider, again, ORDERS)["scope"] == "orders:read orders:write"

        kept = page.kept_refresh_token()
        assert is_active(provider, kept)
        logout_url = page.post("/bff/logout").json()["logout_url"]
        wait_until(lambda: not is_active(provider, kept), SECONDS, "revoked")
        asked = page.browser.navigate(logout_url)
        arrived = page.browser.submit_form(asked, logout="yes")
        assert arrived.url.startswith(f"{page.app.origin}/?state=")
        assert not page.is_signed_in()


def test_a_resource_brings_its_authorization_details(
    app: Gunicorn, provider: OidcProvider, run: Run
) -> None:
    """RFC 9396, with the parameters that the site adds for that resource."""
    run(NAMED_AT_SIGN_IN)
    with signed_in_page(app) as page:
        payment = claims_of(provider, page.token(f"?resource={PAYMENTS}"), PAYMENTS)
        mail = claims_of(provider, page.token(f"?resource={MAIL}"), MAIL)
    assert payment["authorization_details"] == PAYMENT
    assert "authorization_details" not in mail


def test_t5_of_one_resource_at_a_time_two_are_refused_here(
    app: Gunicorn, provider: OidcProvider, run: Run
) -> None:
    run(NAMED_AT_SIGN_IN)
    with signed_in_page(app) as page:
        asked = len(provider.seen()["token_requests"])
        assert page.refusal(f"?resource={ORDERS}&resource={MAIL}") == "invalid_target"
        assert len(provider.seen()["token_requests"]) == asked
        assert claims_of(provider, page.token(f"?resource={MAIL}"), MAIL)["scope"] == "mail:read"


def test_one_that_the_sign_in_did_not_name_is_refused_with_its_scope_and_nothing_is_lost(
    app: Gunicorn, run: Run
) -> None:
    """X7: the provider misses the scope before it uses the refresh token up."""
    run({"resource_request": "one_resource"})
    with signed_in_page(app) as page:
        default = page.token()["access_token"]
        assert page.refusal(f"?resource={ORDERS}") == "invalid_scope"
        assert page.token(**refused(default))["access_token"] != default


def test_x8_each_api_that_the_user_is_asked_for_comes_on_top_of_the_others(
    app: Gunicorn, provider: OidcProvider, run: Run
) -> None:
    """Or a page that calls two of them would send its user back and forth for ever."""
    run({"resource_request": "one_resource"})
    with signed_in_page(app) as page:
        for resource in (ORDERS, MAIL):
            where = page.fetch(f"/.well-known/bff-token?resource={resource}").json()["login_url"]
            page.browser.sign_in(f"{app.origin}{where}", "alice")
            assert page.is_signed_in()
        for resource in (ORDERS, MAIL):
            claims_of(provider, page.token(f"?resource={resource}"), resource)


@pytest.mark.parametrize(
    ("at_sign_in", "query"),
    [(False, f"?resource={ORDERS}"), (True, f"?resource={ORDERS}&resource={MAIL}")],
    ids=["not named at sign-in", "two at a time"],
)
def test_one_that_is_refused_itself_has_cost_the_refresh_token(
    app: Gunicorn, provider: OidcProvider, run: Run, at_sign_in: bool, query: str
) -> None:
    """T5, X6, X7: what the two settings are for; the provider has rotated before it refuses."""
    run({"resources_at_sign_in": at_sign_in}, {ORDERS: {}, MAIL: {}})
    with signed_in_page(app) as page:
        default, kept = page.token()["access_token"], page.kept_refresh_token()
        asked = len(provider.seen()["token_requests"])
        for _ in range(2):
            assert page.refusal(query) == "invalid_target"
        assert len(provider.seen()["token_requests"]) == asked + 1
        assert not is_active(provider, kept)
        assert page.refusal(**refused(default)) == "invalid_grant"
        assert page.refusal() == "invalid_session"
    assert "provider default refuses a resource" in page.app.log()
