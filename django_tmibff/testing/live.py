"""An authorization server on a port: rotates at every refresh, revokes all at every reuse."""

import base64
import hmac
import itertools
import json
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlsplit

CLIENT_ID = "strict-client"
CLIENT_SECRET = "strict-secret"  # noqa: S105  # of nobody's
SCOPE = "openid email orders:read mail:read"

# Longer than any test waits.
_FOREVER_SECONDS = 3600.0

Answer = tuple[int, dict[str, Any]]
Form = dict[str, str]


@dataclass
class _Family:
    """All tokens that come from one sign-in."""

    number: int
    access_token_ttl: float
    refresh_token: str = ""
    revoked: bool = False
    refreshes: int = 0


@dataclass(frozen=True)
class _AccessToken:
    family: _Family
    expires_at: float


class LiveAuthorizationServer:
    """Runs in threads of this process between ``start()`` and ``stop()``, or in a ``with`` block.

    Its tokens and counts outlive ``stop()``, and it starts again on the same port. ``delay``: how
    many seconds it takes to answer, or what returns them; the token is rotated before. Counts:
    ``refreshes`` that succeeded, ``reuses`` of a refresh token that had been rotated already,
    ``revocations`` asked for; ``revoked``: the tokens for which they were. Families are what comes
    of one sign-in, and have numbers, later ones higher: ``renewed`` is the one that was refreshed
    last, ``reused`` are all of which an old refresh token was sent again. What comes for a DPoP
    proof is bound to its key, or so it says. Nobody signs in here: see ``LiveOpenIDProvider``.
    """

    def __init__(self, port: int | None = None) -> None:
        """Take that port of 127.0.0.1, or choose a free one."""
        self._port = _free_port() if port is None else port
        self.issuer = f"http://127.0.0.1:{self._port}"
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._families: dict[str, _Family] = {}  # by each refresh token there ever was
        self._access_tokens: dict[str, _AccessToken] = {}
        self._server: _Server | None = None
        self.reset()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Listen from now on."""
        self._server = _Server(self._port, self._answer, self._page, self._seconds)
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody, those who wait for an answer included."""
        server, self._server = self._server, None
        if server is not None:
            server.hang_up()

    def reset(self) -> None:
        """Start counting anew, and answer by the rules and without delay; the families stay."""
        self._queue: deque[Answer] = deque()
        self.delay: float | Callable[[], float] = 0.0
        self.refreshes = self.reuses = self.revocations = 0
        self.revoked: set[str] = set()
        self.renewed: int | None = None
        self.reused: set[int] = set()
        with self._lock:
            for family in self._families.values():
                family.refreshes = 0

    def refuses(self, error: str, status: int = 400, **more: Any) -> None:
        """Queue an OAuth error for the next refresh, which costs the refresh token nothing.

        ``invalid_grant`` for a scope or a resource is believed only after a second one (X6).
        """
        self._queue.append((status, {"error": error, **more}))

    def hangs(self) -> None:
        """Answer nobody any more, until ``reset()`` or ``stop()``; tokens are rotated all the same.

        A site waits for ``TMIBFF_AS_TIMEOUT``: make that short.
        """
        self.delay = _FOREVER_SECONDS

    def django_settings(self) -> dict[str, Any]:
        """Return the settings with which a project is this server's client."""
        return {
            "OIDC_OP_ISSUER": self.issuer,
            "OIDC_OP_TOKEN_ENDPOINT": f"{self.issuer}/token",
            "OIDC_OP_REVOCATION_ENDPOINT": f"{self.issuer}/revoke",
            "OIDC_RP_CLIENT_ID": CLIENT_ID,
            "OIDC_RP_CLIENT_SECRET": CLIENT_SECRET,
        }

    def new_family(self, access_token_ttl: float = 3600) -> dict[str, Any]:
        """Return the token response of a new sign-in; all its access tokens live that long."""
        with self._lock:
            return self._new_family(access_token_ttl)

    def _new_family(self, access_token_ttl: float) -> dict[str, Any]:
        return self._issue(_Family(next(self._numbers), access_token_ttl), SCOPE)

    def is_alive(self, token: str) -> bool:
        """Return whether this access token, or this refresh token, is good for anything now."""
        with self._lock:
            if token in self._families:
                family = self._families[token]
                return not family.revoked and family.refresh_token == token
            found = self._access_tokens.get(token)
            return found is not None and not found.family.revoked and time.time() < found.expires_at

    def family_of(self, access_token: str) -> int | None:
        """Return the number of the family that this access token came to, unless it is revoked."""
        with self._lock:
            found = self._access_tokens.get(access_token)
            return None if found is None or found.family.revoked else found.family.number

    def most_refreshes(self) -> int:
        """Return how many refreshes the family with most of them has had."""
        with self._lock:
            return max((family.refreshes for family in self._families.values()), default=0)

    def _seconds(self) -> float:
        return self.delay() if callable(self.delay) else self.delay

    def _answer(self, path: str, authorization: str, form: Form) -> Answer:
        if not _is_our_client(authorization, form):
            return 401, {"error": "invalid_client"}
        with self._lock:
            if path == "/token":
                return self._token(form)
            if path == "/revoke":
                return self._revoke(form)
        return 404, {}

    def _page(self, path: str, authorization: str, query: Form) -> Answer:
        """Return the answer to a GET, whose client need not be ours."""
        return 404, {}

    def _token(self, form: Form) -> Answer:
        if form.get("grant_type") == "refresh_token":
            return self._refresh(form)
        return 400, {"error": "unsupported_grant_type"}

    def _refresh(self, form: Form) -> Answer:
        family = self._families.get(form.get("refresh_token", ""))
        if family is None or family.refresh_token != form["refresh_token"]:
            self._punish_reuse(family)
            return 400, {"error": "invalid_grant"}
        if family.revoked:
            return 400, {"error": "invalid_grant"}
        if self._queue:
            return self._queue.popleft()
        scope = form.get("scope", SCOPE)
        if not set(scope.split()) <= set(SCOPE.split()):
            return 400, {"error": "invalid_scope"}
        self.refreshes += 1
        family.refreshes += 1
        self.renewed = family.number
        return 200, self._issue(family, scope)

    def _punish_reuse(self, family: _Family | None) -> None:
        if family is not None:
            self.reuses += 1
            self.reused.add(family.number)
            family.revoked = True

    def _issue(self, family: _Family, scope: str) -> dict[str, Any]:
        family.refresh_token = secrets.token_urlsafe()
        self._families[family.refresh_token] = family
        access_token = secrets.token_urlsafe()
        expires_at = time.time() + family.access_token_ttl
        self._access_tokens[access_token] = _AccessToken(family, expires_at)
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": family.access_token_ttl,
            "refresh_token": family.refresh_token,
            "scope": scope,
        }

    def _revoke(self, form: Form) -> Answer:
        self.revocations += 1
        self.revoked.add(form.get("token", ""))
        family = self._families.get(form.get("token", ""))
        if family is not None:
            family.revoked = True
        self._access_tokens.pop(form.get("token", ""), None)
        return 200, {}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_our_client(authorization: str, form: Form) -> bool:
    """Return whether the request authenticates the client, by header or in the form."""
    given = f"{form.get('client_id')}:{form.get('client_secret')}"
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "basic":
        with suppress(ValueError):
            given = unquote_plus(base64.b64decode(credentials).decode())
    return hmac.compare_digest(given.encode(), f"{CLIENT_ID}:{CLIENT_SECRET}".encode())


class _Server(ThreadingHTTPServer):
    """A thread for each connection; ``hang_up`` ends all of them."""

    # Many clients may connect at once.
    request_queue_size = 1024
    # server_close() waits for the connections' threads.
    daemon_threads = False

    def __init__(
        self,
        port: int,
        answer: Callable[[str, str, Form], Answer],
        page: Callable[[str, str, Form], Answer],
        seconds: Callable[[], float],
    ) -> None:
        self.answer = answer
        self.page = page
        self.seconds = seconds
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def hang_up(self) -> None:
        """Listen no more, end all connections, return when that is done."""
        self.stopping.set()
        self.shutdown()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that was killed, or that gave up, is not this server's error.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Reads a form, answers with JSON, keeps the connection."""

    protocol_version = "HTTP/1.1"
    # One packet for each answer: header and body apart would wait for each other's receipt.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        authorization = self.headers.get("Authorization", "")
        self._wait_and_send(
            *self.server.page(parts.path, authorization, dict(parse_qsl(parts.query)))
        )

    def do_POST(self) -> None:
        authorization = self.headers.get("Authorization", "")
        status, data = self.server.answer(self.path, authorization, self._form())
        if "token_type" in data and "DPoP" in self.headers:
            data = {**data, "token_type": "DPoP"}
        self._wait_and_send(status, data)

    def _wait_and_send(self, status: int, data: Mapping[str, Any]) -> None:
        if self.server.stopping.wait(self.server.seconds()):
            self.close_connection = True
            return
        self._send(status, data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        pass

    def _form(self) -> Form:
        length = int(self.headers.get("Content-Length", 0))
        return dict(parse_qsl(self.rfile.read(length).decode()))

    def _send(self, status: int, data: Mapping[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        if status == HTTPStatus.FOUND:
            self.send_header("Location", data["location"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
