"""A site, or an API, that answers each path as a test tells it to, and remembers who asked."""

import json
import mimetypes
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.real.raw_server import RawServer, http

# Longer than any test waits.
PATIENCE_SECONDS = 30
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT",
    "Access-Control-Allow-Headers": "authorization, content-type, dpop",
}


@dataclass(frozen=True)
class Request:
    """What a browser has sent."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is sent back: bytes, or JSON. ``held``: not before that is set."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    held: threading.Event | None = None


class ScriptedServer(RawServer):
    """Answers ``answers[path]`` in that order, the last one again and again; else 404.

    ``headers`` go with every answer.
    """

    def __init__(self, host: str = "localhost", headers: Mapping[str, str] | None = None) -> None:
        """Listen on a free port; ``host``: the name of loopback that is its origin's."""
        super().__init__(list)
        self.origin = f"http://{host}:{self.port}"
        self.headers = dict(headers or {})
        self.seen: list[Request] = []
        self._answers: defaultdict[str, deque[Answer]] = defaultdict(deque)

    def answers(self, path: str, *answers: Answer) -> None:
        """Give these to whoever asks for the path, instead of what was to come."""
        self._answers[path] = deque(answers)

    def serves(self, path: str, file: Path) -> None:
        """Serve a file there."""
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        self.answers(path, Answer(file.read_bytes(), headers={"Content-Type": kind}))

    def asked(self, path: str) -> list[Request]:
        """Return what was sent to that path, without preflights."""
        return [one for one in self.seen if one.path == path and one.method != "OPTIONS"]

    def reset(self) -> None:
        """Forget the requests, and what was to be answered."""
        self.seen.clear()
        self._answers.clear()

    def answer(self, request: bytes) -> Iterable[bytes]:
        """Return the answer to that request."""
        asked = _parsed(request)
        self.seen.append(asked)
        if asked.method == "OPTIONS":
            return [_sent(Answer(b"", status=204, headers=PREFLIGHT), self.headers)]
        answer = self._next(asked.path)
        if answer.held is not None:
            answer.held.wait(PATIENCE_SECONDS)
        return [_sent(answer, self.headers)]

    def _next(self, path: str) -> Answer:
        queue = self._answers[path]
        if not queue:
            return Answer(b"", status=404)
        return queue.popleft() if len(queue) > 1 else queue[0]


def _parsed(request: bytes) -> Request:
    head, _end, body = request.partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    method, target, _version = line.decode().split(" ")
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    return Request(method, parts.path, query, BytesHeaderParser().parsebytes(headers), body)


def _sent(answer: Answer, usual: Mapping[str, str]) -> bytes:
    is_bytes = isinstance(answer.body, bytes)
    kind = {} if is_bytes else {"Content-Type": "application/json"}
    headers = {**kind, **usual, **answer.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = answer.body if is_bytes else json.dumps(answer.body).encode()
    return http(body, status=f"{answer.status} {HTTPStatus(answer.status).phrase}", headers=lines)
