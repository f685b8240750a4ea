"""An authorization server on loopback that rotates refresh tokens, forgives nothing, and breaks."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

from tests.real.raw_server import RawServer, http

Form = Mapping[str, str]

JSON = "application/json"
LIFETIME = 3600
# Longer than any call may take.
PATIENCE_SECONDS = 30
DRIP_SECONDS = 0.05


class FaultyServer(RawServer):
    """Gives ``canary-access-1``, ``canary-access-2``, ... and plays its fault, while it has one."""

    def __init__(self, refresh_token: str) -> None:
        """Take the one refresh token that is alive."""
        super().__init__(self._answer)
        self.refresh_token = refresh_token
        self.well = threading.Event()
        self._plays: Play = refreshes

    def breaks(self, plays: "Play") -> None:
        """Play that from now on."""
        self._plays = plays
        self.well.clear()

    def gets_well(self) -> None:
        """Answer as it should from now on; what hangs goes on."""
        self._plays = refreshes
        self.well.set()

    def __exit__(self, *exception: object) -> None:
        """Get well, hang up, and wait until nobody is served any more."""
        self.gets_well()
        super().__exit__(*exception)

    @property
    def calls(self) -> int:
        """How often it was asked."""
        return len(self.requests)

    @property
    def newest(self) -> str:
        """The access token that it gives at this call."""
        return f"canary-access-{self.calls}"

    def tokens(self) -> dict[str, Any]:
        """Return new tokens, in place of the old ones."""
        self.refresh_token = f"canary-refresh-{self.calls}"
        return {
            "access_token": self.newest,
            "refresh_token": self.refresh_token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
        }

    def _answer(self) -> Iterable[bytes]:
        _head, _end, body = self.requests[-1].partition(b"\r\n\r\n")
        return self._plays(self, dict(parse_qsl(body.decode())))


Play = Callable[[FaultyServer, Form], Iterable[bytes]]


def refreshes(server: FaultyServer, form: Form) -> Iterable[bytes]:
    """Answer as an authorization server should."""
    if form["refresh_token"] != server.refresh_token:
        return [_refusal("invalid_grant")]
    return [_json(server.tokens())]


def says(body: bytes, status: str = "200 OK", headers: str = "") -> Play:
    """Answer with that."""
    return lambda server, form: [http(body, status=status, headers=headers)]


def refuses(error: str, status: str = "400 Bad Request", label: str = JSON) -> Play:
    """Answer with an OAuth error."""
    return lambda server, form: [_refusal(error, status, label)]


def gives(label: str = JSON, **members: Any) -> Play:
    """Answer with these tokens, and the usual rest; without a member that is ``...``.

    The refresh token stays alive.
    """

    def play(server: FaultyServer, form: Form) -> Iterable[bytes]:
        usual = {"access_token": server.newest, "token_type": "Bearer", "expires_in": LIFETIME}
        merged = {**usual, **members}
        return [_json({n: v for n, v in merged.items() if v is not ...}, label=label)]

    return play


def resets(server: FaultyServer, form: Form) -> Iterable[bytes]:
    """Reset the connection."""
    raise ConnectionResetError


def hangs_up(server: FaultyServer, form: Form) -> Iterable[bytes]:
    """Close the connection without a word."""
    raise ConnectionAbortedError


def cut_off(server: FaultyServer, form: Form) -> Iterator[bytes]:
    """Close the connection in the middle of the answer."""
    yield _json({"access_token": "canary-cut-off"})[:-8]
    raise ConnectionAbortedError


def hangs(before: bytes) -> Play:
    """Send that, then nothing for longer than anybody waits."""

    def play(server: FaultyServer, form: Form) -> Iterator[bytes]:
        yield before
        server.well.wait(PATIENCE_SECONDS)

    return play


def drips(server: FaultyServer, form: Form) -> Iterator[bytes]:
    """Send a byte at a time, often enough for any time-out between two."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    for _ in range(round(PATIENCE_SECONDS / DRIP_SECONDS)):
        if server.well.wait(DRIP_SECONDS):
            return
        yield b" "


def rotates_and_hangs_up(server: FaultyServer, form: Form) -> Iterable[bytes]:
    """Replace the refresh token, and tell nobody."""
    server.tokens()
    raise ConnectionAbortedError


def refuses_resources(error: str) -> Play:
    """Answer with an OAuth error whoever asks for a resource, and with tokens all others."""
    refuse = refuses(error)
    return lambda server, form: (refuse if "resource" in form else refreshes)(server, form)


def _json(data: Any, status: str = "200 OK", label: str = JSON) -> bytes:
    return http(json.dumps(data).encode(), status=status, headers=f"Content-Type: {label}\r\n")


def _refusal(error: str, status: str = "400 Bad Request", label: str = JSON) -> bytes:
    return _json({"error": error, "error_description": "because of that"}, status, label)
