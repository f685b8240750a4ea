"""Everywhere else: the attacker's pages, and the OpenID Provider's page where people sign in."""

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.real.certificates import Paths
from tests.real.processes import Startable

WORKER = Path(__file__).with_name("worker.js")
SANDBOX = "allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox"


class Elsewhere(Startable):
    """One https server for all hosts; ``states`` are those of the sign-ins that were begun."""

    def __init__(self, certificate: Paths) -> None:
        """Take the certificate, and its key, for all hosts; choose a port of the loopback."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
        # Each connection's own thread does the handshake.
        self._server.socket = tls.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = int(self._server.server_address[1])

    @property
    def states(self) -> set[str]:
        return self._server.states

    def start(self) -> None:
        """Listen from now on."""
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    # A browser keeps its connections until it ends, and then nobody is left to wait for.
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.states: set[str] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # A browser that hangs up is none.


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for each answer.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if parts.path == "/to":
            self._send("", status=302, location=query["url"][0])
        elif parts.path == "/worker.js":
            self._send(WORKER.read_text(), content_type="text/javascript")
        elif parts.path == "/sandbox":
            self._send(f'<!doctype html><iframe sandbox="{SANDBOX}" src="/"></iframe>')
        elif parts.path == "/framing":
            self._send(f'<!doctype html><iframe src="{query["url"][0]}"></iframe>')
        else:
            self.server.states.update(query.get("state", []))
            self._send("<!doctype html><title>Elsewhere</title><body>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        pass

    def _send(
        self, text: str, *, status: int = 200, content_type: str = "text/html", location: str = ""
    ) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if location:
            # The attacker's own scripts may follow.
            self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
