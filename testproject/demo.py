"""The demo: the app, its OpenID Provider and an API, each a server of its own on this machine.

``make demo``, or ``python -m testproject.demo``; Ctrl-C ends all three.
"""

import argparse
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testproject.idp.accounts import APP, PEOPLE
from testproject.prepare import OPERATOR, PASSWORD

PROJECT = Path(__file__).resolve().parent.parent
SERVERS = ("app", "idp", "api")
WSGI = {
    "app": "testproject.demo_wsgi",
    "idp": "testproject.idp.wsgi",
    "api": "testproject.api.wsgi",
}
SETTINGS = {
    "app": "testproject.settings",
    "idp": "testproject.idp.settings",
    "api": "testproject.api.settings",
}
PREPARATIONS = {
    "app": ("-m", "testproject.prepare"),
    "idp": ("-m", "testproject.idp.prepare"),
}
SCOPES = "openid email profile orders:read orders:write"
# Not granted at sign-in: whoever wants to cancel orders is asked then.
MORE_SCOPES = ["orders:cancel"]
# Parts of the API for which there are tokens of their own: they work nowhere else.
RESOURCES = ["/orders", "/cancellation"]

GUNICORN = (
    "--worker-class=gthread",
    "--workers=1",
    "--threads=8",
    # All instances on a machine would share one control socket.
    "--no-control-socket",
    # A browser's idle connections must not delay the end.
    "--graceful-timeout=1",
    "--log-level=warning",
    "--access-logfile=-",
    # The path without the query, in which there may be an authorization code.
    "--access-logformat=%(m)s %(U)s %(s)s",
)
# What the app does with its tokens; each refused request is in the access log already.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "django_tmibff": {"handlers": ["console"], "level": "INFO"},
        "django.request": {"level": "ERROR"},
    },
}

POLL_SECONDS = 0.05
START_SECONDS = 60.0
STOP_SECONDS = 5.0
COLOURS = {"app": "\033[36m", "idp": "\033[35m", "api": "\033[33m"}
COLOUR_OFF = "\033[0m"


class DemoError(Exception):
    """Why the demo does not run, in words for whoever started it."""


class Interrupted(Exception):
    """Somebody wants the demo to end."""


@dataclass(frozen=True)
class Plan:
    """Where everything is: the folder of all data, and three ports from ``port`` on."""

    folder: Path
    port: int

    def port_of(self, server: str) -> int:
        """Return the port of ``app``, ``idp`` or ``api``."""
        return self.port + SERVERS.index(server)

    def origin(self, server: str) -> str:
        """Return the origin of ``app``, ``idp`` or ``api``."""
        return f"http://localhost:{self.port_of(server)}"

    @property
    def provider_stopped(self) -> Path:
        """The file that is there while the OpenID Provider is to be stopped."""
        return self.folder / "provider-stopped"

    def command(self, server: str) -> list[str]:
        """Return the command that runs the server."""
        bind = f"--bind=127.0.0.1:{self.port_of(server)}"
        return [sys.executable, "-m", "gunicorn", f"{WSGI[server]}:application", bind, *GUNICORN]

    def environment(self, server: str) -> dict[str, str]:
        """Return the variables that make the server this demo's."""
        not_proxied = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        no_proxy = ",".join(filter(None, [not_proxied, "localhost", "127.0.0.1"]))
        return {
            "DJANGO_SETTINGS_MODULE": SETTINGS[server],
            "TESTPROJECT_SETTINGS": json.dumps(self.app_settings()),
            "DEMO_FOLDER": str(self.folder),
            "DEMO_APP": self.origin("app"),
            "DEMO_IDP": self.origin("idp"),
            "DEMO_API": self.origin("api"),
            # A proxy could not reach this machine's loopback.
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }

    def app_settings(self) -> dict[str, Any]:
        """Return the Django settings that make the test project the demo's app."""
        idp = self.origin("idp")
        return {
            "OIDC_OP_ISSUER": idp,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{idp}/authorize/",
            "OIDC_OP_TOKEN_ENDPOINT": f"{idp}/token/",
            "OIDC_OP_USER_ENDPOINT": f"{idp}/userinfo/",
            "OIDC_OP_JWKS_ENDPOINT": f"{idp}/.well-known/jwks.json",
            "OIDC_OP_REVOCATION_ENDPOINT": f"{idp}/revoke/",
            "OIDC_OP_END_SESSION_ENDPOINT": f"{idp}/sign-out/",
            "OIDC_OP_LOGOUT_URL_METHOD": "testproject.views.end_session_url",
            "OIDC_USERNAME_ALGO": "testproject.views.username",
            "OIDC_RP_CLIENT_ID": APP.client_id,
            "OIDC_RP_CLIENT_SECRET": APP.secret,
            "OIDC_RP_SCOPES": SCOPES,
            "TMIBFF_SCOPES": MORE_SCOPES,
            "TMIBFF_RESOURCES": [self.origin("api") + path for path in RESOURCES],
            "TMIBFF_ORIGINS": [self.origin("api")],
            "DEMO_API": self.origin("api"),
            # Another origin: it has none of the app's cookies, nor its key.
            "DEMO_THIEF": self.origin("app").replace("localhost", "127.0.0.1"),
            "DEMO_PROVIDER_STOPPED": str(self.provider_stopped),
            # Cookies ignore ports: the provider on the same host has its own.
            "SESSION_COOKIE_NAME": "app_sessionid",
            "CSRF_COOKIE_NAME": "app_csrftoken",
            "DATABASES": {"default": _database(self.folder / "app.sqlite3")},
            "LOGGING": LOGGING,
        }


def prepare(plan: Plan, go_on: Callable[[], None] = lambda: None) -> None:
    """Bring both databases up to date; ``go_on`` is called meanwhile and may raise.

    Raises ``DemoError`` with what was printed when one fails.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    started: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, arguments in PREPARATIONS.items():
            command = [sys.executable, *arguments]
            started[name] = _start(command, plan.environment(name))
        # What they print is little: it waits in the pipe until they have ended.
        while any(process.poll() is None for process in started.values()):
            go_on()
            time.sleep(POLL_SECONDS)
        for name, process in started.items():
            if process.returncode:
                raise DemoError(f"{name} could not be prepared.\n{_output(process).read()}")
    finally:
        _stop(started.values())
        for process in started.values():
            _output(process).close()


def taken_port(port: int) -> int | None:
    """Return the first of the three ports that is not free, ``None`` when all are.

    Raises ``DemoError`` for a port that only root may use.
    """
    return next((one for one in range(port, port + len(SERVERS)) if _is_taken(one)), None)


class Running:
    """The three servers, their ``processes`` by name, and their logs on standard output."""

    def __init__(self, plan: Plan) -> None:
        """Start nothing yet."""
        self._plan = plan
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._silent = list(SERVERS)

    def start(self) -> None:
        """Start all; return at once."""
        for name in SERVERS:
            self._start(name)

    def _start(self, name: str) -> None:
        process = _start(self._plan.command(name), self._plan.environment(name))
        self.processes[name] = process
        reader = threading.Thread(target=_print_log, args=[name, process], daemon=True)
        self._readers.append(reader)
        reader.start()

    def stop_or_start_provider(self) -> None:
        """Let the OpenID Provider run, or not, as the demo's page wants it."""
        is_wanted = not self._plan.provider_stopped.exists()
        if is_wanted and "idp" not in self.processes:
            self._start("idp")
        elif not is_wanted and "idp" in self.processes:
            _stop([self.processes.pop("idp")])

    def check(self) -> None:
        """Raise ``DemoError`` when one has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise DemoError(f"{name} ended with status {process.returncode}; so all stop.")

    def are_ready(self) -> bool:
        """Return whether all have answered."""
        self._silent = [name for name in self._silent if not _answers(self._plan.port_of(name))]
        return not self._silent

    def stop(self) -> None:
        """End all, and return when nothing of them is left."""
        _stop(self.processes.values())
        for reader in self._readers:
            reader.join(STOP_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until somebody ends it; return the exit status."""
    options = _options(arguments)
    plan = Plan(options.folder.resolve(), options.port)
    # A flag, not an exception: that could fall between a process's start and our knowing of it.
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: signals.append(number))

    def go_on() -> None:
        if signals:
            raise Interrupted

    try:
        _run(plan, go_on)
    except DemoError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Interrupted:
        _say("\nThe demo has ended.\n")
    return 0


def _run(plan: Plan, go_on: Callable[[], None]) -> None:
    _check_ports(plan.port)
    with _folder_of_our_own(plan.folder):
        prepare(plan, go_on)
        plan.provider_stopped.unlink(missing_ok=True)
        running = Running(plan)
        try:
            running.start()
            _wait_until_ready(running, go_on)
            _say(_welcome(plan))
            while True:
                go_on()
                running.stop_or_start_provider()
                running.check()
                time.sleep(POLL_SECONDS)
        finally:
            running.stop()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m testproject.demo", description=__doc__)
    parser.add_argument("--port", type=_port, default=8000, help="the first of three (8000)")
    parser.add_argument(
        "--folder", type=Path, default=PROJECT / ".demo", help="where all data goes (.demo)"
    )
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    last = 65536 - len(SERVERS)
    if not text.isdecimal() or not 1 <= int(text) <= last:
        raise argparse.ArgumentTypeError(f"a number from 1 to {last}")
    return int(text)


def _welcome(plan: Plan) -> str:
    people = " or ".join(f"{person.username} (password {person.password})" for person in PEOPLE)
    return (
        f"\nThe demo is at {plan.origin('app')} - Ctrl-C ends it.\nSign in as {people}.\n"
        f"Its admin is at {plan.origin('app')}/admin/, for {OPERATOR} (password {PASSWORD}).\n\n"
    )


def _check_ports(port: int) -> None:
    taken = taken_port(port)
    if taken is None:
        return
    free = next((other for other in range(9000, 65000, 10) if taken_port(other) is None), 9000)
    raise DemoError(f"Port {taken} is taken. Use others: make demo PORT={free}")


def _is_taken(port: int) -> bool:
    """Return whether somebody listens there; raise ``DemoError`` if we may not."""
    # Browsers try ::1 first, and some systems let us bind beside a listener on all addresses.
    if _accepts(socket.AF_INET, "127.0.0.1", port) or _accepts(socket.AF_INET6, "::1", port):
        return True
    with socket.socket() as listener:
        # As gunicorn does: connections that have just ended are no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise DemoError(f"Port {port} needs root. Use others: make demo PORT=9000") from error
        except OSError:
            return True
    return False


def _accepts(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family) as client:
            client.settimeout(1)
            return client.connect_ex((address, port)) == 0
    except OSError:
        # There is no IPv6 here.
        return False


@contextmanager
def _folder_of_our_own(folder: Path) -> Iterator[None]:
    """Keep a second demo out of the folder: it would register other addresses for the app."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DemoError(f"Another demo is running, with its data in {folder}.") from error
        yield


def _wait_until_ready(running: Running, go_on: Callable[[], None]) -> None:
    gives_up_at = time.monotonic() + START_SECONDS
    while not running.are_ready():
        go_on()
        running.check()
        if time.monotonic() > gives_up_at:
            raise DemoError(f"The servers do not answer after {START_SECONDS:.0f} seconds.")
        time.sleep(POLL_SECONDS)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command in a group of its own: the terminal's Ctrl-C reaches only us."""
    return subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
        command,
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        process_group=0,
    )


def _stop(processes: Collection[subprocess.Popen[str]]) -> None:
    """End the processes and what they have started: ask all first, then kill."""
    for process in processes:
        process.terminate()
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _output(process: subprocess.Popen[str]) -> Any:
    return process.stdout


def _print_log(name: str, process: subprocess.Popen[str]) -> None:
    """Print the server's log, its name before each line, until it has ended."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    start = f"{COLOURS[name]}{name} |{COLOUR_OFF} " if coloured else f"{name} | "
    with _output(process) as log:
        for line in log:
            _say(f"{start}{line.rstrip()}\n")


def _say(text: str) -> None:
    # Whoever reads us may be gone; the servers' own pipes must still be emptied.
    with suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()


def _database(file: Path) -> dict[str, Any]:
    # Those who read first and write then would get "database is locked" from each other.
    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "OPTIONS": options}


if __name__ == "__main__":
    sys.exit(main())
