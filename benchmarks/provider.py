"""An OpenID Provider for the peers' sign-ins, and for renewals over TLS.

It signs everybody in at once and always gives the same access token. A program of its own, so that
its CPU time is not that of whoever asks it: ``python -m benchmarks.provider PORT CERTIFICATE KEY``.
"""

import json
import secrets
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.stored import CLAIMS, RESPONSE, letters
from tests.real.certificates import make_certificate
from tests.real.gunicorn import PROJECT
from tests.real.processes import Server, accepts_connections, free_port

CLIENT_ID = "bench"
CLIENT_SECRET = letters(64, 4)
_KEY_ID = "the-only-one"


class Provider(Server):
    """The provider on a free port, with a certificate of its own; ``issuer`` is its URL."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of log and certificate."""
        port = free_port()
        self.issuer = f"https://localhost:{port}/"
        self.certificate, key = make_certificate(folder)
        super().__init__(
            "provider",
            [sys.executable, "-m", "benchmarks.provider", str(port), self.certificate, key],
            folder=folder,
            ready=lambda: accepts_connections(port),
            cwd=PROJECT,
        )

    @property
    def token_endpoint(self) -> str:
        """Where tokens come from."""
        return f"{self.issuer}token"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for each answer.
    wbufsize = -1
    disable_nagle_algorithm = True
    issuer = ""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    nonces: dict[str, str] = {}  # noqa: RUF012  # of this one server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/authorize":
            self._authorize(dict(parse_qsl(parts.query)))
            return
        answers = {
            "/.well-known/openid-configuration": self._metadata,
            "/jwks": self._keys,
            "/userinfo": lambda: CLAIMS,
        }
        self._send(answers[parts.path]())

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        form = dict(parse_qsl(self.rfile.read(length).decode()))
        nonce = self.nonces.pop(form.get("code", ""), None)
        id_token = {} if nonce is None else {"id_token": self._id_token(nonce)}
        self._send({**RESPONSE, "id_token": ..., **id_token})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        pass

    def _authorize(self, query: dict[str, str]) -> None:
        code = secrets.token_urlsafe()
        self.nonces[code] = query.get("nonce", "")
        back = urlencode({"code": code, "state": query["state"]})
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{back}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            **CLAIMS,
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "nonce": nonce,
            "iat": now,
            "exp": now + RESPONSE["expires_in"],
            "sid": letters(32, 5),
        }
        return jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": _KEY_ID})

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}authorize",
            "token_endpoint": f"{self.issuer}token",
            "userinfo_endpoint": f"{self.issuer}userinfo",
            "jwks_uri": f"{self.issuer}jwks",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
        }

    def _keys(self) -> dict[str, Any]:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": _KEY_ID, "alg": "RS256", "use": "sig"}]}

    def _send(self, data: dict[str, Any]) -> None:
        body = json.dumps({name: value for name, value in data.items() if value is not ...})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def main(port: int, certificate: str, key: str) -> None:
    """Serve until the end of the process."""
    _Handler.issuer = f"https://localhost:{port}/"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    # The handshake is for the connection's own thread.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
