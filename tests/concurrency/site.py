"""The app as it runs in production: gunicorn, a database, a cache, and its authorization server."""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.concurrency import client, kills
from tests.concurrency.client import Session
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.mariadb import MariaDB
from tests.real.postgresql import PostgreSQL
from tests.real.processes import Startable
from tests.real.redis import Redis, RedisBehindSentinel
from tests.real.strict_server import StrictServer

PROJECT = "tests.concurrency"
WORKERS = 4
THREADS = 8

# A renewal is due after 2 seconds, and the token counts as expired a second later.
TOKEN_SECONDS = 4
MARGIN_SECONDS = 2
SECONDS_UNTIL_DUE = TOKEN_SECONDS - MARGIN_SECONDS

# Who writes waits for whoever else does, and with so many longer than Django's 5 seconds.
SQLITE = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": {"timeout": 20}}

# What gunicorn and Django log of an exception that nobody has handled.
UNHANDLED = (
    "Internal Server Error",
    "Error handling request",
    "Exception in worker process",
    "Exception in thread",
)


@dataclass(frozen=True)
class Setup:
    """What a site is made of; ``can_be_killed``: its workers know the points in ``kills``."""

    database: str
    store: str
    hosts: int = 1
    sentinel: bool = False
    can_be_killed: bool = False


class Site(Startable):
    """All servers of one ``Setup``."""

    def __init__(self, setup: Setup) -> None:
        """Choose the servers; raises ``ComponentMissing``."""
        self.setup = setup
        self.authorization_server = StrictServer()
        self._running = ExitStack()
        self._folder = Path()
        self.hosts: list[Gunicorn] = []
        self.database: PostgreSQL | MariaDB | None = None
        self.redis: Redis | RedisBehindSentinel | None = None

    def start(self) -> None:
        """Start all servers, the application's last."""
        with ExitStack() as running:
            self._folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
            running.enter_context(self.authorization_server)
            settings = {
                **self.authorization_server.django_settings(),
                **self._databases(running),
                **self._caches(running),
                "TMIBFF_STORE": f"django_tmibff.stores.{self.setup.store}",
                "TMIBFF_REFRESH_MARGIN": MARGIN_SECONDS,
                "TMIBFF_AS_CALLS_PER_MINUTE": 60,
                **({"TMIBFF_AS_TIMEOUT": 3} if self.setup.can_be_killed else {}),
            }
            migrate(settings, PROJECT)
            for _ in range(self.setup.hosts):
                self.hosts.append(running.enter_context(self._host(settings)))
            self._running = running.pop_all()

    def stop(self) -> None:
        """End all servers."""
        self._running.close()

    def sign_in(self, count: int) -> list[Session]:
        """Sign that many users in."""
        with ThreadPoolExecutor(WORKERS) as people:
            return list(people.map(self._new_session, range(count)))

    def sign_in_again(self, session: Session, family: int) -> None:
        """Replace the tokens that a session has of that sign-in by those of a new one."""
        with session.signing_in:
            if session.family != family:
                return  # Somebody was faster.
            tokens = self.authorization_server.new_family(TOKEN_SECONDS)
            if client.sign_in(self.origin(session.number), session, tokens):
                found = self.authorization_server.family_of(tokens["access_token"])
                session.family = found or family
                session.signed_in_at = time.monotonic()

    def origin(self, number: int) -> str:
        """Return a host's origin; whoever counts upwards gets to all hosts in turn."""
        return self.hosts[number % len(self.hosts)].origin

    def kill_worker(self, point: str) -> set[str]:
        """Let a worker die at that point; return the handles whose answer it had not saved."""
        return kills.kill(self._folder / "kill", point)

    def exceptions(self) -> int:
        """Return how many exceptions nobody has handled, by the servers' logs."""
        return sum(host.log().count(text) for host in self.hosts for text in UNHANDLED)

    def logs(self) -> str:
        """Return what the servers have printed."""
        return "\n".join(host.log() for host in self.hosts)

    def _new_session(self, number: int) -> Session:
        session = Session(number)
        self.sign_in_again(session, session.family)
        if not session.family:
            raise RuntimeError(f"A sign-in failed.\n{self.logs()}")
        return session

    def _databases(self, running: ExitStack) -> dict[str, Any]:
        if self.setup.database == "sqlite":
            file = str(self._folder / "db.sqlite3")
            return {"DATABASES": {"default": {**SQLITE, "NAME": file}}}
        vendors: dict[str, Callable[[], PostgreSQL | MariaDB]] = {
            "postgresql": PostgreSQL,
            "mariadb": MariaDB,
        }
        self.database = running.enter_context(vendors[self.setup.database]())
        self.database.create_database("bench")
        persistent = {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
        return {"DATABASES": {"default": {**self.database.settings("bench"), **persistent}}}

    def _caches(self, running: ExitStack) -> dict[str, Any]:
        if self.setup.store == "db":
            return {}
        kind = RedisBehindSentinel if self.setup.sentinel else Redis
        self.redis = running.enter_context(kind(self._folder))
        return {"CACHES": self.redis.settings()}

    def _host(self, settings: dict[str, Any]) -> Gunicorn:
        env = {}
        if self.setup.can_be_killed:
            points = self._folder / "kill"
            points.mkdir(exist_ok=True)
            env["KILL_POINTS"] = str(points)
        return Gunicorn(
            self._folder, settings, workers=WORKERS, threads=THREADS, env=env, project=PROJECT
        )
