"""Run ``manage.py`` as somebody at a shell does: in a process, or at a terminal."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.metadata import settings_in
from tests.real.gunicorn import PROJECT, environment

TIMEOUT_SECONDS = 120
OUTCOMES = ("not tried", "ok", "note", "warning", "failed")


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit status, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """What ``tmibff_doctor --json`` has found."""
        found: list[dict[str, Any]] = json.loads(self.out)["verdicts"]
        return found

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of each probe; of several, the worst."""
        by_badness = sorted(self.verdicts, key=lambda one: OUTCOMES.index(one["outcome"]))
        return {verdict["probe"]: verdict["outcome"] for verdict in by_badness}

    @property
    def answers(self) -> dict[str, str]:
        """The answer of each probe that has one; of several, the last."""
        return {one["probe"]: one["answer"] for one in self.verdicts if one["answer"]}

    @property
    def settings(self) -> dict[str, Any]:
        """The settings block that ``tmibff_discover`` printed, as Python reads it."""
        return settings_in(self.out)


def manage(
    settings: Mapping[str, Any], *arguments: str, env: Mapping[str, str] | None = None
) -> Ended:
    """Run the command of the test project with those settings, without a terminal."""
    done = subprocess.run(
        _command(arguments),
        cwd=PROJECT,
        env=_environment(settings, env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def manage_at_terminal(
    settings: Mapping[str, Any], *arguments: str, typed: str, env: Mapping[str, str] | None = None
) -> Ended:
    """Run the command at a terminal of its own, on which ``typed`` is typed ahead."""
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    process = subprocess.Popen(
        _command(arguments),
        cwd=PROJECT,
        env=_environment(settings, {"TERM": "xterm", **(env or {})}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    # At its end, Linux says EIO.
    with suppress(OSError):
        while piece := os.read(ours, 65536):
            shown += piece
    os.close(ours)
    return Ended(process.wait(TIMEOUT_SECONDS), shown.decode(), "")


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "manage.py", *arguments]


def _environment(settings: Mapping[str, Any], env: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **environment(settings), **(env or {})}
