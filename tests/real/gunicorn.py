"""The test project behind gunicorn: several worker processes, as in production."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.real.processes import Server, answers_http, free_port, run

PROJECT = Path(__file__).resolve().parents[2]


GUNICORN = (
    sys.executable,
    "-m",
    "gunicorn",
    "--worker-class=gthread",
    # All instances on a machine would share one control socket.
    "--no-control-socket",
    # Idle kept-alive connections must not delay the end of a test.
    "--graceful-timeout=1",
)


class Gunicorn(Server):
    """The test project served by gunicorn; its ``origin`` is known before it starts."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        workers: int = 2,
        threads: int = 4,
        env: Mapping[str, str] | None = None,
        project: str = "testproject",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """Take the log's folder and the Django settings laid over the test project's own.

        ``settings`` may be replaced until the start: those of the OpenID Provider are known only
        after it has learned this server's origin. ``env`` comes on top of what they need.
        ``project`` has the modules ``settings`` and ``wsgi``. With a ``certificate``, and its key,
        it is served over https.
        """
        self.port = free_port()
        self.origin = f"{'https' if certificate else 'http'}://localhost:{self.port}"
        self.settings = dict(settings or {})
        self._more_env = dict(env or {})
        self._project = project
        super().__init__(
            "gunicorn",
            [
                *GUNICORN,
                f"{project}.wsgi",
                f"--bind=127.0.0.1:{self.port}",
                f"--workers={workers}",
                f"--threads={threads}",
                *(_tls(*certificate) if certificate else ()),
            ],
            folder=folder,
            ready=lambda: answers_http(f"{self.origin}/"),
            cwd=PROJECT,
        )

    def start(self) -> None:
        """Start the workers with the settings as they are now."""
        self.env = {**environment(self.settings, self._project), **self._more_env}
        super().start()

    def run_with(self, settings: Mapping[str, Any]) -> None:
        """Start with these settings, or anew, unless it runs with them."""
        if self._process is None or self.settings != settings:
            self.stop()
            self.settings = dict(settings)
            self.start()


def _tls(certificate: Path, key: Path) -> list[str]:
    # Browsers connect in advance: if such a connection is closed, the page that needs it fails.
    return [f"--certfile={certificate}", f"--keyfile={key}", "--keep-alive=60"]


def migrate(settings: Mapping[str, Any], project: str = "testproject") -> None:
    """Make the tables of the project in the database that the settings name."""
    run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity=0"],
        cwd=PROJECT,
        env=environment(settings, project),
    )


def environment(settings: Mapping[str, Any], project: str = "testproject") -> dict[str, str]:
    return {
        # pytest-django has set the tests' own settings module in this process's environment.
        "DJANGO_SETTINGS_MODULE": f"{project}.settings",
        "TESTPROJECT_SETTINGS": json.dumps(settings),
    }
