"""The demo of ``make demo``: the app, its OpenID Provider and an API, on free ports."""

import secrets
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from testproject.demo import PROJECT, SERVERS, Plan, prepare, taken_port
from testproject.idp.accounts import PEOPLE
from tests.real.processes import Server, Startable, answers_http

# None of other servers': it takes seconds to prepare the demo, and only then are its ports in use.
PORTS = range(30000, 32000)


class Demo(Startable):
    """The three servers, each of which can also be stopped and started alone.

    ``plan`` says where they are; ``users`` are the passwords by user name.
    """

    def __init__(self, folder: Path, *, access_token_seconds: int = 60) -> None:
        """Take the folder of all data and logs, and how long access tokens live."""
        self.plan = Plan(folder, free_ports())
        self.users = {person.username: person.password for person in PEOPLE}
        self.app, self.idp, self.api = (self.plan.origin(name) for name in SERVERS)
        lifetime = {"DEMO_ACCESS_TOKEN_SECONDS": str(access_token_seconds)}
        self.servers = {
            name: Server(
                name,
                self.plan.command(name),
                folder=folder,
                ready=lambda name=name: answers_http(self.plan.origin(name)),
                cwd=PROJECT,
                env={**self.plan.environment(name), **lifetime},
            )
            for name in SERVERS
        }

    def start(self) -> None:
        """Prepare the databases, start all, and return when all are ready."""
        prepare(self.plan)
        try:
            for server in self.servers.values():
                server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all."""
        for server in self.servers.values():
            server.stop()

    def stop_idp(self) -> None:
        """Stop the OpenID Provider alone."""
        self.servers["idp"].stop()

    def start_idp(self) -> None:
        """Start the OpenID Provider again, with what it knew."""
        self.servers["idp"].start()

    def let_an_hour_pass_at_the_provider(self) -> None:
        """Let it be an hour since anybody has shown it a password."""
        file = self.plan.folder / "idp.sqlite3"
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("UPDATE auth_user SET last_login = datetime('now', '-1 hour')")

    def withdraw_access_tokens(self) -> None:
        """Let the provider call all access tokens expired; who holds them cannot know."""
        file = self.plan.folder / "idp.sqlite3"
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(
                "UPDATE oauth2_provider_accesstoken SET expires = datetime('now', '-1 hour')"
            )

    def stop_api(self) -> None:
        """Stop the API alone."""
        self.servers["api"].stop()

    def start_api(self) -> None:
        """Start the API again, without the orders that it had in memory."""
        self.servers["api"].start()


class Launcher(Server):
    """``python -m testproject.demo`` itself."""

    def __init__(self, folder: Path, plan: Plan, python: str | Path = sys.executable) -> None:
        """Take the folder of its log, where the demo is to run, and by which Python."""
        super().__init__(
            "demo",
            launch_command(plan, python),
            folder=folder,
            ready=lambda: "Sign in as" in self.log(),
            cwd=PROJECT,
        )

    def signal(self, number: int) -> int:
        """Send it a signal; return its exit status once it has ended."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)


def launch_command(plan: Plan, python: str | Path = sys.executable) -> list[str]:
    """Return the command of the launcher."""
    options = ["--port", str(plan.port), "--folder", str(plan.folder)]
    return [str(python), "-m", "testproject.demo", *options]


def free_ports() -> int:
    """Return the first of as many free ports in a row as the demo has servers."""
    while True:
        port = secrets.choice(PORTS)
        if taken_port(port) is None:
            return port
