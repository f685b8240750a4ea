"""What a signed-in browser sends: a new connection for each call, as through a proxy."""

import http.client
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 90
CUT = "connection cut"
OLD = "revoked token, or of an earlier sign-in"

HEADERS = {
    "X-Forwarded-Proto": "https",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
    "Connection": "close",
}


@dataclass(eq=False)
class Session:
    """A signed-in user's session: its cookie, which of the server's grants it has, since when."""

    number: int
    cookie: str = ""
    handle: str = ""
    family: int = 0
    signed_in_at: float = 0
    signing_in: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a call: ``error`` is empty when there was a token."""

    session: Session
    asked_at: float
    seconds: float
    error: str
    token: str

    @property
    def ended_at(self) -> float:
        """When the answer was there."""
        return self.asked_at + self.seconds

    @property
    def wants_sign_in(self) -> bool:
        """Whether the user is to sign in again."""
        return self.error not in ("", CUT, OLD, "temporarily_unavailable")


def ask(origin: str, session: Session) -> Answer:
    """Ask for the session's access token."""
    asked_at = time.monotonic()
    try:
        status, data, _cookie = _call(origin, "GET", "/.well-known/bff-token", session)
    except (OSError, http.client.HTTPException):
        status, data = 0, {"error": CUT}
    error = "" if status == 200 else str(data.get("error", f"status {status}"))
    seconds = time.monotonic() - asked_at
    return Answer(session, asked_at, seconds, error, str(data.get("access_token", "")))


def sign_in(origin: str, session: Session, tokens: Mapping[str, Any]) -> bool:
    """Sign in with those tokens, and take the cookie; false if that failed."""
    try:
        status, data, cookie = _call(origin, "POST", "/sign-in", session, tokens)
    except (OSError, http.client.HTTPException):
        return False
    if status == 200:
        session.cookie = cookie or session.cookie
        session.handle = data["handle"]
    return status == 200


def _call(
    origin: str, method: str, path: str, session: Session, body: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any], str]:
    """Return status, JSON and the session's new cookie, if there is one."""
    headers = {**HEADERS, "Cookie": f"sessionid={session.cookie}"} if session.cookie else HEADERS
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        found = response.read()
    finally:
        connection.close()
    return response.status, _json(response, found), _cookie(response)


def _json(response: http.client.HTTPResponse, body: bytes) -> dict[str, Any]:
    is_json = response.getheader("Content-Type", "").startswith("application/json")
    return dict(json.loads(body)) if is_json else {}


def _cookie(response: http.client.HTTPResponse) -> str:
    cookies = SimpleCookie("; ".join(response.headers.get_all("Set-Cookie", [])))
    return cookies["sessionid"].value if "sessionid" in cookies else ""
