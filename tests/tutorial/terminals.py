"""A reader's terminals: shells that remember their folder and environment, and what runs there."""

import os
import re
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from tests.real.processes import Server, answers_http, run, wait_until
from tests.tutorial.steps import TutorialError

# What Django finds there differs from version to version, and some of it is an error.
MAY_FAIL = "python manage.py check --deploy"

_RUNSERVER = re.compile(r"^python manage\.py runserver (?P<address>[\w.:]+)$")
_RELOADED = "Quit the server with"
# What tests, and the virtual environment that they run in, would tell the reader's programs.
_OURS = re.compile(r"DJANGO_|TEST|PYTHON(?!UNBUFFERED)|PYTEST|VIRTUAL_ENV|COV")
SECONDS = 30


def environment(python: Path) -> dict[str, str]:
    """Return what a reader's terminal has beside our own: its ``python3`` is that one."""
    return {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        # As on a terminal, where each line is seen at once.
        "PYTHONUNBUFFERED": "1",
        # A proxy from the environment could not reach this machine's loopback.
        "NO_PROXY": "localhost,127.0.0.1",
        # Its notice comes and goes with pip's releases.
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


class Terminal:
    """A shell that was opened in ``folder``."""

    def __init__(self, folder: Path, state: Path, variables: Mapping[str, str]) -> None:
        """Open it; ``state`` is a folder for what it remembers."""
        self.server: Server | None = None
        self._url = ""
        self._variables = variables
        self._state = state
        state.mkdir()
        (state / "variables").write_text("")
        (state / "folder").write_text(f"{folder}\n")

    @property
    def folder(self) -> Path:
        """Where the shell is."""
        return Path((self._state / "folder").read_text().removesuffix("\n"))

    def run(self, commands: str) -> str:
        """Run the commands, up to the first that fails; return what they printed.

        A server that is the last of them goes on. Raises ``TutorialError``.
        """
        if self.server is not None:
            raise TutorialError("a server runs in this terminal")
        *lines, last = commands.splitlines()
        served = _RUNSERVER.match(last)
        printed = self._run(lines if served else [*lines, last])
        return f"{printed}{self._serve(last, served['address'])}" if served else printed

    def wrote(self, file: Path) -> bool:
        """Return whether the server here has that file in its project, and starts anew for it."""
        return self.server is not None and self.folder in file.parents and file.suffix == ".py"

    def starts(self) -> int:
        """Return how often the server has started."""
        return self._running().log().count(_RELOADED)

    def wait_for_start(self, times: int) -> None:
        """Return when the server has started more than so many times."""
        wait_until(
            lambda: self.starts() > times and answers_http(self._url),
            SECONDS,
            "the server has seen the change",
        )

    def log(self) -> str:
        """Return what the server here has printed."""
        return self._running().log()

    def close(self) -> None:
        """End what runs here."""
        if self.server is not None:
            self.server.stop()

    def _running(self) -> Server:
        if self.server is None:
            raise TutorialError("no server runs in this terminal")
        return self.server

    def _run(self, lines: list[str]) -> str:
        commands = [line for line in lines if line]
        script = ["set -e", *(f"{one} || true" if one == MAY_FAIL else one for one in commands)]
        try:
            return run(self._bash("\n".join(script)), env=self._variables)
        except RuntimeError as error:
            raise TutorialError(f"a command failed: {error}") from error

    def _serve(self, command: str, address: str) -> str:
        host, _, port = address.rpartition(":")
        self._url = url = f"http://{host or '127.0.0.1'}:{port}"
        if answers_http(url):
            raise TutorialError(f"port {port} is taken")
        self.server = Server(
            f"port-{port}",
            self._bash(f"exec {command}"),
            folder=self._state,
            ready=lambda: answers_http(url),
            env=self._variables,
        )
        try:
            self.server.start()
        except RuntimeError as error:
            raise TutorialError(str(error)) from error
        return self.server.log()

    def _bash(self, script: str) -> list[str]:
        """Return the command that goes on where the last one was, and remembers where it ends."""
        forget = [("-u", name) for name in os.environ if _OURS.match(name)]
        go_on = f'. "{self._state}/variables"\ncd "$(cat "{self._state}/folder")"'
        remember = f'pwd > "{self._state}/folder"; export -p > "{self._state}/variables"'
        shell = ["bash", "-c", f"{go_on}\ntrap '{remember}' EXIT\n{script}"]
        return ["env", *chain.from_iterable(forget), *shell]
