"""A TMI-BFF backend of a few lines, which keeps every rule, or breaks the one that a test names."""

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from django_tmibff.conformance.site import BOTH, FORM, SESSION_INFO, TOKEN

COOKIE = f"sid={secrets.token_hex(16)}"
WITHOUT_TOKENS = f"sid={secrets.token_hex(16)}"
SCOPE = "openid email"
HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache, no-store, private",
    "Pragma": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Vary": "Cookie, Sec-Fetch-Site, Origin",
}
FETCH = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
SET_COOKIE = {"Set-Cookie": "sid=0123; Path=/; HttpOnly; SameSite=Lax"}
AUTHORIZE = (
    "https://op.example/authorize?response_type=code&code_challenge=abc&code_challenge_method=S256"
)
SCOPE_SYNTAX = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    parameters: Mapping[str, list[str]]
    headers: Mapping[str, str]
    cookie: str
    origin: str

    def only(self, name: str) -> str:
        """Return that parameter, of which there is one, or none that is not empty."""
        return (self.parameters.get(name) or [""])[0]


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int
    data: Any
    headers: Mapping[str, str] = field(default_factory=lambda: HEADERS)

    def with_headers(self, **headers: str | None) -> "Answer":
        """Return the same with these headers; ``None`` leaves one out."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {**self.headers, **named}
        return replace(self, headers={n: v for n, v in merged.items() if v is not None})


Violation = Callable[["Backend", Request], Answer]


class Backend:
    """Answers on a port of this machine, in a ``with`` block; ``violation`` answers instead."""

    def __init__(self, violation: Violation | None = None) -> None:
        self._answer = partial(violation, self) if violation else self.answer
        self.tokens = self.served = 0
        self.ends_at = time.time() + 3600
        self.signed_out = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def token(self) -> str:
        """The stored token."""
        return f"access-token-{self.tokens}"

    def answer(self, request: Request) -> Answer:
        """Answer as the rules want it."""
        endpoint = {TOKEN: self._token, SESSION_INFO: self._info, "/bff/logout": self._logout}
        if request.path == "/login":
            return Answer(302, {}, {"Location": AUTHORIZE, **SET_COOKIE})
        if request.path not in endpoint:
            return Answer(404, {})
        methods = {TOKEN: ("GET", "POST"), SESSION_INFO: ("GET",)}.get(request.path, ("POST",))
        if request.method not in methods:
            return error("invalid_request", 405).with_headers(Allow=", ".join(methods))
        if is_forged(request):
            return error("invalid_request", 403)
        if request.cookie not in (COOKIE, WITHOUT_TOKENS) or self.signed_out:
            return error("invalid_session", login_url="/login")
        return endpoint[request.path](request)

    def _token(self, request: Request) -> Answer:
        wrong = wrong_parameters(request)
        if wrong:
            return error(wrong)
        if request.cookie == WITHOUT_TOKENS:
            return error("backend_not_ready", login_url="/login")
        if request.headers.get("TMIBFF-Refused") == digest(self.token):
            self.tokens += 1
        return self.token_answer(request.only("scope") or SCOPE)

    def token_answer(self, scope: str = SCOPE, **more: Any) -> Answer:
        """Hand a token out."""
        whole = set(scope.split()) == set(SCOPE.split())
        return Answer(
            200,
            {
                "access_token": self.token if whole else f"{self.token}-narrower",
                "token_type": "Bearer",
                "expires_in": int(self.ends_at - time.time()),
                "scope": scope,
                **more,
            },
        )

    def _info(self, request: Request) -> Answer:
        ends_at = int(time.time()) + 3600
        return Answer(200, {"iss": "https://op.example", "sub": "alice", "exp": ends_at})

    def _logout(self, request: Request) -> Answer:
        self.signed_out = True
        return Answer(200, {"logout_url": "/"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        class Handler(_Handler):
            answer = staticmethod(self._answer)

        return Handler


def error(error: str, status: int = 400, **more: Any) -> Answer:
    """Return an error."""
    return Answer(status, {"error": error, "error_description": "Why it is so.", **more})


def is_forged(request: Request) -> bool:
    """Return whether that is no page's own ``fetch()``."""
    sent = request.headers
    if any(sent.get(name, usual) != usual for name, usual in FETCH.items()):
        return True
    if "Sec-Purpose" in sent or sent.get("Origin", request.origin) != request.origin:
        return True
    return request.method == "POST" and not {"Sec-Fetch-Site", "Origin"} & {*sent}


def wrong_parameters(request: Request) -> str:
    """Return the error that the parameters cost; empty: none."""
    kind = request.headers.get("Content-Type", FORM)
    if len(list(filter(None, request.parameters.get("scope", [])))) > 1 or kind != FORM:
        return "invalid_request"
    if request.only("resource"):
        return "invalid_target"
    scope = request.only("scope")
    allowed = SCOPE_SYNTAX.fullmatch(scope) and {*scope.split()} <= {*SCOPE.split()}
    return "" if allowed else "invalid_scope"


def digest(token: str) -> str:
    """Return what ``TMIBFF-Refused`` says of that token."""
    hashed = hashlib.sha256(token.encode()).digest()
    return base64.urlsafe_b64encode(hashed).decode().rstrip("=")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    answer: Callable[[Request], Answer]

    def __getattr__(self, name: str) -> Any:
        # What http.server looks for is named after the method.
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._any

    def _any(self) -> None:
        parts = urlsplit(self.path)
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        sent = form if self.command == "POST" else parts.query
        fields = parse_qs(sent, keep_blank_values=True)
        origin = f"http://{self.headers['Host']}"
        cookie = self.headers.get("Cookie", "")
        request = Request(self.command, parts.path, fields, _plain(self.headers), cookie, origin)
        self._send(self.answer(request))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        pass

    def _send(self, answer: Answer) -> None:
        body = answer.data if isinstance(answer.data, bytes) else json.dumps(answer.data).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _plain(headers: Message) -> dict[str, str]:
    return {name: headers[name] for name in headers}


# What breaks a rule: made of the right answer, or of the right answer to another request.


def _html(answer: Answer, status: int | None = None) -> Answer:
    page = replace(answer, data=b"<h1>Sorry</h1>", status=status or answer.status)
    return page.with_headers(Content_Type="text/html")


def _changed(**headers: str | None) -> Violation:
    return lambda backend, request: backend.answer(request).with_headers(**headers)


def _of_errors(change: Callable[[Request, Answer], Answer]) -> Violation:
    def answer(backend: Backend, request: Request) -> Answer:
        right = backend.answer(request)
        return change(request, right) if right.status == 400 else right

    return answer


def _of_success(path: str, change: Callable[[Answer], Answer]) -> Violation:
    def answer(backend: Backend, request: Request) -> Answer:
        right = backend.answer(request)
        return change(right) if right.status == 200 and request.path == path else right

    return answer


def _instead(change: Callable[[Request], Request]) -> Violation:
    return lambda backend, request: backend.answer(change(request))


def _with_member(name: str, value: Any) -> Callable[[Answer], Answer]:
    return lambda answer: replace(answer, data={**answer.data, name: value})


def _without(request: Request, *names: str) -> Request:
    return replace(
        request, headers={n: v for n, v in request.headers.items() if n.lower() not in names}
    )


def _as_get(request: Request, methods: tuple[str, ...]) -> Request:
    return replace(request, method="GET") if request.method in methods else request


def _a_new_token_each_time(backend: Backend, request: Request) -> Answer:
    backend.tokens += 1
    return backend.answer(request)


def _told_at_first_only(backend: Backend, request: Request) -> Answer:
    right = backend.answer(request)
    if right.status != 200 or request.path != TOKEN or request.parameters:
        return right
    backend.served += 1
    if backend.served == 1:
        return right
    return replace(right, data={n: v for n, v in right.data.items() if n != "scope"})


def _slash_appended(backend: Backend, request: Request) -> Answer:
    if request.path in BOTH:
        return Answer(301, b"").with_headers(Location=f"{request.path}/")
    return backend.answer(replace(request, path=request.path.rstrip("/")))


def _any_scope(backend: Backend, request: Request) -> Answer:
    right = backend.answer(request)
    syntax = SCOPE_SYNTAX.fullmatch(request.only("scope"))
    if right.data == error("invalid_scope").data and syntax:
        return backend.token_answer(request.only("scope"))
    return right


def _wider_passed_off(backend: Backend, request: Request) -> Answer:
    right = backend.answer(request)
    if right.status == 200 and request.path == TOKEN:
        return replace(right, data={**right.data, "access_token": backend.token})
    return right


def _malformed_scope_dropped(request: Request) -> Request:
    if SCOPE_SYNTAX.fullmatch(request.only("scope")):
        return request
    return replace(request, parameters={})


def _refusing(error_name: str, refuses: Callable[[Mapping[str, list[str]]], bool]) -> Violation:
    def answer(backend: Backend, request: Request) -> Answer:
        right = backend.answer(request)
        return error(error_name) if right.status == 200 and refuses(request.parameters) else right

    return answer


def _login(**headers: str) -> Violation:
    def answer(backend: Backend, request: Request) -> Answer:
        right = backend.answer(request)
        return right.with_headers(**headers) if request.path == "/login" else right

    return answer


#: By name: the violation, and the rules that it breaks.
VIOLATIONS: dict[str, tuple[Violation, set[str]]] = {
    "no Cache-Control": (_changed(Cache_Control=None), {"E8"}),
    "cached by browsers": (_changed(Cache_Control="private, max-age=60"), {"E8"}),
    "framed": (_changed(X_Frame_Options="SAMEORIGIN"), {"E8"}),
    "sniffed": (_changed(X_Content_Type_Options=None), {"E7"}),
    "CORS for all": (_changed(Access_Control_Allow_Origin="*"), {"E4"}),
    "labelled as text": (_changed(Content_Type="text/plain"), {"E7", "S1"}),
    "the endpoints with a slash": (
        _slash_appended,
        {"E1", "E5", "E7", "E10", "E11", "E12", "R1", "S1", "S2"}
        | {"T1", "T2", "T3", "T5", "X1", "X2", "X3", "B5"},
    ),
    "a token for PUT": (_instead(lambda r: _as_get(r, ("PUT",))), {"E10"}),
    "HEAD answered": (_instead(lambda r: _as_get(r, ("HEAD",))), {"E10"}),
    "answers other sites": (
        _instead(lambda r: replace(r, headers={**_without(r, "origin").headers, **FETCH})),
        {"E5", "B5"},
    ),
    "answers frames and scripts": (
        _instead(lambda r: _without(r, "sec-fetch-mode", "sec-fetch-dest")),
        {"E5"},
    ),
    "answers forms": (
        _instead(lambda r: replace(r, headers={"Sec-Fetch-Site": "same-origin", **r.headers})),
        {"E5"},
    ),
    "HTML errors": (
        _of_errors(lambda request, right: _html(right)),
        {"E7", "T1", "T2", "T3", "T5", "X1", "X2", "X3"},
    ),
    "a crash for what is malformed": (
        _of_errors(
            lambda request, right: _html(right, 500) if request.parameters.get("scope") else right
        ),
        {"E7", "T3", "T5", "X1"},
    ),
    "401 in place of 400": (
        _of_errors(lambda request, right: replace(right, status=401)),
        {"T1", "T2", "T3", "T5", "X1", "X3"},
    ),
    "sent to sign in": (
        _of_errors(lambda request, right: Answer(302, b"").with_headers(Location="/login")),
        {"E7", "E11", "T1", "T2", "T3", "T5", "X1", "X2", "X3"},
    ),
    "any session cookie": (
        _instead(lambda r: replace(r, cookie=r.cookie and COOKIE)),
        {"E3", "X2", "X3"},
    ),
    "a word of its own for no session": (
        _of_errors(
            lambda request, right: (
                error("login_required") if right.data["error"] == "invalid_session" else right
            )
        ),
        {"X2"},
    ),
    "the cookie repeated in an error": (
        _of_errors(
            lambda request, right: replace(
                right, data={**right.data, "error_description": f"{request.cookie} has none"}
            )
        ),
        {"X9"},
    ),
    "a description in German": (
        _of_errors(
            lambda request, right: replace(
                right, data={**right.data, "error_description": "Ungültig"}
            )
        ),
        {"X1"},
    ),
    "login_url elsewhere": (
        _of_errors(
            lambda request, right: replace(
                right, data={**right.data, "login_url": "//another.example/login"}
            )
        ),
        {"X8", "T5"},
    ),
    "a refresh token": (_of_success(TOKEN, _with_member("refresh_token", "secret")), {"R5"}),
    "an ID token among the claims": (
        _of_success(SESSION_INFO, _with_member("raw", ["x", {"jwt": "eyJh.eyJz.c2ln"}])),
        {"R5"},
    ),
    "expires_in as it once was": (_of_success(TOKEN, _with_member("expires_in", 3600)), {"R2"}),
    "expires_in as text": (_of_success(TOKEN, _with_member("expires_in", "3600")), {"R2"}),
    "scope as a list": (_of_success(TOKEN, _with_member("scope", ["openid"])), {"R3"}),
    "no token_type": (_of_success(TOKEN, _with_member("token_type", None)), {"R4"}),
    "a new token each time": (_a_new_token_each_time, {"R6", "R8", "T6"}),
    "the wider token passed off": (_wider_passed_off, {"R7"}),
    "what is unknown refused": (
        _refusing("invalid_request", lambda sent: bool({*sent} - {"scope", "resource"})),
        {"E6"},
    ),
    "a scope without a value refused": (
        _refusing("invalid_scope", lambda sent: "" in sent.get("scope", [])),
        {"T4", "T1"},
    ),
    "a scope told at first only": (_told_at_first_only, {"R11"}),
    "any scope": (_any_scope, {"T5"}),
    "a malformed scope dropped": (_instead(_malformed_scope_dropped), {"T3", "X1"}),
    "the refused token again": (_instead(lambda r: _without(r, "tmibff-refused")), {"T6"}),
    "JSON that only Python reads": (
        _of_success(TOKEN, _with_member("expires_in", float("nan"))),
        {"E7", "R1", "T1", "B5"},
    ),
    "sessioninfo as a list": (
        _of_success(SESSION_INFO, lambda right: replace(right, data=["alice"])),
        {"E7", "S1", "S2"},
    ),
    "sessioninfo prolongs the session": (
        _of_success(SESSION_INFO, lambda right: right.with_headers(**SET_COOKIE)),
        {"S4"},
    ),
    "an open session cookie": (_login(Set_Cookie="sid=0123; Path=/"), {"E9"}),
    "no PKCE": (_login(Location="https://op.example/authorize?response_type=code"), {"B1"}),
    "PKCE in the clear": (_login(Location=AUTHORIZE.replace("S256", "plain")), {"B1"}),
}
