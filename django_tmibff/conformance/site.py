"""The site that is looked at from outside: what it is asked, and what it answers."""

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies

from .. import strict_json
from ..hosts import is_loopback
from ..own_key import OwnKey

TOKEN = "/.well-known/bff-token"  # noqa: S105  # a path
SESSION_INFO = "/.well-known/bff-sessioninfo"
BOTH = (TOKEN, SESSION_INFO)
FORM = "application/x-www-form-urlencoded"
ANOTHER_ORIGIN = "https://another-origin.example"

# What browsers send with a page's own fetch().
_FETCH: Mapping[str, str] = {
    "Accept": "*/*",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
}
_MOST_SHOWN = 80
# With so many characters a secret begins that was cut short.
_TELLING = 8
# No answer of these endpoints is that long.
_MOST_BYTES, _PIECE_BYTES = 2**20, 2**16
# In seconds since the epoch: no clock of today's.
_LATEST = 2**40


class NoAnswerError(Exception):
    """The site did not answer; the text names the request and no secret."""


class Cookie(Enum):
    """Whose session a request is of."""

    OWN = "own"
    WITHOUT_TOKENS = "without tokens"
    MADE_UP = "with a made-up session cookie"
    NONE = "without a session cookie"


@dataclass(frozen=True)
class Call:
    """A page's request. ``headers`` are laid over what browsers send; ``None`` leaves one out.

    ``how``: words for people, where method and address do not say all.
    """

    path: str
    query: str = ""
    method: str = "GET"
    headers: tuple[tuple[str, str | None], ...] = ()
    cookie: Cookie = Cookie.OWN
    body: bytes | None = None
    how: str = ""

    @property
    def words(self) -> str:
        """The request in words."""
        whose = "" if self.cookie in (Cookie.OWN, Cookie.WITHOUT_TOKENS) else self.cookie.value
        # The path may be one that the site has named.
        target = _legible(f"{self.path}?{self.query}" if self.query else self.path)
        return " ".join(filter(None, [self.method, target, whose, self.how]))


@dataclass(frozen=True)
class Answer:
    """What the site answered. ``data`` is its JSON object; ``None``: the body is none."""

    call: Call
    status: int
    headers: CaseInsensitiveDict[str] = field(repr=False)
    set_cookies: tuple[str, ...] = field(repr=False)
    body: bytes = field(repr=False)
    data: dict[str, Any] | None = field(repr=False)
    at: float

    @property
    def error(self) -> Any:
        """The member ``error``."""
        return None if self.data is None else self.data.get("error")

    @property
    def token(self) -> str | None:
        """The access token that was handed out."""
        token = None if self.data is None else self.data.get("access_token")
        return token if isinstance(token, str) and token else None

    @property
    def words(self) -> str:
        """The answer in a few words."""
        kind = self.headers.get("Content-Type", "no media type")
        said = shown(self.error) if self.error is not None else shown(kind)
        return f"{self.status} ({said})"


def shown(value: object) -> str:
    """Return what a server has said, harmless for a terminal and short."""
    return ascii(value)[:_MOST_SHOWN]


def _legible(text: str) -> str:
    return ascii(text)[1:-1][: 2 * _MOST_SHOWN]


@dataclass(frozen=True)
class Options:
    """What whoever asks for the run tells; ``headers`` are what this site wants of its pages.

    ``scope``: a narrower one than the sign-in's. ``renew``: let the site renew its token.
    ``sign_out``: end the session, last of all.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookie_without_tokens: str = field(default="", repr=False)
    scope: str = ""
    renew: bool = False
    sign_out: bool = False
    ca_bundle: str = ""
    timeout: float = 10.0


class Site:
    """A TMI-BFF backend at ``origin``; the same request is sent once only.

    ``cookie``: the ``Cookie`` header of a signed-in session. In a ``with`` block.
    """

    def __init__(self, origin: str, cookie: str, options: Options | None = None) -> None:
        self.origin = origin
        self.options = options or Options()
        self._cookies = {
            Cookie.OWN: cookie,
            Cookie.WITHOUT_TOKENS: self.options.cookie_without_tokens,
            Cookie.MADE_UP: _made_up(cookie),
            Cookie.NONE: "",
        }
        self._secrets = {value for value in _values(cookie) if value}
        self._secrets |= {value for value in _values(self.options.cookie_without_tokens) if value}
        self._answers: dict[Call, Answer] = {}
        self._key = OwnKey()
        self._ahead = 0.0
        self._nonce: str | None = None
        self._session = _session(origin, self.options.ca_bundle)

    def __enter__(self) -> Self:
        """Return this site."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self._session.close()

    @property
    def is_on_own_machine(self) -> bool:
        """Whether it is reached over plain http, on this machine's loopback."""
        return self.origin.startswith("http://")

    @property
    def cookie_names(self) -> set[str]:
        """What the session's cookies are called."""
        return {pair.partition("=")[0].strip() for pair in self._cookies[Cookie.OWN].split(";")}

    def ask(self, call: Call) -> Answer:
        """Return the answer to that request, which may have been sent before.

        Raises ``NoAnswerError``.
        """
        if call not in self._answers:
            self._answers[call] = self.ask_again(call)
        return self._answers[call]

    def ask_again(self, call: Call) -> Answer:
        """Send that request now. Raises ``NoAnswerError``."""
        answer = self._sent_by_page(call)
        if answer.error == "use_dpop_nonce" and (nonce := answer.headers.get("DPoP-Nonce")):
            self._nonce = nonce
            return self._sent_by_page(call)
        return answer

    def _sent_by_page(self, call: Call) -> Answer:
        cookie = self._cookies[call.cookie]
        headers = {**_FETCH, **self.options.headers, **self._proof(call), **dict(call.headers)}
        if cookie:
            headers["Cookie"] = cookie
        return self._sent(call, f"{self.origin}{call.path}", headers)

    def _proof(self, call: Call) -> Mapping[str, str]:
        """Return the header with a DPoP proof, where the site binds its tokens to a key."""
        if call.path != TOKEN or self._proved_to is None:
            return {}
        now = time.time() + self._ahead
        with suppress(ValueError):  # What is no URL.
            return {"DPoP": self._key.proof("POST", self._proved_to, nonce=self._nonce, at=now)}
        return {}

    @cached_property
    def _proved_to(self) -> str | None:
        """The token endpoint that proofs are for; learns the site's clock, and a nonce."""
        told = (self.ask(Call(SESSION_INFO)).data or {}).get("dpop")
        known = told if isinstance(told, dict) else {}
        now, nonce, endpoint = (known.get(name) for name in ("now", "nonce", "token_endpoint"))
        self._ahead = now - time.time() if type(now) is int and 0 < now < _LATEST else 0.0
        self._nonce = nonce if isinstance(nonce, str) else None
        return endpoint if isinstance(endpoint, str) else None

    def ask_in_the_clear(self, call: Call) -> Answer:
        """Send the request over plain http, to port 80. Raises ``NoAnswerError``."""
        if call.cookie is not Cookie.NONE:
            raise ValueError("A session cookie must not go over plain http.")
        host = urlsplit(self.origin).hostname or ""
        name = f"[{host}]" if ":" in host else host
        return self._sent(call, f"http://{name}{call.path}", _FETCH)

    def redacted(self, text: str) -> str:
        """Return the text without any secret of this run, or what was left of one."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(_legible(secret), "[secret]").replace(secret, "[secret]")
            if len(secret) > _TELLING:
                text = re.sub(rf"{re.escape(secret[:_TELLING])}\S*", "[secret]", text)
        return text

    def secrets_in(self, answer: Answer) -> bool:
        """Return whether an answer repeats a cookie or a token of this run."""
        said = answer.body + repr(dict(answer.headers)).encode()
        return any(secret.encode() in said for secret in self._secrets)

    def _sent(self, call: Call, url: str, headers: Mapping[str, str | None]) -> Answer:
        target = f"{url}?{call.query}" if call.query else url
        try:
            with self._session.request(
                call.method,
                target,
                headers=headers,
                data=call.body,
                allow_redirects=False,
                stream=True,
                timeout=self.options.timeout,
            ) as response:
                answer = _answer(call, response)
        except requests.RequestException as error:
            raise NoAnswerError(f"{call.words}: no answer ({type(error).__name__}).") from error
        if answer.token is not None:
            self._secrets.add(answer.token)
        return answer


def _answer(call: Call, response: requests.Response) -> Answer:
    set_cookies = response.raw.headers.getlist("Set-Cookie")
    body = _body(response)
    return Answer(
        call,
        response.status_code,
        response.headers,
        tuple(set_cookies),
        body,
        _object(body),
        time.monotonic(),
    )


def _body(response: requests.Response) -> bytes:
    """Return the body, or its beginning where it has no end."""
    body = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) >= _MOST_BYTES:
            break
    return bytes(body[:_MOST_BYTES])


def _object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object (RFC 8259: in UTF-8); ``None`` where the body is none."""
    try:
        body.decode("utf-8")
        found = strict_json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _session(origin: str, ca_bundle: str) -> requests.Session:
    session = requests.Session()
    # Neither a .netrc's credentials nor the site's own cookies belong into these requests.
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    if not is_loopback(urlsplit(origin).hostname or ""):
        session.proxies.update(get_environ_proxies(origin))
    if ca_bundle:
        session.verify = ca_bundle
    return session


def _values(cookie: str) -> Iterable[str]:
    return (pair.partition("=")[2].strip() for pair in cookie.split(";"))


def _made_up(cookie: str) -> str:
    """Return cookies of the same names and lengths that nobody has been given."""
    pairs = (pair.strip().partition("=") for pair in cookie.split(";"))
    return "; ".join(f"{name}={'0' * len(value)}" for name, _, value in pairs)
