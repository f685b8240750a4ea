"""The README, followed word for word in a project made by ``django-admin startproject``."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_tmibff.conf import DEFAULTS
from tests.real.browser import Browser
from tests.real.oidc_provider import OidcProvider
from tests.real.processes import Server, answers_http, free_port, run

README = Path(__file__).resolve().parents[1] / "README.md"
CODE = re.compile(r"```python\n# (?P<file>\w+\.py)\n(?P<code>.*?)```", re.DOTALL)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The origin of a new project with the README's code in it."""
    port = free_port()
    origin = f"http://localhost:{port}"
    with OidcProvider(origin, tmp_path) as provider:
        run([sys.executable, "-m", "django", "startproject", "site_", str(tmp_path)], cwd=tmp_path)
        for match in CODE.finditer(README.read_text()):
            _paste(tmp_path / "site_" / match["file"], match["code"], provider.issuer)
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_.settings"}
        manage = [sys.executable, "manage.py"]
        run([*manage, "migrate", "--verbosity=0"], cwd=tmp_path, env=environment)
        run([*manage, "check", "--fail-level=WARNING"], cwd=tmp_path, env=environment)
        with Server(
            "runserver",
            [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"],
            folder=tmp_path,
            ready=lambda: answers_http(origin),
            cwd=tmp_path,
            env=environment,
        ):
            yield origin


def _paste(file: Path, code: str, issuer: str) -> None:
    for placeholder, real in (
        ("https://op.example", issuer),
        ("your-client-id", "rotate"),
        ("your-client-secret", "rotate-secret"),
    ):
        code = code.replace(placeholder, real)
    file.write_text(f"{file.read_text()}\n{code}")


@pytest.mark.real
def test_the_settings_and_paths_work_as_they_stand_there(site: str) -> None:
    with Browser() as browser:
        browser.sign_in(f"{site}/oidc/authenticate/", "alice")
        answer: dict[str, Any] = browser.fetch(f"{site}/.well-known/bff-token").json()
        assert set(answer) == {"access_token", "token_type", "expires_in", "scope"}
        info = browser.fetch(f"{site}/.well-known/bff-sessioninfo").json()
        assert info["sub"] == "alice"


def test_every_setting_is_in_the_readme_and_no_other() -> None:
    named = set(re.findall(r"`(TMIBFF_[A-Z_]+)`", README.read_text()))
    assert named == set(DEFAULTS)
