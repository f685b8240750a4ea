"""The whole round against a certified OpenID Provider: sign-in, tokens, renewal, sign-out."""

from collections.abc import Iterator

import jwt
import pytest

from tests.real.gunicorn import Gunicorn, migrate
from tests.real.oidc_provider import ALL_SCOPE, MAIL, ORDERS, OidcProvider
from tests.real.page import Page, signed_in_page
from tests.real.processes import wait_until
from tests.real.session import databases, fetch_at_once

pytestmark = pytest.mark.real

LIFETIME_SECONDS = 4


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gunicorn, OidcProvider]]:
    """The test project in two processes on one database, and its OpenID Provider."""
    folder = tmp_path_factory.mktemp("site")
    app = Gunicorn(folder, workers=2, threads=4)
    provider = OidcProvider(app.origin, folder, access_token_ttl=LIFETIME_SECONDS)
    with databases(request.param, folder) as found, provider:
        app.settings = {
            **provider.django_settings("rotate", ALL_SCOPE),
            "DATABASES": found,
            "TMIBFF_RESOURCES": {ORDERS: {"scope": "orders:read"}},
        }
        migrate(app.settings)
        with app:
            yield app, provider


@pytest.fixture
def provider(site: tuple[Gunicorn, OidcProvider]) -> Iterator[OidcProvider]:
    """The OpenID Provider; fails a test that let it see a refresh token twice."""
    provider = site[1]
    before = provider.seen()["refresh_token_reused"]
    yield provider
    assert provider.seen()["refresh_token_reused"] == before


@pytest.fixture
def page(site: tuple[Gunicorn, OidcProvider]) -> Iterator[Page]:
    """A page of the test project, into which alice has signed in."""
    with signed_in_page(site[0]) as page:
        yield page


def test_sessioninfo_names_the_issuer_and_the_subject(page: Page, provider: OidcProvider) -> None:
    """S1, S2: what the ID token said of the user."""
    info = page.fetch("/.well-known/bff-sessioninfo").json()
    assert (info["iss"], info["sub"]) == (provider.issuer, "alice")
    assert info["email"] == "alice@example.test"


def test_the_token_of_the_sign_in_is_active_at_the_provider(
    page: Page, provider: OidcProvider
) -> None:
    """R1, R2, R3, R4, R5: the answer is what the provider knows of the token, and no more."""
    answer = page.token()
    known = provider.introspect(answer["access_token"])
    assert (known["active"], known["sub"], known["client_id"]) == (True, "alice", "rotate")
    assert set(answer) == {"access_token", "expires_in", "scope", "token_type"}
    assert 0 < answer["expires_in"] <= LIFETIME_SECONDS
    assert (answer["scope"], answer["token_type"]) == (known["scope"], "Bearer")


def test_a_narrower_scope_gets_a_narrower_token(page: Page, provider: OidcProvider) -> None:
    """R3, R7: the provider is asked for it, and the sign-in's own token stays as it was."""
    narrow = page.token("?scope=openid+email")
    assert set(narrow["scope"].split()) == {"openid", "email"}
    known = provider.introspect(narrow["access_token"])
    assert known["active"]
    assert set(known["scope"].split()) == {"openid", "email"}
    assert set(page.token()["scope"].split()) >= {"openid", "email", "profile"}


def test_a_token_for_a_resource_is_signed_for_that_audience(
    page: Page, provider: OidcProvider
) -> None:
    """R1, R3, T2: RFC 8707; the provider's keys verify it."""
    answer = page.token(f"?resource={ORDERS}")
    keys = page.browser.navigate(provider.metadata()["jwks_uri"]).json()
    header = jwt.get_unverified_header(answer["access_token"])
    claims = jwt.decode(
        answer["access_token"],
        jwt.PyJWKSet.from_dict(keys)[header["kid"]],
        algorithms=["ES256"],
        audience=ORDERS,
        issuer=provider.issuer,
    )
    assert (claims["aud"], claims["sub"]) == (ORDERS, "alice")
    assert claims["scope"] == answer["scope"] == "orders:read"


def test_a_resource_that_is_not_listed_never_reaches_the_provider(
    page: Page, provider: OidcProvider
) -> None:
    """T5: the provider knows it, this site does not hand it out."""
    asked = len(provider.seen()["token_requests"])
    assert page.refusal(f"?resource={MAIL}") == "invalid_target"
    assert len(provider.seen()["token_requests"]) == asked


def test_callers_of_an_expired_token_all_get_the_same_new_one(
    page: Page, provider: OidcProvider
) -> None:
    """R6, R12: the provider is asked once, and the new token is good."""
    expired = page.token()["access_token"]
    seconds = LIFETIME_SECONDS * 2
    wait_until(lambda: not provider.introspect(expired)["active"], seconds, "token expired")
    asked = len(provider.seen()["token_requests"])
    answers = fetch_at_once(page.app.origin, page.cookie, [{}] * 12)
    assert {answer.status_code for answer in answers} == {200}
    [renewed] = {answer.json()["access_token"] for answer in answers}
    assert renewed != expired
    assert provider.introspect(renewed)["active"]
    assert len(provider.seen()["token_requests"]) == asked + 1


def test_a_page_that_keeps_asking_always_has_a_token_that_works(
    page: Page, provider: OidcProvider
) -> None:
    """R9, R12: renewed before it expires, with the refresh token that the last one brought."""
    first = page.token()["access_token"]

    def is_renewed() -> bool:
        token = page.token()["access_token"]
        assert provider.introspect(token)["active"]
        return bool(token != first)

    wait_until(is_renewed, LIFETIME_SECONDS * 4, "token renewed")
    assert page.token("?scope=openid")["scope"] == "openid"


def test_x6_a_refresh_token_used_by_another_ends_the_session(
    page: Page, site: tuple[Gunicorn, OidcProvider]
) -> None:
    """The provider sees that one twice, and takes it for stolen: it ends all that came of it."""
    provider = site[1]
    used = page.kept_refresh_token()
    renewed = page.token("?scope=openid")["access_token"]
    kept = page.kept_refresh_token()
    assert provider.introspect(kept)["active"]
    assert provider.refresh("rotate", used).json()["error"] == "invalid_grant"
    assert not provider.introspect(kept)["active"]
    assert not provider.introspect(renewed)["active"]
    assert page.refusal("?scope=email") == "invalid_grant"
    assert page.refusal() == "invalid_session"
    assert not page.is_signed_in()


def test_signing_out_ends_the_session_and_revokes_the_refresh_token(
    page: Page, provider: OidcProvider
) -> None:
    """X2, B4: nothing of the sign-in is left, here or at the provider."""
    page.token("?scope=openid")
    kept = page.kept_refresh_token()
    assert provider.introspect(kept)["active"]
    page.browser.post_form(f"{page.app.origin}/oidc/logout/")
    assert "data-signed-in" not in page.browser.navigate(f"{page.app.origin}/").text
    assert page.refusal() == "invalid_session"
    assert provider.introspect(kept) == {"active": False}
