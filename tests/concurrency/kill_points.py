"""Where a worker kills itself, as ``kill -9`` would, when a file says so.

The bench puts a file with the name of a point into a folder; the first worker that comes to that
point takes it, leaves a report in its place and dies. None of this is part of the product.
"""

import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from django_tmibff import renewal, resource_requests, vault
from django_tmibff.models import TokenSetManager
from tests.concurrency.kills import ANSWERED, BEFORE_CALL, HALF_SENT, SAVED, SENT

# A crash costs a lease's time, of which these are the most: the bench has less patience.
SAVE_SECONDS = MARGIN_SECONDS = 1.0


def install(folder: Path) -> None:
    """Watch for the points in this process."""
    renewal.SAVE_SECONDS, renewal._MARGIN_SECONDS = SAVE_SECONDS, MARGIN_SECONDS
    points = _KillPoints(folder)
    _wrap(TokenSetManager, "take_lease", points.take_lease)
    _wrap(TokenSetManager, "release_lease", points.release_lease)
    _wrap(resource_requests, "send", points.ask)
    _wrap(vault, "save", points.save)
    _wrap(http.client.HTTPConnection, "send", points.send)
    _wrap(http.client.HTTPConnection, "getresponse", points.getresponse)


def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        return around(original, *arguments, **options)

    setattr(owner, name, wrapped)


class _KillPoints:
    """Knows what this process is renewing.

    ``_unsaved`` holds the handles whose request has gone out and whose answer is not saved yet: a
    crash costs those, whichever thread it comes from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unsaved: set[str] = set()
        self._thread = threading.local()
        self._lock = threading.Lock()

    def take_lease(self, original: Any, manager: Any, handle: str, *arguments: Any) -> Any:
        self._thread.handle = handle
        return original(manager, handle, *arguments)

    def release_lease(self, original: Any, manager: Any, handle: str, *arguments: Any) -> Any:
        # The cache's store writes the cache, then gives the lease back: that is within ``save``.
        if handle in self._unsaved:
            self._unsaved.discard(handle)
            self._die_at(SAVED)
        return original(manager, handle, *arguments)

    def ask(self, original: Any, *arguments: Any, **options: Any) -> Any:
        self._die_at(BEFORE_CALL)
        try:
            response = original(*arguments, **options)
        except Exception:
            self._unsaved.discard(self._thread.handle)
            raise
        self._die_at(ANSWERED)
        return response

    def send(self, original: Any, connection: Any, data: Any) -> Any:
        if bytes(data).startswith(b"grant_type=refresh_token"):
            self._die_at(HALF_SENT)  # The headers have gone out, the body has not.
            with self._lock:
                self._unsaved.add(self._thread.handle)
        return original(connection, data)

    def getresponse(self, original: Any, connection: Any) -> Any:
        if getattr(self._thread, "handle", None) in self._unsaved:
            self._die_at(SENT)
        return original(connection)

    def save(self, original: Any, contents: Any, **options: Any) -> Any:
        saved = original(contents, **options)
        if saved and contents.handle in self._unsaved:
            self._unsaved.discard(contents.handle)
            self._die_at(SAVED)
        return saved

    def _die_at(self, point: str) -> None:
        # Nobody may send a request after the report was written.
        with suppress(FileNotFoundError), self._lock:
            taken = self._folder / f"{point}.{os.getpid()}"
            (self._folder / point).rename(taken)
            taken.write_text(json.dumps({"unsaved": sorted(self._unsaved)}))
            taken.rename(self._folder / f"{point}.dead")
            os.kill(os.getpid(), signal.SIGKILL)
