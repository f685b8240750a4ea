"""The servers that all contestants share, and the Django sites that run on them."""

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.site.usual import (
    ALLAUTHS_APPS,
    ALLAUTHS_MIDDLEWARE,
    DJANGOS_APPS,
    DJANGOS_MIDDLEWARE,
)
from tests.real.gunicorn import PROJECT as ROOT
from tests.real.gunicorn import Gunicorn, environment
from tests.real.postgresql import PostgreSQL
from tests.real.processes import Server, Startable, answers_http, free_port, run
from tests.real.redis import Redis

PROJECT = "benchmarks.site"
THREADS = 4

REDIS_SESSIONS = {"SESSION_ENGINE": "django.contrib.sessions.backends.cache"}
DATABASE_SESSIONS = {"SESSION_ENGINE": "django.contrib.sessions.backends.db"}
OUR_BACKEND = "django_tmibff.backends.OIDCAuthenticationBackend"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
MOZILLAS_BACKEND = "mozilla_django_oidc.auth.OIDCAuthenticationBackend"

UUID_USERS = {"AUTH_USER_MODEL": "users.Member"}


def apps(*more: str) -> list[str]:
    """Return the apps of ``startproject``, and these."""
    return [*DJANGOS_APPS, *more]


class World(Startable):
    """PostgreSQL, with one database for each model of users, and Redis."""

    def __init__(self, folder: Path) -> None:
        """Find the programs; raises ``ComponentMissing``."""
        self.folder = folder
        # Each thread of each site keeps a connection.
        self.postgresql = PostgreSQL("max_connections=500", "autovacuum=off")
        self.redis = Redis(folder)
        self._running = ExitStack()

    def start(self) -> None:
        """Start both, and make the tables."""
        with ExitStack() as running:
            running.enter_context(self.postgresql)
            running.enter_context(self.redis)
            with_allauth = {
                "INSTALLED_APPS": apps("django_tmibff", *ALLAUTHS_APPS),
                "MIDDLEWARE": [*DJANGOS_MIDDLEWARE, ALLAUTHS_MIDDLEWARE],
            }
            self.add_database("bench", with_allauth)
            uuid_apps = apps("tests.users", "django_tmibff")
            self.add_database("uuid", {**UUID_USERS, "INSTALLED_APPS": uuid_apps})
            self._running = running.pop_all()

    def stop(self) -> None:
        """End both."""
        self._running.close()

    @property
    def pids(self) -> tuple[int, int]:
        """The processes that all of both servers' come from."""
        return self.postgresql.pid, self.redis.pid

    def add_database(self, name: str, settings: Mapping[str, Any]) -> None:
        """Make a database, and the tables that these settings need."""
        self.postgresql.create_database(name)
        settings = {**self.settings(name), "ROOT_URLCONF": "benchmarks.site.floor", **settings}
        run(
            [sys.executable, "manage.py", "migrate", "--run-syncdb", "--no-input", "--verbosity=0"],
            cwd=ROOT,
            env=environment(settings, PROJECT),
        )

    def settings(self, database: str = "bench") -> dict[str, Any]:
        """Return the settings with which a site uses these servers, and keeps its connections."""
        kept = {"CONN_MAX_AGE": None, **self.postgresql.settings(database)}
        return {"DATABASES": {"default": kept}, "CACHES": self.redis.settings()}


class Site(Startable):
    """A Django site: ``benchmarks.site``, with the paths of one of its modules."""

    def __init__(self, world: World, paths: str, settings: Mapping[str, Any]) -> None:
        """Take the module's name, and what is laid over the settings of ``benchmarks.site``."""
        self._world = world
        self.settings = {
            **world.settings("uuid" if "AUTH_USER_MODEL" in settings else "bench"),
            "ROOT_URLCONF": f"benchmarks.site.{paths}",
            **settings,
        }
        self._server: Gunicorn | Uvicorn = self.server(world.folder)

    def server(self, folder: Path) -> "Gunicorn | Uvicorn":
        """Return what serves the site."""
        return Gunicorn(folder, self.settings, workers=1, threads=THREADS, project=PROJECT)

    @property
    def origin(self) -> str:
        """Where it answers."""
        return self._server.origin.replace("localhost", "127.0.0.1")

    @property
    def pid(self) -> int:
        """The process that all others of the site come from."""
        return self._server.pid

    def start(self) -> None:
        """Start it."""
        self._server.start()

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def sign_in(self, *numbers: int) -> list[str]:
        """Make a session for each number, with that many tokens; return their cookies."""
        command = [sys.executable, "-m", "benchmarks.site.prepare", *map(str, numbers)]
        printed = run(command, cwd=ROOT, env=environment(self.settings, PROJECT))
        return printed.splitlines()[-len(numbers) :]


class AsgiSite(Site):
    """A Django site that an ASGI server serves."""

    def server(self, folder: Path) -> "Uvicorn":
        """Return what serves the site."""
        return Uvicorn(folder, self.settings)


class Uvicorn(Server):
    """A Django site on uvicorn, in one process."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Take the log's folder and the settings."""
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        super().__init__(
            "uvicorn",
            [
                *(sys.executable, "-m", "uvicorn", f"{PROJECT}.asgi:application"),
                *("--host=127.0.0.1", f"--port={port}", "--no-access-log", "--lifespan=off"),
            ],
            folder=folder,
            ready=lambda: answers_http(f"{self.origin}/"),
            cwd=ROOT,
            env=environment(settings, PROJECT),
        )


def bff(
    world: World,
    store: str,
    sessions: Mapping[str, str],
    *,
    uuid: bool = False,
    settings: Mapping[str, Any] | None = None,
    kind: type[Site] = Site,
) -> Site:
    """Return a site with this app."""
    backend = "tests.users.backends.MemberBackend" if uuid else OUR_BACKEND
    users = ["tests.users"] if uuid else []
    return kind(
        world,
        "bff",
        {
            "INSTALLED_APPS": apps(*users, "mozilla_django_oidc", "django_tmibff"),
            "AUTHENTICATION_BACKENDS": [backend, MODEL_BACKEND],
            "TMIBFF_STORE": f"django_tmibff.stores.{store}",
            **sessions,
            **(UUID_USERS if uuid else {}),
            **(settings or {}),
        },
    )
