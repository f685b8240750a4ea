"""Signing out here and at a certified OpenID Provider, whichever comes first."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from django_tmibff.logout import is_own_state
from tests.real.browser import Browser
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.oidc_provider import OidcProvider
from tests.real.processes import wait_until
from tests.real.session import COOKIE, change_password, databases, refresh_token

pytestmark = pytest.mark.real

SECONDS = 1.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gunicorn, OidcProvider]]:
    """The test project, and its OpenID Provider, which tells it who signs out."""
    folder = tmp_path_factory.mktemp("site")
    app = Gunicorn(folder, workers=2, threads=4)
    provider = OidcProvider(app.origin, folder)
    with databases("sqlite", folder) as found, provider:
        app.settings = {
            **provider.django_settings("rotate"),
            "DATABASES": found,
            "OIDC_OP_LOGOUT_URL_METHOD": "django_tmibff.logout.end_session_url",
        }
        migrate(app.settings)
        with app:
            yield app, provider


@pytest.fixture
def app(site: tuple[Gunicorn, OidcProvider]) -> Gunicorn:
    """The test project."""
    return site[0]


@pytest.fixture
def provider(site: tuple[Gunicorn, OidcProvider]) -> OidcProvider:
    """The OpenID Provider."""
    return site[1]


@pytest.fixture
def browser(app: Gunicorn) -> Iterator[Browser]:
    """A browser in which alice has signed in."""
    with Browser() as browser:
        browser.sign_in(f"{app.origin}/oidc/authenticate/", "alice")
        yield browser


def is_signed_in(app: Gunicorn, browser: Browser) -> bool:
    return "data-signed-in" in browser.navigate(f"{app.origin}/").text


def sign_out_there(provider: OidcProvider, browser: Browser, url: str | None = None) -> str:
    """Sign out at the provider; return where that leads."""
    endpoint = provider.metadata()["end_session_endpoint"]
    asked = browser.navigate(url or f"{endpoint}?client_id=rotate")
    return browser.submit_form(asked, logout="yes").url


def test_signing_out_there_signs_out_here(
    app: Gunicorn, provider: OidcProvider, browser: Browser
) -> None:
    kept = refresh_token(app.settings, str(browser.cookies.get(COOKIE)))
    assert is_signed_in(app, browser)
    sign_out_there(provider, browser)
    wait_until(lambda: not is_signed_in(app, browser), SECONDS, "signed out here")
    answer = browser.fetch(f"{app.origin}/.well-known/bff-token")
    assert answer.json()["error"] == "invalid_session"
    # The provider itself leaves the refresh token alive.
    wait_until(lambda: not provider.introspect(kept)["active"], 5, "refresh token revoked")


def test_also_after_a_password_change_that_moved_the_sessions_key(
    app: Gunicorn, provider: OidcProvider, browser: Browser
) -> None:
    moved = change_password(app.settings, str(browser.cookies.get(COOKIE)))
    for cookie in browser.cookies:
        if cookie.name == COOKIE:
            cookie.value = moved
    assert browser.fetch(f"{app.origin}/.well-known/bff-sessioninfo").status_code == 200
    sign_out_there(provider, browser)
    wait_until(lambda: not is_signed_in(app, browser), SECONDS, "signed out here")


def test_only_that_session_ends(app: Gunicorn, provider: OidcProvider, browser: Browser) -> None:
    with Browser() as other:
        other.sign_in(f"{app.origin}/oidc/authenticate/", "alice")
        sign_out_there(provider, browser)
        wait_until(lambda: not is_signed_in(app, browser), SECONDS, "signed out here")
        assert is_signed_in(app, other)


def test_b5_signing_out_here_leads_to_the_provider_and_back(
    app: Gunicorn, provider: OidcProvider, browser: Browser
) -> None:
    answer = browser.fetch(f"{app.origin}/bff/logout", method="POST")
    assert answer.status_code == 200
    assert not is_signed_in(app, browser)
    arrived = sign_out_there(provider, browser, answer.json()["logout_url"])
    assert arrived.startswith(f"{app.origin}/?")
    [state] = parse_qs(urlsplit(arrived).query)["state"]
    assert is_own_state(state)
    with Browser() as fresh:
        fresh.cookies.update(browser.cookies)
        asked = fresh.navigate(f"{app.origin}/oidc/authenticate/")
        assert asked.url.startswith(provider.issuer)


def test_mozilla_django_oidcs_own_logout_leads_there_too(
    app: Gunicorn, provider: OidcProvider, browser: Browser
) -> None:
    arrived = browser.post_form(f"{app.origin}/oidc/logout/")
    assert arrived.url.startswith(provider.metadata()["end_session_endpoint"])
    assert browser.submit_form(arrived, logout="yes").url.startswith(f"{app.origin}/?state=")
