"""Asks each scenario again and again, in one process, for valgrind to count.

``python -m benchmarks.instructions.driver FOLDER COOKIE``: writes the file ``ready`` there, waits
for ``go``, and writes ``done``.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from benchmarks.instructions.scenarios import REQUESTS, SCENARIOS
from benchmarks.load import HEADERS

WARM_UPS = 3
POLL_SECONDS = 0.01


def main(folder: Path, cookie: str) -> None:
    """Ask everything."""
    import django

    django.setup()
    from django.core.handlers.wsgi import WSGIHandler
    from django.test.utils import override_settings

    (folder / "ready").touch()
    while not (folder / "go").exists():
        time.sleep(POLL_SECONDS)
    for path, settings in SCENARIOS.values():
        with override_settings(**settings):
            ask(WSGIHandler(), environ(path, cookie))
    (folder / "done").touch()


def ask(application: Any, sent: Mapping[str, Any]) -> None:
    """Ask until all is warm, and then for what is counted, between two calls of ``getppid``."""
    for _ in range(WARM_UPS):
        answer(application, sent)
    os.getppid()
    for _ in range(REQUESTS):
        answer(application, sent)
    os.getppid()


def answer(application: Any, sent: Mapping[str, Any]) -> None:
    """Let the application answer as a server would."""

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        assert status == "200 OK", status

    response = application(dict(sent), start_response)
    b"".join(response)
    response.close()


def environ(path: str, cookie: str) -> dict[str, Any]:
    """Return the environment of a page's request (PEP 3333)."""
    sent = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in HEADERS.items()}
    made = {**sent, "PATH_INFO": path, "HTTP_HOST": "127.0.0.1", "HTTP_COOKIE": cookie}
    setup_testing_defaults(made)
    return made


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
