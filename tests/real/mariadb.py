"""A MariaDB server of the tests' own, on a free loopback port and in a temporary folder."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pymysql

from tests.real.components import program
from tests.real.processes import Server, Startable, accepts_connections, free_port, run

AS_MYSQL = ("--user=mysql",) if os.geteuid() == 0 else ()


class MariaDB(Startable):
    """A MariaDB server that runs between ``start()`` and ``stop()``, or in a ``with`` block."""

    def __init__(self) -> None:
        """Find MariaDB's programs; raises ``ComponentMissing``."""
        self.port = free_port()
        self._program = program("mariadbd", package="mariadb-server")
        self._install = program("mariadb-install-db", package="mariadb-server")
        self._folder: Path | None = None
        self._server: Server | None = None

    def start(self) -> None:
        """Make an empty database, start the server, return when it takes connections."""
        self._folder = folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
        try:
            if AS_MYSQL:
                shutil.chown(folder, "mysql")
            data = ("--no-defaults", *AS_MYSQL, f"--datadir={folder / 'data'}")
            root = "--auth-root-authentication-method=normal"
            run([self._install, *data, root, "--skip-test-db"])
            self._server = Server(
                "mariadb",
                [self._program, *data, *self._options(folder)],
                folder=folder,
                ready=lambda: accepts_connections(self.port),
            )
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def halt(self) -> None:
        """End the server; its data stay for ``resume``."""
        if self._server is not None:
            self._server.stop()

    def resume(self) -> None:
        """Start the server that was halted."""
        if self._server is not None:
            self._server.start()

    def create_database(self, name: str) -> None:
        """Create an empty database."""
        with pymysql.connect(host="127.0.0.1", port=self.port, user="root") as connection:
            connection.query(f"CREATE DATABASE {name}")

    def stop(self) -> None:
        """End the server and remove its data."""
        if self._server is not None:
            self._server.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
        self._server = self._folder = None

    def settings(self, name: str) -> dict[str, Any]:
        """Return the entry of Django's ``DATABASES`` for the database of that name."""
        return {
            "ENGINE": "tests.real.mysql",
            "HOST": "127.0.0.1",
            "PORT": self.port,
            "USER": "root",
            "NAME": name,
        }

    def _options(self, folder: Path) -> tuple[str, ...]:
        return (
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            f"--socket={folder / 'socket'}",
            "--innodb-flush-log-at-trx-commit=0",
        )
