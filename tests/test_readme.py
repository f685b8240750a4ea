"""The README, followed word for word in a project made by ``django-admin startproject``."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_tmibff.conf import DEFAULTS
from testproject.idp.accounts import APP
from tests.real.browser import Browser
from tests.real.demo import Demo
from tests.real.processes import Server, answers_http, run

README = Path(__file__).resolve().parents[1] / "README.md"
CODE = re.compile(r"```python\n# (?P<file>\w+\.py)\n(?P<code>.*?)```", re.DOTALL)
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": "tearoom.settings", "TESTPROJECT_SETTINGS": "{}"}
MANAGE = (sys.executable, "manage.py")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo, whose app makes room for the new project."""
    with Demo(tmp_path / "demo") as demo:
        demo.servers["app"].stop()
        yield demo


@pytest.fixture
def site(demo: Demo, tmp_path: Path) -> Iterator[str]:
    """The origin of a new project with the README's code in it."""
    project = tmp_path / "tearoom"
    run([sys.executable, "-m", "django", "startproject", "tearoom"], cwd=tmp_path, env=ENVIRONMENT)
    for match in CODE.finditer(README.read_text()):
        _paste(project / "tearoom" / match["file"], match["code"], demo.idp)
    run([*MANAGE, "migrate", "--verbosity=0"], cwd=project, env=ENVIRONMENT)
    run([*MANAGE, "check", "--fail-level=WARNING"], cwd=project, env=ENVIRONMENT)
    port = demo.app.rpartition(":")[2]
    with Server(
        "runserver",
        [*MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}"],
        folder=tmp_path,
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
    file.write_text(f"{file.read_text()}\n{code}")


@pytest.mark.real
def test_the_settings_and_paths_work_as_they_stand_there(site: str, demo: Demo) -> None:
    with Browser() as browser:
        page = browser.navigate(f"{site}/oidc/authenticate/")
        browser.submit_form(page, username="alice", password=demo.users["alice"])
        answer: dict[str, Any] = browser.fetch(f"{site}/.well-known/bff-token").json()
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
        info = browser.fetch(f"{site}/.well-known/bff-sessioninfo").json()
        assert info["preferred_username"] == "alice"


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    named = set(re.findall(r"`(TMIBFF_[A-Z_]+)`", README.read_text()))
    assert named == set(DEFAULTS)


def test_b7_it_says_when_not_to_use_it_what_is_protected_and_what_is_not() -> None:
    _, _, rest = README.read_text().partition("## When not to use it\n")
    said = " ".join(rest.partition("\n## ")[0].split())
    for sentence in (
        "Prefer a **full Backend For Frontend** wherever it is viable",
        "script that an attacker injects there can use it and can ask for more",
        "What the pattern protects are the refresh tokens and the client's credentials.",
    ):
        assert sentence in said
