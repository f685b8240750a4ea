"""The conformance run as a program, at live sites: the demo, and the test project over https."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_tmibff.conformance import INVISIBLE
from tests.real.browser import Browser, cookie_domain
from tests.real.certificates import Paths, make_certificate
from tests.real.demo import Demo
from tests.real.gunicorn import PROJECT, Gunicorn, migrate
from tests.real.session import COOKIE, databases, new_session
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

PROGRAM = (sys.executable, "-m", "django_tmibff.conformance")
TIMEOUT_SECONDS = 120
UNSEEN = {verdict.id for verdict in INVISIBLE}


def outcomes(origin: str, cookie: str, *options: str) -> dict[str, set[str]]:
    """Run the program; return the rules by outcome, each with what was found."""
    # Django could not even be set up: the run is for backends of others too.
    without_django = {n: v for n, v in os.environ.items() if n != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [*PROGRAM, origin, "--cookie", "-", "--json", *options],
        cwd=PROJECT,
        env=without_django,
        input=f"{cookie}\n",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    found: list[dict[str, Any]] = json.loads(done.stdout)["verdicts"]
    by_outcome: dict[str, set[str]] = {}
    for one in found:
        said = one["rule"] if one["outcome"] != "failed" else f"{one['rule']} {one['findings']}"
        by_outcome.setdefault(one["outcome"], set()).add(said)
    assert done.returncode == int("failed" in by_outcome)
    return by_outcome


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """The demo, whose access tokens live long enough to be asked for twice."""
    with Demo(tmp_path / "demo", access_token_seconds=3600) as demo:
        yield demo


@pytest.fixture
def certificate(tmp_path: Path) -> Paths:
    """A certificate of this test's own."""
    return make_certificate(tmp_path)


@pytest.fixture(params=["off", "required"], ids=["bearer", "dpop"])
def site(
    tmp_path: Path, certificate: Paths, strict_server: StrictServer, request: Any
) -> Iterator[Gunicorn]:
    """The test project over https; it may bind its tokens to the key of whoever asks."""
    with databases("sqlite", tmp_path) as found:
        settings = {
            **strict_server.django_settings(),
            "DATABASES": found,
            "DEBUG": False,
            "SESSION_COOKIE_SECURE": True,
            "TMIBFF_DPOP": request.param,
        }
        migrate(settings)
        with Gunicorn(tmp_path, settings, workers=1, certificate=certificate) as site:
            yield site


def test_the_demo_keeps_every_rule_that_can_be_seen(demo: Demo) -> None:
    with Browser() as browser:
        form = browser.navigate(f"{demo.app}/oidc/authenticate/")
        browser.submit_form(form, username="alice", password=demo.users["alice"])
        cookie = browser.cookies.get("app_sessionid", domain=cookie_domain(demo.app))
    found = outcomes(
        demo.app, f"app_sessionid={cookie}", "--scope", "openid", "--renew", "--sign-out"
    )
    assert found.keys() == {"passed", "not testable from outside"}
    # Plain http is answered on a developer's machine, and all sessions have tokens.
    assert found["not testable from outside"] == UNSEEN | {"E2", "X3"}


def test_over_https_too(site: Gunicorn, strict_server: StrictServer, certificate: Paths) -> None:
    """E2: the certificate is checked, and nobody answers plain http."""
    cookie = new_session(site.settings, strict_server.new_family())
    without_refresh_token = {"access_token": "over", "expires_in": -1}
    other = new_session(site.settings, without_refresh_token)
    found = outcomes(
        site.origin,
        f"{COOKIE}={cookie}",
        f"--cookie-without-tokens={COOKIE}={other}",
        f"--ca-bundle={certificate[0]}",
        *("--scope", "openid", "--renew", "--sign-out"),
    )
    assert found.keys() == {"passed", "not testable from outside"}
    assert found["not testable from outside"] == UNSEEN
