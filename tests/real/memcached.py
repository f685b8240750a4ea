"""A memcached server of the tests' own, on a free loopback port."""

from pathlib import Path
from typing import Any

from tests.real.components import program
from tests.real.processes import Server, accepts_connections, free_port


class Memcached(Server):
    """A memcached server; it may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        """Take the log's folder; raises ``ComponentMissing``."""
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        # It refuses to run as root without being told as whom.
        super().__init__(
            "memcached",
            [program("memcached"), "-p", str(self.port), "-l", "127.0.0.1", "-u", "nobody"],
            folder=folder,
            ready=lambda: accepts_connections(self.port),
        )

    def settings(self) -> dict[str, Any]:
        """Return Django's ``CACHES`` with this server."""
        backend = "django.core.cache.backends.memcached.PyMemcacheCache"
        return {"default": {"BACKEND": backend, "LOCATION": self.address}}
