"""Whole rounds against django-oauth-toolkit, as it comes and with the settings that matter here.

The demo's own provider differs from it: see ``testproject/idp/validators.py``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from django_tmibff.logout import is_own_state
from tests.real.browser import Browser
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.oauth_toolkit import SCOPE, OAuthToolkit
from tests.real.page import refused, signed_in_page
from tests.real.processes import wait_until
from tests.real.session import databases

pytestmark = pytest.mark.real

SECONDS = 5.0
ORDERS, MAIL = "https://api.example/orders", "https://api.example/mail"
GRACE_PERIOD = {"REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 120}
REUSE_PROTECTION = {"REFRESH_TOKEN_REUSE_PROTECTION": True}

Run = Callable[..., None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gunicorn, OAuthToolkit]]:
    """The test project and its OpenID Provider."""
    folder = tmp_path_factory.mktemp("site")
    app = Gunicorn(folder, workers=1)
    provider = OAuthToolkit(app.origin, folder)
    with databases("sqlite", folder) as found, provider:
        app.settings = {
            **provider.django_settings(),
            "DATABASES": found,
            "OIDC_OP_LOGOUT_URL_METHOD": "django_tmibff.logout.end_session_url",
        }
        migrate(app.settings)
        with app:
            yield app, provider


@pytest.fixture(scope="module")
def run(site: tuple[Gunicorn, OAuthToolkit]) -> Run:
    """Run both with what differs in the provider's settings and in the site's."""
    app, provider = site
    usual = app.settings

    def run(differences: Mapping[str, Any], **settings: Any) -> None:
        provider.differ(differences)
        app.run_with({**usual, **settings})

    return run


@pytest.fixture
def app(site: tuple[Gunicorn, OAuthToolkit]) -> Gunicorn:
    """The test project."""
    return site[0]


@pytest.fixture
def provider(site: tuple[Gunicorn, OAuthToolkit]) -> OAuthToolkit:
    """The OpenID Provider."""
    return site[1]


def is_active(provider: OAuthToolkit, answer: Mapping[str, Any]) -> bool:
    return bool(provider.introspect(answer["access_token"])["active"])


def values(answer: Mapping[str, Any]) -> set[str]:
    return set(answer["scope"].split())


def test_a_whole_round(app: Gunicorn, provider: OAuthToolkit, run: Run) -> None:
    """R1, R12, B4, B5: from the sign-in to the sign-out at the provider."""
    run({})
    with signed_in_page(app) as page:
        first, used = page.token(), page.kept_refresh_token()
        assert values(first) == set(SCOPE.split())
        assert is_active(provider, first)
        renewed = page.token(**refused(first["access_token"]))
        assert is_active(provider, renewed)
        assert provider.userinfo(renewed["access_token"]).json()["email"] == "a@b.example"
        # Rotated; and as it comes, the reuse harms nobody but who tries it.
        assert provider.refresh(used).json()["error"] == "invalid_grant"
        assert values(page.token()) == set(SCOPE.split())

        kept = page.kept_refresh_token()
        logout_url = page.post("/bff/logout").json()["logout_url"]
        wait_until(lambda: not is_active(provider, renewed), SECONDS, "revoked")
        assert provider.refresh(kept).json()["error"] == "invalid_grant"
        asked = page.browser.navigate(logout_url)
        arrived = page.browser.submit_form(asked, allow="yes")
        assert arrived.url.startswith(f"{page.app.origin}/?")
        assert is_own_state(parse_qs(urlsplit(arrived.url).query)["state"][0])


@pytest.mark.parametrize("choice", ["ask", "ask-strict"])
def test_r7_a_narrower_scope_is_for_good(
    app: Gunicorn, provider: OAuthToolkit, run: Run, choice: str
) -> None:
    run({}, TMIBFF_NARROWER_SCOPE=choice)
    with signed_in_page(app) as page:
        wide, narrow = page.token(), page.token("?scope=openid+orders:read")
        assert values(narrow) == {"openid", "orders:read"}
        # There is one access token at a time: the page's other one is dead until it says so.
        assert page.token()["access_token"] == wide["access_token"]
        assert not is_active(provider, wide)
        assert values(page.token(**refused(wide["access_token"]))) == {"openid", "orders:read"}
        assert page.refusal("?scope=orders:write") == "invalid_scope"
    assert "renewed with a narrower scope than granted" in page.app.log()


def test_r7_a_site_that_refuses_keeps_the_grant_whole(
    app: Gunicorn, provider: OAuthToolkit, run: Run
) -> None:
    run({}, TMIBFF_NARROWER_SCOPE="refuse")
    with signed_in_page(app) as page:
        wide = page.token()
        assert page.refusal("?scope=orders:read") == "invalid_scope"
        assert is_active(provider, wide)
        assert values(page.token(**refused(wide["access_token"]))) == set(SCOPE.split())


def test_r7_a_site_that_serves_keeps_it_too(
    app: Gunicorn, provider: OAuthToolkit, run: Run
) -> None:
    run({}, TMIBFF_NARROWER_SCOPE="serve")
    with signed_in_page(app) as page:
        wide = page.token()
        assert page.token("?scope=orders:read")["access_token"] == wide["access_token"]
        assert is_active(provider, wide)
        assert values(page.token(**refused(wide["access_token"]))) == set(SCOPE.split())


def test_a_resource_is_for_good_and_another_is_refused_without_loss(
    app: Gunicorn, provider: OAuthToolkit, run: Run
) -> None:
    """X4, X7: its refusals are JSON labelled as HTML."""
    run({}, TMIBFF_RESOURCES=[ORDERS, MAIL])
    with signed_in_page(app) as page:
        default = page.token()
        assert provider.userinfo(default["access_token"]).status_code == 200
        orders = page.token(f"?resource={ORDERS}")
        assert provider.introspect(orders["access_token"])["aud"] == [ORDERS]
        assert page.refusal(f"?resource={MAIL}") == "invalid_target"
        default = page.token(**refused(default["access_token"]))
        assert provider.introspect(default["access_token"])["aud"] == [ORDERS]
        assert provider.userinfo(default["access_token"]).status_code == 401


def test_a_sign_in_that_names_resources_cannot_read_userinfo(app: Gunicorn, run: Run) -> None:
    at_sign_in = {"default": {"resources_at_sign_in": True}}
    run({}, TMIBFF_RESOURCES=[ORDERS], TMIBFF_PROVIDERS=at_sign_in)
    with Browser() as browser:
        arrived = browser.sign_in(f"{app.origin}/oidc/authenticate/", "alice")
    assert arrived.url == f"{app.origin}/?sign-in=failed"
    assert "userinfo endpoint gave no claims (status 401)" in app.log()


@pytest.fixture(
    scope="class",
    params=[{}, REUSE_PROTECTION, GRACE_PERIOD | REUSE_PROTECTION],
    ids=["as it comes", "reuse protection", "grace period too"],
)
def differences(request: pytest.FixtureRequest, run: Run) -> Mapping[str, Any]:
    """What differs in the provider's settings; both run."""
    run(request.param)
    found: Mapping[str, Any] = request.param
    return found


class TestSentAgain:
    """A refresh token that the provider has rotated already."""

    def test_x6_by_somebody_else(
        self, app: Gunicorn, provider: OAuthToolkit, differences: Mapping[str, Any]
    ) -> None:
        with signed_in_page(app) as page:
            first, used = page.token(), page.kept_refresh_token()
            renewed = page.token(**refused(first["access_token"]))
            answer = provider.refresh(used).json()
            if GRACE_PERIOD.items() <= differences.items():
                assert answer["access_token"] == renewed["access_token"]
            else:
                assert answer["error"] == "invalid_grant"
            if differences == REUSE_PROTECTION:
                assert not is_active(provider, renewed)
                assert page.refusal("?scope=openid") == "invalid_grant"
                assert page.refusal() == "invalid_session"
            else:
                assert is_active(provider, renewed)
                assert page.token("?scope=openid")["scope"] == "openid"

    def test_x6_by_this_site_whose_answer_was_lost(
        self, app: Gunicorn, provider: OAuthToolkit, differences: Mapping[str, Any]
    ) -> None:
        with signed_in_page(app) as page:
            lost = provider.refresh(page.kept_refresh_token()).json()
            if GRACE_PERIOD.items() <= differences.items():
                found = page.token(**refused(page.token()["access_token"]))
                assert found["access_token"] == lost["access_token"]
                assert page.token("?scope=openid")["scope"] == "openid"
            else:
                assert page.refusal("?scope=openid") == "invalid_grant"
                assert not page.is_signed_in()
