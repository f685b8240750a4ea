"""The README: what is in it is done, in a project made by ``django-admin startproject``."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth import login
from django.http import HttpRequest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from django_tmibff.conf import DEFAULTS
from testproject.idp.accounts import APP
from tests.page import MODEL_BACKEND, SESSION_INFO, Page
from tests.real.chromium import chromium
from tests.real.demo import Demo
from tests.real.processes import Server, answers_http, run

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)
SHELL, JAVASCRIPT, PYTHON = (
    [code for kind, code in BLOCKS if kind == k] for k in ("sh", "js", "python")
)
FILES = {match[1]: code for code in PYTHON if (match := re.match(r"# (\w+\.py)\n", code))}
FETCHES, MODULE, ASKS = JAVASCRIPT
STORES, GETS = (code for code in PYTHON if code not in FILES.values())
COMMANDS = {
    command.split()[0]: command.split()
    for command in re.findall(r"`(?:python )?manage\.py ([^`]+)`", README.read_text())
}
RESOURCE = "https://api.example/orders"
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "tearoom.settings", "TESTPROJECT_SETTINGS": "{}"}
MANAGE = (sys.executable, "manage.py")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo, whose app makes room for the new project."""
    with Demo(tmp_path_factory.mktemp("demo")) as demo:
        demo.servers["app"].stop()
        yield demo


@pytest.fixture(scope="module")
def project(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new project with the README's code in it."""
    folder = tmp_path_factory.mktemp("site")
    project = folder / "tearoom"
    run([sys.executable, "-m", "django", "startproject", "tearoom"], cwd=folder, env=ENVIRONMENT)
    for name, code in FILES.items():
        _paste(project / "tearoom" / name, code, demo.idp)
    _append(project / "tearoom" / "settings.py", f"TMIBFF_ORIGINS = [{demo.api!r}]")
    run([*MANAGE, *COMMANDS["migrate"]], cwd=project, env=ENVIRONMENT)
    run([*MANAGE, "check", "--fail-level=WARNING"], cwd=project, env=ENVIRONMENT)
    return project


@pytest.fixture(scope="module")
def site(demo: Demo, project: Path) -> Iterator[str]:
    """The project's origin."""
    port = demo.app.rpartition(":")[2]
    with Server(
        "runserver",
        [*MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}"],
        folder=project.parent,
        ready=lambda: answers_http(demo.app),
        cwd=project,
        env=ENVIRONMENT,
    ):
        yield demo.app


def _paste(file: Path, code: str, issuer: str) -> None:
    for placeholder, real in (
        ("https://op.example", issuer),
        ("your-client-id", APP.client_id),
        ("your-client-secret", APP.secret),
    ):
        assert placeholder not in file.read_text()
        code = code.replace(placeholder, real)
    _append(file, code)


def _append(file: Path, code: str) -> None:
    file.write_text(f"{file.read_text()}\n{code}")


@pytest.fixture
def tab() -> Iterator[Tab]:
    """A tab of a real browser."""
    with chromium() as browser:
        yield browser.new_page()


def sign_in(tab: Tab, site: str, demo: Demo) -> None:
    """Send the browser where the README sends people, and sign in there."""
    tab.goto(f"{site}/oidc/authenticate/")
    tab.get_by_label("Username").fill("alice")
    tab.get_by_label("Password").fill(demo.users["alice"])
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(f"{site}/")


@pytest.mark.real
def test_the_settings_and_paths_and_the_page_s_code_work_as_they_stand_there(
    site: str, demo: Demo, tab: Tab
) -> None:
    sign_in(tab, site, demo)
    names = ["access_token", "sub", "name"]
    said = tab.evaluate(f"async () => {{ {FETCHES}; return [{', '.join(names)}] }}")
    assert all(said), dict(zip(names, said, strict=True))
    script = MODULE.replace(RESOURCE, f"{demo.api}/orders")
    assert script != MODULE
    tab.route(
        "**/static/page.js",
        lambda route: route.fulfill(body=script, content_type="text/javascript"),
    )
    with tab.expect_response(f"{demo.api}/orders") as answered:
        tab.add_script_tag(url=f"{site}/static/page.js", type="module")
    assert answered.value.request.headers["authorization"] == f"Bearer {said[0]}"


@pytest.mark.real
def test_its_module_sends_who_is_not_signed_in_to_sign_in(site: str, demo: Demo, tab: Tab) -> None:
    tab.goto(f"{site}/admin/login/")
    tab.route(
        "**/static/page.js",
        lambda route: route.fulfill(body=MODULE, content_type="text/javascript"),
    )
    tab.add_script_tag(url=f"{site}/static/page.js", type="module")
    expect(tab.get_by_label("Password")).to_be_visible()
    tab.wait_for_url(f"{demo.idp}/**")


@pytest.mark.real
class TestCommands:
    """What it has ``manage.py`` do, but for what made the project's tables."""

    @pytest.fixture
    def said(self, project: Path, demo: Demo, name: str) -> str:
        """What the command prints in the README's project; it ends with status 0."""
        command = [word.replace("https://op.example", demo.idp) for word in COMMANDS[name]]
        return run([*MANAGE, *command], cwd=project, env=ENVIRONMENT)

    def test_there_is_no_other(self) -> None:
        assert COMMANDS.keys() == {"migrate", "tmibff_discover", "check", "tmibff_doctor"}

    @pytest.mark.parametrize("name", ["tmibff_discover"])
    def test_it_prints_the_settings_for_a_provider(self, said: str, demo: Demo) -> None:
        there: dict[str, Any] = {"INSTALLED_APPS": []}
        _do(FILES["settings.py"].replace("https://op.example", demo.idp), there)
        lines = (line.split(" = ") for line in said.splitlines() if line.startswith("OIDC_"))
        printed = {name: ast.literal_eval(value) for name, value in lines}
        ours = {name: value for name, value in there.items() if name.startswith("OIDC_")}
        assert len(ours) > 10
        assert ours.items() <= printed.items()

    @pytest.mark.parametrize("name", ["check"])
    def test_it_says_what_the_settings_lack(self, said: str) -> None:
        for id_ in ("W001", "I001", "I002"):
            assert f"(django_tmibff.{id_})" in said

    @pytest.mark.parametrize("name", ["tmibff_doctor"])
    def test_it_tries_them_against_the_real_thing(self, said: str, demo: Demo) -> None:
        assert f"The metadata of {demo.idp} is sound." in said


def _do(code: str, names: dict[str, Any]) -> None:
    exec(code, names)  # noqa: S102  # the README's own


@pytest.mark.django_db
def test_what_it_lets_the_page_ask_for_is_answered_once_the_site_lists_it(
    signed_in: Any, authorization_server: Any, settings: Any
) -> None:
    paths = re.findall(r'fetch\("(.*?)"\)', ASKS)
    settings.TMIBFF_SCOPES = ["orders:read"]
    settings.TMIBFF_RESOURCES = [RESOURCE]
    page = signed_in()
    assert [page.fetch(path).status_code for path in paths] == [200, 200]
    assert [sent.get("resource") for sent in authorization_server.requests] == [None, [RESOURCE]]


@pytest.mark.django_db
def test_the_code_for_another_sign_in_works(page: Page, user: Any, settings: Any) -> None:
    user.backend = MODEL_BACKEND  # As authenticate() leaves it.
    request = page.request_of(user)
    values = iter(["given", "refresh", "openid", "alice-there", "Alice"])
    code = re.sub("…", lambda _: next(values), STORES)
    _do(code, {"login": login, "request": request, "user": user})
    request.session.save()
    page.cookies[settings.SESSION_COOKIE_NAME] = request.session.session_key
    info = page.fetch(SESSION_INFO).json()
    assert (info["sub"], info["name"]) == ("alice-there", "Alice")
    assert page.token()["access_token"] == "given"


@pytest.mark.django_db
def test_the_code_for_the_server_calls_the_api_with_a_token(
    signed_in: Any, authorization_server: Any, user: Any, settings: Any
) -> None:
    settings.TMIBFF_RESOURCES = [RESOURCE]
    request: HttpRequest = signed_in().request_of(user)
    called = authorization_server.mocker.get(RESOURCE, json=[])
    _do(f"from django_tmibff import tokens\n{GETS}", {"request": request, "requests": requests})
    assert called.last_request.headers["Authorization"].startswith("Bearer fresh-")


def test_each_of_its_commands_is_a_target_of_make_or_what_the_package_s_own_try_does() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for command in SHELL:
        name, _, target = command.strip().partition(" ")
        assert name == "pip" or (name == "make" and f"\n{target}: " in makefile), command


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    named = set(re.findall(r"`(TMIBFF_[A-Z_]+)`", README.read_text()))
    assert named == set(DEFAULTS)


def test_the_defaults_in_its_table_are_the_codes() -> None:
    """But for two that are too long for it."""
    told: dict[str, str] = {}
    for names, default in re.findall(r"^\| (`TMIBFF_.*?) \| (.*?) \|", README.read_text(), re.M):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", names), default)
    assert told.pop("TMIBFF_SESSION_INFO") == "ours"
    assert told.pop("TMIBFF_SESSION_INFO_CLAIMS") == "the profile's"
    there = {name: ast.literal_eval(default.strip("`")) for name, default in told.items()}
    assert there == {name: DEFAULTS[name] for name in there}
    assert len(there) == len(DEFAULTS) - 2


def test_b7_it_says_when_not_to_use_it_what_is_protected_and_what_is_not() -> None:
    _, _, rest = README.read_text().partition("## When not to use it\n")
    said = " ".join(rest.partition("\n## ")[0].split())
    for sentence in (
        "Prefer a **full Backend For Frontend** wherever it is viable",
        "script that an attacker injects there can use it and can ask for more",
        "What the pattern protects are the refresh tokens and the client's credentials.",
    ):
        assert sentence in said
