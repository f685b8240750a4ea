"""Asking the user in a real browser: step-up, a silent attempt, and strict cookies (X8, E9)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.real.chromium import chromium
from tests.real.demo import Demo
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.oidc_provider import OidcProvider
from tests.real.session import databases

pytestmark = pytest.mark.real

STATE_OF = """async (path) => {
  const answer = await fetch(path);
  return { status: answer.status, ...(await answer.json()) };
}"""
TIMEOUT = 15_000  # milliseconds


@dataclass
class Site:
    """An app, and the OpenID Provider where its users sign in."""

    app: str
    provider: str
    password: str


@pytest.fixture(scope="module", params=["demo", "certified"])
def site(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demo with its provider, or the test project with a certified one and strict cookies."""
    folder = tmp_path_factory.mktemp("site")
    if request.param == "demo":
        with Demo(folder) as demo:
            yield Site(demo.app, demo.idp, demo.users["alice"])
        return
    app = Gunicorn(folder)
    with databases("sqlite", folder) as found, OidcProvider(app.origin, folder) as provider:
        app.settings = {
            **provider.django_settings("rotate"),
            "DATABASES": found,
            # The provider is at 127.0.0.1 and the app at localhost: two sites.
            "SESSION_COOKIE_SAMESITE": "Strict",
        }
        migrate(app.settings)
        with app:
            yield Site(app.origin, provider.issuer, "any")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, site: Site) -> Page:
    """The app's page, into which alice has just signed in."""
    page = context.new_page()
    page.goto(site.app)
    follow(page, "/bff/login?next=/?first")
    sign_in(page, site)
    expect(page).to_have_url(f"{site.app}/?first")
    return page


def follow(page: Page, path: str) -> None:
    """Let the page that is open send its user there."""
    page.evaluate("(path) => { location.assign(path) }", path)


def sign_in(page: Page, site: Site) -> None:
    """Give the provider what it asks for, until it sends the user back."""
    page.wait_for_url(lambda url: url.startswith(site.provider))
    while page.url.startswith(site.provider):
        here = page.url
        name = page.locator("input[name=username], input[name=login]")
        if name.count():
            name.fill("alice")
            page.locator("input[name=password]").fill(site.password)
        page.locator("form button[type=submit], form button:not([type])").first.click()
        page.wait_for_url(lambda url, here=here: url != here)


def told(page: Page, path: str) -> dict[str, Any]:
    """Return what the page's own fetch gets."""
    return page.evaluate(STATE_OF, path)


def token(page: Page) -> str:
    return told(page, "/.well-known/bff-token")["access_token"]


def test_e9_a_sign_in_at_another_site_arrives(page: Page) -> None:
    """Also where the session cookie does not come along with the provider's redirect."""
    assert told(page, "/.well-known/bff-sessioninfo")["status"] == 200
    assert told(page, "/.well-known/bff-token")["status"] == 200


def test_x8_a_step_up_asks_the_user_again_and_comes_back(page: Page, site: Site) -> None:
    before = token(page)
    signed_in_at = told(page, "/.well-known/bff-sessioninfo").get("auth_time", 1)
    follow(page, "/bff/login?max_age=0&next=/?second")
    sign_in(page, site)  # It is asked: redirects alone would show no page of the provider.
    expect(page).to_have_url(f"{site.app}/?second")
    assert told(page, "/.well-known/bff-sessioninfo")["auth_time"] >= signed_in_at
    assert token(page) != before


def test_x8_a_silent_attempt_renews_without_a_word(page: Page, site: Site) -> None:
    before = token(page)
    follow(page, "/bff/login?prompt=none&next=/?silent")
    expect(page).to_have_url(f"{site.app}/?silent")
    assert token(page) != before


def test_x8_one_that_finds_nobody_comes_back_and_signs_nobody_out(
    page: Page, context: BrowserContext, site: Site
) -> None:
    before = token(page)
    forget_at_provider(context, site)
    # The demo's page takes the error out of its address.
    back = f"{site.app}/?silent&bff_error=login_required"
    with page.expect_navigation(url=back, wait_until="commit"):
        follow(page, "/bff/login?prompt=none&next=/?silent")
    assert token(page) == before


def forget_at_provider(context: BrowserContext, site: Site) -> None:
    """Let the provider know nobody any more."""
    ours = {"app_sessionid", "app_csrftoken", "sessionid", "csrftoken"}
    kept = [cookie for cookie in context.cookies() if cookie["name"] in ours]
    context.clear_cookies()
    context.add_cookies(kept)
