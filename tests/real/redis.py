"""A Redis server of the tests' own, on a free loopback port."""

from pathlib import Path
from typing import Any

from tests.real.components import program
from tests.real.processes import Server, accepts_connections, free_port


class Redis(Server):
    """A Redis server that keeps nothing on disk; it may be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        """Take the log's folder; raises ``ComponentMissing``."""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        super().__init__(
            "redis",
            [program("redis-server"), "--port", str(self.port), *options],
            folder=folder,
            ready=lambda: accepts_connections(self.port),
            cwd=folder,
        )

    def settings(self) -> dict[str, Any]:
        """Return Django's ``CACHES`` with this server."""
        return {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": self.url}}
