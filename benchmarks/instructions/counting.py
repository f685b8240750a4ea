"""Counts with valgrind's callgrind, and keeps the record."""

import json
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import django

from benchmarks.instructions.scenarios import ANCHOR, REQUESTS, SCENARIOS
from benchmarks.world import apps
from tests.real.components import ComponentMissing, program
from tests.real.gunicorn import PROJECT, environment
from tests.real.processes import Server, run, wait_until

FILE = Path(__file__).with_name("recorded.json")
TOLERANCE = 0.05
SECONDS = 120

_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)

Counts = dict[str, int]


def versions() -> str:
    """Return what the record is kept by."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"Python {python}, Django {'.'.join(map(str, django.VERSION[:2]))}"


def recorded() -> Counts:
    """Return what was recorded for this Python and Django; raises ``ComponentMissing``."""
    known: dict[str, Counts] = json.loads(FILE.read_text())
    if versions() not in known:
        raise ComponentMissing(f"A record for {versions()}", "Make it: make instructions.")
    return known[versions()]


def record(counts: Counts) -> None:
    """Keep these for this Python and Django."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    known[versions()] = counts
    FILE.write_text(f"{json.dumps(known, indent=2, sort_keys=True)}\n")


def change(name: str, counts: Mapping[str, int], record: Mapping[str, int]) -> float:
    """Return how much more instructions that takes than recorded: 0.05 is one more for twenty."""
    return counts[name] / record[name] * record[ANCHOR] / counts[ANCHOR] - 1


def count(folder: Path) -> Counts:
    """Return the instructions of one request of each scenario; ``folder`` is an empty one."""
    settings = _settings(folder)
    with _driver(folder, settings, _prepared(settings)) as driver:
        # Only now: Django starts at a fifth of its speed, rather than at a fiftieth.
        run([program("vgdb", package="valgrind"), f"--pid={driver.pid}", "instrumentation", "on"])
        (folder / "go").touch()
        try:
            wait_until((folder / "done").exists, SECONDS, "the driver has asked everything")
        except TimeoutError as error:
            error.add_note(driver.log())
            raise
    # Of each two parts that it dumps the first is what came between two scenarios.
    totals = [int(total) for total in _TOTALS.findall((folder / "out").read_text())]
    parts = totals[1 : 2 * len(SCENARIOS) : 2]
    return {name: total // REQUESTS for name, total in zip(SCENARIOS, parts, strict=True)}


def _settings(folder: Path) -> dict[str, Any]:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db")}
    return {
        "DATABASES": {"default": {**database, "CONN_MAX_AGE": None}},
        "SESSION_ENGINE": "django.contrib.sessions.backends.db",
        "ROOT_URLCONF": "benchmarks.instructions.urls",
        "INSTALLED_APPS": apps("mozilla_django_oidc", "django_tmibff"),
        "AUTHENTICATION_BACKENDS": ["django_tmibff.backends.OIDCAuthenticationBackend"],
    }


def _prepared(settings: Mapping[str, Any]) -> str:
    """Make the tables and a session, at full speed; return its cookie."""
    env = environment(settings, "benchmarks.site")
    migrate = ("manage.py", "migrate", "--no-input", "--verbosity=0")
    run([sys.executable, *migrate], cwd=PROJECT, env=env)
    command = [sys.executable, "-m", "benchmarks.site.prepare", "1"]
    return run(command, cwd=PROJECT, env=env).splitlines()[-1]


def _driver(folder: Path, settings: Mapping[str, Any], cookie: str) -> Server:
    out = f"--callgrind-out-file={folder}/out"
    options = ("--instr-atstart=no", "--dump-before=getppid", "--combine-dumps=yes", out)
    return Server(
        "driver",
        [
            *(program("valgrind"), "--tool=callgrind", *options),
            *(sys.executable, "-m", "benchmarks.instructions.driver", folder, cookie),
        ],
        folder=folder,
        ready=(folder / "ready").exists,
        cwd=PROJECT,
        env={**environment(settings, "benchmarks.site"), "PYTHONHASHSEED": "0"},
        seconds=SECONDS,
    )
