"""What the demo installs is pinned, each file by its hash."""

import signal
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

from testproject.demo import SERVERS, Plan
from tests.real.demo import Launcher, free_ports
from tests.real.http import send
from tests.real.processes import run

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["demo"]]
PYTHONS = ("3.11.0", "3.12.0", "3.13.0")


def pins() -> list[tuple[Requirement, list[str]]]:
    """Return each pinned release, and the hashes of its files."""
    text = (ROOT / "testproject" / "requirements.txt").read_text().replace("\\\n", " ")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    parts = [line.split("--hash=") for line in lines if line]
    return [(Requirement(pin.strip()), hashes) for pin, *hashes in parts]


def test_each_release_is_exact_and_has_hashes():
    assert pins()
    for pin, hashes in pins():
        assert [one.operator for one in pin.specifier] == ["=="]
        assert hashes
        assert all(one.startswith("sha256:") for one in hashes)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("wanted", WANTED)
def test_what_the_demo_needs_is_among_them(python, wanted):
    requirement = Requirement(wanted)
    here = {**default_environment(), "python_full_version": python}
    versions = [
        next(iter(pin.specifier)).version
        for pin, _ in pins()
        if pin.name == requirement.name and (pin.marker is None or pin.marker.evaluate(here))
    ]
    assert len(versions) == 1, f"make pins: {requirement.name} is pinned {len(versions)} times"
    assert requirement.specifier.contains(versions[0])


@pytest.mark.real
def test_the_demo_runs_on_what_these_hashes_let_in(tmp_path):
    """Installed by the Makefile's own line, where nothing else is."""
    venv = tmp_path / "venv"
    ready = ["make", f"{venv}/.ready-demo", f"VENV={venv}", f"PYTHON={sys.executable}"]
    assert "--require-hashes" in run(ready, cwd=ROOT)
    plan = Plan(tmp_path / "data", free_ports())
    with Launcher(tmp_path, plan, venv / "bin" / "python") as demo:
        for name in SERVERS:
            assert send("GET", f"{plan.origin(name)}/").status_code == 200
        assert demo.signal(signal.SIGINT) == 0
