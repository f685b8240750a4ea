"""A PostgreSQL server of the tests' own, on a free loopback port and in a temporary folder."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.real.components import postgresql_binaries
from tests.real.processes import Startable, free_port, run

INITDB_OPTIONS = ("--encoding", "UTF8", "--locale", "C", "--no-sync")


class PostgreSQL(Startable):
    """A PostgreSQL server that runs between ``start()`` and ``stop()``, or in a ``with`` block."""

    def __init__(self, *options: str) -> None:
        """Find PostgreSQL's programs; raises ``ComponentMissing``. Options: ``name=value``."""
        self.port = free_port()
        self._more_options = options
        self._binaries = postgresql_binaries()
        self._folder: Path | None = None

    @property
    def pid(self) -> int:
        """The id of the process that all others come from, while it runs."""
        assert self._folder is not None
        return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Make an empty cluster, start it, return when it takes connections."""
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        try:
            if os.geteuid() == 0:
                shutil.chown(self._folder, "postgres")
            self._run("initdb", "-D", "data", "-A", "trust", "-U", "postgres", *INITDB_OPTIONS)
            self.resume()
        except BaseException as error:
            error.add_note(self._log())
            self.stop()
            raise

    def stop(self) -> None:
        """End the server at once and remove its data."""
        folder, self._folder = self._folder, None
        if folder is None:
            return
        if (folder / "data" / "postmaster.pid").exists():
            self._halt(folder)
        shutil.rmtree(folder)

    def halt(self) -> None:
        """End the server at once; its data stay for ``resume``."""
        self._halt(self._folder)

    def resume(self) -> None:
        """Start the server that was halted."""
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", self._options())

    def restart(self) -> None:
        """Hang up on everybody, and return when it takes connections again."""
        self._run("pg_ctl", "restart", "-w", "-D", "data", "-m", "fast", "-l", "log")

    def create_database(self, name: str) -> None:
        """Create an empty database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name)

    def settings(self, name: str) -> dict[str, Any]:
        """Return the entry of Django's ``DATABASES`` for the database of that name."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": self.port,
            "USER": "postgres",
            "NAME": name,
        }

    def _halt(self, folder: Path | None) -> None:
        self._run("pg_ctl", "stop", "-w", "-D", "data", "-m", "immediate", folder=folder)

    def _log(self) -> str:
        log = self._folder / "log" if self._folder else None
        return log.read_text(errors="replace") if log and log.exists() else ""

    def _options(self) -> str:
        always = (
            "listen_addresses=127.0.0.1",
            "fsync=off",
            f"unix_socket_directories={self._folder}",
        )
        options = [f"-c {one}" for one in (*always, *self._more_options)]
        return " ".join([f"-p {self.port}", *options])

    def _run(self, program: str, *arguments: str, folder: Path | None = None) -> None:
        # PostgreSQL refuses to run as root.
        as_user = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        run([*as_user, str(self._binaries / program), *arguments], cwd=folder or self._folder)
