"""The guides' code in a real browser, and the examples of docs/javascript.md as TypeScript."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.real import frontends
from tests.real.chromium import chromium
from tests.real.processes import Server, answers_http, free_port
from tests.real.scripted_server import Answer, ScriptedServer
from tests.tab import API, MODULE, NOBODY, SESSION, TOKEN, TYPES, challenged, given

pytestmark = pytest.mark.real

ALICE = Answer({"sub": "alice", "name": "Alice"})
ORDERS = Answer({"orders": ["A pot of tea", "Jam tarts"]})
STEP_UP = challenged('Bearer error="insufficient_user_authentication", max_age="60"')
HTML = {"Content-Type": "text/html"}
# Angular's templates are compiled in the browser here, which `ng build` spares it.
POLICIES = {
    "react": "default-src 'self'",
    "vue": "default-src 'self'",
    "angular": "default-src 'self'; script-src 'self' 'unsafe-eval'",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without windows."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab whose page must not fail unseen."""
    with browser.new_context() as context:
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page
        assert failures == []


@pytest.fixture
def api() -> Iterator[ScriptedServer]:
    """The API of the guides."""
    with ScriptedServer("127.0.0.1", API) as api:
        api.answers("/orders", ORDERS)
        yield api


@pytest.fixture
def site() -> Iterator[ScriptedServer]:
    """A site where nobody is signed in."""
    with ScriptedServer() as site:
        site.answers(SESSION, NOBODY)
        site.answers(TOKEN, given())
        site.answers("/bff/login", Answer(b"<h1>The provider</h1>", headers=HTML))
        site.answers("/signed-out", Answer(b"<h1>Signed out</h1>", headers=HTML))
        site.answers("/bff/logout", Answer({"logout_url": "/signed-out"}))
        yield site


def serve(site: ScriptedServer, built: Path, policy: str) -> None:
    """Let the site serve what was built."""
    headers = {**HTML, "Content-Security-Policy": policy}
    site.answers("/", Answer((built / "index.html").read_bytes(), headers=headers))
    for file in (built / "assets").iterdir():
        site.serves(f"/assets/{file.name}", file)


@pytest.mark.parametrize("name", POLICIES)
def test_the_guides_code_signs_in_and_out_and_calls_the_api(
    page: Page, site: ScriptedServer, api: ScriptedServer, tmp_path: Path, name: str
) -> None:
    frontends.write_project(name, tmp_path, api.origin)
    policy = f"{POLICIES[name]}; connect-src 'self' {api.origin}"
    serve(site, frontends.build(tmp_path), policy)

    page.goto(f"{site.origin}/?bff_error=access_denied")
    expect(page.get_by_role("alert")).to_contain_text("did not succeed: access_denied")
    assert page.url == f"{site.origin}/"
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading")).to_have_text("The provider")
    assert site.asked("/bff/login")[-1].query == {"next": ["/"]}

    site.answers(SESSION, ALICE)
    page.goto(f"{site.origin}/")
    expect(page.get_by_text("Hello, Alice")).to_be_visible()
    page.get_by_role("button", name="Read my orders").click()
    expect(page.get_by_role("listitem")).to_have_text(["A pot of tea", "Jam tarts"])
    assert api.asked("/orders")[-1].headers["Authorization"] == "Bearer token-1"

    api.answers("/orders", STEP_UP)
    page.get_by_role("button", name="Read my orders").click()
    page.get_by_role("alert").get_by_role("button", name="Sign in again").click()
    expect(page.get_by_role("heading")).to_have_text("The provider")
    asked = {"resource": [f"{api.origin}/orders"], "max_age": ["60"], "next": ["/"]}
    assert site.asked("/bff/login")[-1].query == asked

    page.goto(f"{site.origin}/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading")).to_have_text("Signed out")

    page.goto(f"{site.origin}/")
    site.answers(TOKEN, NOBODY)
    page.get_by_role("button", name="Read my orders").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_vites_development_server_finds_the_module_and_passes_on_what_is_djangos(
    page: Page, site: ScriptedServer, api: ScriptedServer, tmp_path: Path
) -> None:
    frontends.write_project("react", tmp_path, api.origin)
    documented = (frontends.DOCS / "javascript.md").read_text()
    [proxied] = re.findall(r"```js\n(const django = .*?)```", documented, re.DOTALL)
    imports = (tmp_path / "vite.config.js").read_text().partition("export default")[0]
    proxied = proxied.replace("http://localhost:8000", f"http://127.0.0.1:{site.port}")
    (tmp_path / "vite.config.js").write_text(imports + proxied)
    site.answers(SESSION, ALICE)
    port = free_port()
    address = f"http://localhost:{port}"
    with Server(
        "vite",
        frontends.vite("--port", str(port), "--strictPort", "--host", "127.0.0.1"),
        folder=tmp_path,
        ready=lambda: answers_http(f"http://127.0.0.1:{port}"),
        cwd=tmp_path,
        env=frontends.environment(),
    ):
        page.goto(address)
        expect(page.get_by_text("Hello, Alice")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{address}/signed-out")
    # For Django both are its own page's requests.
    [asked] = site.asked("/bff/logout")
    assert (asked.headers["Host"], asked.headers["Origin"]) == (f"localhost:{port}", address)
    assert asked.headers["Sec-Fetch-Site"] == "same-origin"


def test_the_types_fit_the_angular_guide(tmp_path: Path) -> None:
    frontends.write_project("angular", tmp_path, "https://api.example")
    frontends.check_types(tmp_path)


PRELUDE = """
import { getSession, getToken, login, logout, onSession } from "./tmibff.js";
import { takeLoginError, tokenFetch } from "./tmibff.js";
declare const body: string;
declare function show(session: unknown, text?: string): void;
export async function example() {
"""


def test_the_types_fit_the_examples(tmp_path: Path) -> None:
    documented = (frontends.DOCS / "javascript.md").read_text()
    examples = re.findall(r"\n## \w+\(.*?```js\n(.*?)```", documented, re.DOTALL)
    assert len(examples) == 7
    (tmp_path / "src").mkdir()
    (tmp_path / "tsconfig.json").write_text(frontends.TYPESCRIPT_CONFIG)
    for file in (MODULE, TYPES):
        (tmp_path / "src" / file.name).write_text(file.read_text())
    for number, example in enumerate(examples):
        untyped = example.replace("catch (error)", "catch (error: any)")
        (tmp_path / "src" / f"example{number}.ts").write_text(f"{PRELUDE}{untyped}}}\n")
    frontends.check_types(tmp_path)
    (tmp_path / "src" / "wrong.ts").write_text(f"{PRELUDE}login({{ maxAge: true }}) }}\n")
    with pytest.raises(RuntimeError, match=r"src/wrong\.ts"):
        frontends.check_types(tmp_path)
