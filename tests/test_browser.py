"""The demo in a real browser: what a person sees, at a desk and on a phone."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from testproject.demo import PROJECT
from testproject.prepare import OPERATOR, PASSWORD
from tests.real import admin_data
from tests.real.chromium import chromium
from tests.real.demo import Demo
from tests.real.npm import install_packages

pytestmark = pytest.mark.real

AXE = Path(__file__).parent / "real" / "axe"
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
TOKEN_SECONDS = 8
SCREENS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
}
REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) =>
  console.error("CSP violation", event.violatedDirective, event.blockedURI));
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo's three servers, with short-lived access tokens."""
    with Demo(tmp_path_factory.mktemp("demo"), access_token_seconds=TOKEN_SECONDS) as demo:
        yield demo


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without windows."""
    with chromium() as browser:
        yield browser


class Visitor:
    """Somebody at a screen; ``complaints`` is what the browser's console said."""

    def __init__(self, context: BrowserContext, demo: Demo) -> None:
        self.context = context
        self.demo = demo
        self.complaints: list[str] = []
        context.set_default_timeout(15_000)
        context.add_init_script(REPORT_VIOLATIONS)
        self.page = self.open()

    def open(self) -> Page:
        """Open the app in another tab."""
        page = self.context.new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.demo.app)
        return page

    def _listen(self, message: Any) -> None:
        # Django's admin brings no icon.
        if message.type in ("error", "warning") and "favicon.ico" not in message.location["url"]:
            self.complaints.append(message.text)

    def sign_in(self, name: str = "alice") -> None:
        """Sign in at the provider and come back."""
        self.page.get_by_role("link", name="Sign in").click()
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(self.demo.users[name])
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.locator("#token")).to_be_visible()

    def token(self) -> str:
        """Return what the page shows of its token."""
        return self.page.locator("#token-facts dd").first.inner_text()

    def wait_for_expiry(self) -> None:
        """Return when the page says that its token has expired."""
        expect(self.page.locator("#life-left")).to_contain_text(
            "expired", timeout=TOKEN_SECONDS * 2000
        )


@pytest.fixture
def visitor(browser: Browser, demo: Demo) -> Iterator[Visitor]:
    """Somebody at a desk."""
    context = browser.new_context(**SCREENS["desktop"])
    yield Visitor(context, demo)
    context.close()


def picture(page: Page, name: str, folder: Path) -> None:
    """Take a picture of the page: for the docs, when ``UPDATE_IMAGES`` is set."""
    target = IMAGES if os.environ.get("UPDATE_IMAGES") else folder
    page.screenshot(path=target / f"{name}.png", full_page=True)
    assert (target / f"{name}.png").stat().st_size > 10_000


def accessibility_findings(page: Page) -> list[str]:
    """Return what axe-core finds wrong with the page."""
    install_packages(AXE)
    # Evaluated by the debugger: the page's own policy lets no such script in.
    page.evaluate((AXE / "node_modules" / "axe-core" / "axe.min.js").read_text())
    # Without style sheets of its own, which the policy refuses.
    found = page.evaluate("axe.run({preload: false})")
    return [
        f"{finding['id']}: {finding['help']}: {[node['html'] for node in finding['nodes']]}"
        for finding in found["violations"]
    ]


@pytest.mark.parametrize("screen", SCREENS)
def test_a_whole_visit(browser: Browser, demo: Demo, tmp_path: Path, screen: str) -> None:
    context = browser.new_context(**SCREENS[screen])
    visitor = Visitor(context, demo)
    page = visitor.page

    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert accessibility_findings(page) == []
    picture(page, f"demo-{screen}-signed-out", tmp_path)

    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_label("Username")).to_be_visible()
    assert accessibility_findings(page) == []
    picture(page, f"demo-{screen}-provider", tmp_path)
    page.go_back()

    visitor.sign_in()
    expect(page.locator("#session")).to_contain_text("alice")
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#api-answer li").last).to_contain_text("№")
    page.get_by_role("button", name="Read my orders").click()
    expect(page.locator("#api-answer")).to_contain_text("straight from the API")
    assert accessibility_findings(page) == []
    picture(page, f"demo-{screen}", tmp_path)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name=re.compile("sign out|log out", re.IGNORECASE)).click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert page.url.rstrip("/") == demo.app
    assert visitor.complaints == []
    context.close()


def test_r2_a_token_expires_and_the_next_one_is_one_call_away(visitor: Visitor) -> None:
    visitor.sign_in()
    first = visitor.token()
    visitor.wait_for_expiry()
    visitor.page.get_by_role("button", name="Get a token").click()
    expect(visitor.page.locator("#token-facts dd").first).not_to_have_text(first)
    assert visitor.complaints == []


def test_r7_a_narrower_token_may_do_less_and_the_wide_one_comes_back(visitor: Visitor) -> None:
    page = visitor.page
    visitor.sign_in()
    page.get_by_label("orders:write").uncheck()
    page.get_by_role("button", name="Get a token").click()
    expect(page.locator("#token-facts")).not_to_contain_text("orders:write")
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#api-answer")).to_contain_text("scope does not allow it")
    page.get_by_label("orders:write").check()
    page.get_by_role("button", name="Get a token").click()
    expect(page.locator("#token-facts")).to_contain_text("orders:write")
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#api-answer")).to_contain_text("straight from the API")


def test_no_scope_chosen_asks_for_nothing(visitor: Visitor) -> None:
    visitor.sign_in()
    for box in visitor.page.get_by_role("checkbox").all():
        box.uncheck()
    expect(visitor.page.get_by_role("button", name="Get a token")).to_be_disabled()


def test_a_failed_sign_in_is_said(visitor: Visitor) -> None:
    visitor.page.goto(f"{visitor.demo.app}/oidc/callback/?code=x&state=y")
    expect(visitor.page.get_by_role("alert")).to_contain_text("did not succeed")


def test_nothing_is_stored_in_the_browser(visitor: Visitor) -> None:
    visitor.sign_in()
    stored = visitor.page.evaluate("[localStorage.length, sessionStorage.length]")
    assert stored == [0, 0]
    state = visitor.context.storage_state(indexed_db=True)
    assert [origin for origin in state["origins"] if origin.get("indexedDB")] == []
    cookies = {cookie["name"]: cookie for cookie in visitor.context.cookies()}
    assert cookies["app_sessionid"]["httpOnly"]


def loot(visitor: Visitor) -> list[str]:
    """Take the token to another origin's page; return what the API answers there."""
    with visitor.context.expect_page() as opened:
        visitor.page.get_by_role("button", name="Steal the token").click()
    page = opened.value
    for answer in (page.locator("#as-bearer"), page.locator("#with-own-key")):
        expect(answer).not_to_have_text("…")
    assert accessibility_findings(page) == []
    assert "#" not in page.url
    return [page.locator(f"#{name}").inner_text() for name in ("as-bearer", "with-own-key")]


def test_a_stolen_token_is_worth_nothing_once_it_is_bound_to_the_pages_key(
    visitor: Visitor,
) -> None:
    page = visitor.page
    visitor.sign_in()
    as_bearer, with_own_key = loot(visitor)
    assert as_bearer.startswith("200: A pot of tea")
    assert with_own_key.startswith("401")
    page.get_by_role("button", name="Bind tokens").click()
    expect(page.locator("#token-facts")).to_contain_text("DPoP")
    assert [answer[:3] for answer in loot(visitor)] == ["401", "401"]
    page.get_by_role("button", name="Read my orders").click()
    expect(page.locator("#api-answer")).to_contain_text("straight from the API")
    page.get_by_role("button", name="Hand out bearer tokens").click()
    expect(page.locator("#token-facts")).to_contain_text("Bearer")
    assert loot(visitor)[0].startswith("200")
    assert visitor.complaints == []


def test_x2_a_sign_out_in_another_tab_is_said_and_the_way_on_offered(visitor: Visitor) -> None:
    visitor.sign_in()
    other = visitor.open()
    expect(other.locator("#token")).to_be_visible()
    other.get_by_role("button", name="Sign out").click()
    other.get_by_role("button", name=re.compile("sign out|log out", re.IGNORECASE)).click()
    expect(other.get_by_role("link", name="Sign in")).to_be_visible()
    expect(visitor.page.get_by_role("alert")).to_contain_text("signed out")
    expect(visitor.page.locator("#panels")).to_be_hidden()
    expect(visitor.page.get_by_role("link", name="Sign in")).to_be_visible()


def test_x2_a_session_that_has_ended_is_said_and_the_way_on_offered(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.context.clear_cookies(name="app_sessionid")
    visitor.page.get_by_role("button", name="Get a token").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("signed out")
    expect(visitor.page.get_by_role("link", name="Sign in")).to_be_visible()


def test_x5_the_provider_stopped_is_said_and_the_page_recovers(
    visitor: Visitor, demo: Demo
) -> None:
    visitor.sign_in()
    visitor.wait_for_expiry()
    before = visitor.token()
    demo.stop_idp()
    try:
        visitor.page.get_by_role("button", name="Get a token").click()
        expect(visitor.page.get_by_role("alert")).to_contain_text("does not answer")
    finally:
        demo.start_idp()
    expect(visitor.page.get_by_role("alert")).to_be_hidden(timeout=30_000)
    assert visitor.token() != before


def test_its_button_has_the_provider_stopped_and_started_again(
    visitor: Visitor, demo: Demo
) -> None:
    """By the launcher, which tests/test_demo.py has do it."""
    visitor.sign_in()
    state = visitor.page.locator("#provider-state")
    visitor.page.get_by_role("button", name="Stop the provider").click()
    expect(state).to_contain_text("It is stopped")
    assert demo.plan.provider_stopped.exists()
    visitor.page.get_by_role("button", name="Start the provider again").click()
    expect(state).to_contain_text("It starts again")
    assert not demo.plan.provider_stopped.exists()


def test_x8_a_scope_that_was_not_granted_is_had_by_asking_the_user(visitor: Visitor) -> None:
    page = visitor.page
    visitor.sign_in("bob")
    page.get_by_role("button", name="Cancel all my orders").click()
    expect(page.locator("#api-answer")).to_contain_text("scope does not allow it")
    page.get_by_label("orders:cancel").check()
    page.get_by_role("button", name="Get a token").click()
    expect(page.get_by_role("alert").locator("p")).to_have_text("No token. invalid_scope")
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.get_by_label("orders:cancel")).to_be_checked()
    expect(page.locator("#token-facts")).to_contain_text("orders:cancel")


def test_x8_a_resource_that_was_not_granted_is_had_by_asking_the_user(
    visitor: Visitor, demo: Demo
) -> None:
    page = visitor.page
    visitor.sign_in("bob")
    where = page.get_by_label("Where it may be used")
    where.select_option(f"{demo.api}/orders")
    page.get_by_role("button", name="Get a token").click()
    expect(page.get_by_role("alert")).to_contain_text("invalid_target")
    expect(page.locator("#token-facts")).to_contain_text("the whole API")
    page.get_by_role("alert").get_by_role("link").click()
    expect(page.locator("#log")).to_contain_text(f"resource={demo.api}/orders")
    expect(page.locator("#token-facts")).to_contain_text(f"{demo.api}/orders")
    expect(where).to_have_value(f"{demo.api}/orders")
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#api-answer")).to_contain_text("straight from the API")
    page.get_by_role("button", name="Cancel all my orders").click()
    expect(page.locator("#api-answer")).to_contain_text("The token is for another resource")
    where.select_option("the whole API")
    page.get_by_role("button", name="Cancel all my orders").click()
    expect(page.locator("#api-answer")).to_contain_text("scope does not allow it")


def test_what_cannot_be_undone_takes_a_sign_in_of_the_last_minute(
    visitor: Visitor, demo: Demo
) -> None:
    """RFC 9470: the API's challenge leads through the page to the provider, and back."""
    page = visitor.page
    visitor.sign_in("bob")
    follow(page, "/bff/login?scope=orders:cancel")
    expect(page.locator("#token-facts")).to_contain_text("orders:cancel")
    demo.let_an_hour_pass_at_the_provider()
    page.get_by_role("button", name="Cancel all my orders").click()
    expect(page.get_by_role("alert")).to_contain_text("not older than 60 seconds")
    page.get_by_role("alert").get_by_role("link").click()
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Password").fill(demo.users["bob"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#api-answer")).to_contain_text("You have just signed in")
    expect(page.get_by_role("button", name="Cancel all my orders")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#api-answer")).to_contain_text("No orders yet")


def test_a_silent_attempt_that_finds_nobody_is_said(visitor: Visitor) -> None:
    visitor.sign_in()
    for cookie in visitor.context.cookies():
        if not cookie["name"].startswith("app_"):
            visitor.context.clear_cookies(name=cookie["name"])
    follow(visitor.page, "/bff/login?prompt=none&next=/")
    expect(visitor.page.get_by_role("alert")).to_contain_text("login_required")
    expect(visitor.page.locator("#token")).to_be_visible()
    assert visitor.page.url == f"{visitor.demo.app}/"


def follow(page: Page, path: str) -> None:
    """Let the page send its user there."""
    page.evaluate("(path) => { location.assign(path) }", path)


def test_t6_a_token_that_the_api_takes_no_more_is_replaced_and_nobody_notices(
    visitor: Visitor, demo: Demo
) -> None:
    visitor.sign_in()
    before = visitor.token()
    demo.withdraw_access_tokens()
    visitor.page.get_by_role("button", name="Read my orders").click()
    expect(visitor.page.locator("#api-answer")).to_contain_text("straight from the API")
    expect(visitor.page.locator("#token-facts dd").first).not_to_have_text(before)
    expect(visitor.page.locator("#log")).to_contain_text("invalid_token")


DRAFT_ALONE = """async (api) => {
  const session = await (await fetch("/.well-known/bff-sessioninfo")).json();
  const token = await (await fetch("/.well-known/bff-token?scope=orders:read")).json();
  const headers = { Authorization: `Bearer ${token.access_token}` };
  return { session, token, ...(await (await fetch(`${api}/orders`, { headers })).json()) };
}"""


def test_a_page_that_knows_nothing_but_the_draft_works(visitor: Visitor, demo: Demo) -> None:
    """E5, R1: bare calls of fetch, and no header of ours."""
    visitor.sign_in()
    page = visitor.page
    page.goto(f"{demo.app}/static/testproject/icon.svg")
    sent: list[dict[str, str]] = []
    page.on("request", lambda request: sent.append(request.headers))
    found = page.evaluate(DRAFT_ALONE, demo.api)
    assert found["session"]["preferred_username"] == "alice"
    assert found["token"]["scope"] == "orders:read"
    assert 0 < found["token"]["expires_in"] <= TOKEN_SECONDS
    assert found["orders"][0]["item"] == "A pot of tea"
    names = {name.lower() for headers in sent for name in headers}
    assert "authorization" in names
    assert [name for name in names if "tmibff" in name or name.startswith("x-")] == []


def test_the_api_stopped_is_said_and_the_page_recovers(visitor: Visitor, demo: Demo) -> None:
    visitor.sign_in()
    demo.stop_api()
    try:
        visitor.page.get_by_role("button", name="Read my orders").click()
        expect(visitor.page.locator("#api-answer")).to_contain_text("does not answer")
    finally:
        demo.start_api()
    expect(visitor.page.locator("#api-answer")).to_contain_text("is back", timeout=30_000)
    visitor.page.get_by_role("button", name="Read my orders").click()
    expect(visitor.page.locator("#api-answer")).not_to_contain_text("does not answer")


def test_the_page_can_be_used_by_keyboard(visitor: Visitor) -> None:
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Sign in")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Password").fill(visitor.demo.users["bob"])
    page.keyboard.press("Enter")
    expect(page.locator("#token")).to_be_visible()
    reached = set()
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.value"))
    assert {"orders:read", "resource", "get-token", "read-orders", "place-order"} <= reached


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo with sign-ins in all states, and none of the other tests' visitors in its lists."""
    with Demo(tmp_path_factory.mktemp("busy")) as demo:
        admin_data.fill(demo.plan.environment("app"), PROJECT)
        yield demo


def open_admin(visitor: Visitor) -> Page:
    """Sign in to the admin, return its list of token sets."""
    page = visitor.page
    page.goto(f"{visitor.demo.app}/admin/django_tmibff/tokenset/")
    page.get_by_label("Username").fill(OPERATOR)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("token set")
    return page


@pytest.mark.parametrize("screen", SCREENS)
def test_the_admin(browser: Browser, busy: Demo, tmp_path: Path, screen: str) -> None:
    context = browser.new_context(**SCREENS[screen])
    visitor = Visitor(context, busy)
    page = open_admin(visitor)

    def look(name: str) -> None:
        assert accessibility_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture(page, f"admin-{screen}-{name}", tmp_path)

    look("list")
    page.get_by_role("link", name="isabel").click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    look("detail")
    page.go_back()
    for name in ("oscar", "nadia", "isabel"):
        page.get_by_role("row").filter(has_text=name).get_by_role("checkbox").check()
    page.get_by_label("Action:").select_option("End and revoke")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    look("end")
    page.get_by_role("link", name="No, take me back").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Select token set")
    assert visitor.complaints == []
    context.close()


def test_who_was_ended_in_the_admin_is_signed_out(browser: Browser, visitor: Visitor) -> None:
    visitor.sign_in()
    context = browser.new_context(**SCREENS["desktop"])
    operator = Visitor(context, visitor.demo)
    page = open_admin(operator)
    page.get_by_role("textbox").fill("alice@example.test")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="alice").first.click()
    page.get_by_role("button", name="Renew now").click()
    expect(page.locator(".messagelist")).to_contain_text("its grant works")
    page.get_by_role("button", name="End and revoke").click()
    page.get_by_role("button", name="Yes, end and revoke").click()
    expect(page.locator(".messagelist")).to_contain_text("1 token set was ended")
    assert operator.complaints == []
    context.close()
    visitor.page.get_by_role("button", name="Get a token").click()
    expect(visitor.page.get_by_role("alert")).to_contain_text("signed out")
