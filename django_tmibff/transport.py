"""One call to an authorization server, with limits on how long it takes and how much comes back.

requests' own time-out starts anew with every byte that arrives: a server that drips a byte a second
would hold a worker for ever. Here one timer spans the whole call and hangs up when it runs out; and
once it has run out nothing is sent any more, for by then somebody else may hold the lease.
"""

import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import Timeout
from urllib3.util.connection import allowed_gai_family

MAX_ANSWER_BYTES = 256 * 1024
CONNECT_SECONDS = 2.0

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_LEAST_SECONDS = 0.001
_CHUNK_BYTES = 16 * 1024
_POOL_SIZE = 32


# Of a client: the path of a file with certificate and key, or the paths of both.
Certificate = str | tuple[str, str]


class AnswerTooLargeError(requests.RequestException):
    """The server sent more than an OAuth answer can be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the body may hold tokens."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def post(
    url: str,
    data: list[tuple[str, str]],
    *,
    auth: AuthBase,
    certificate: Certificate | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float,
    verify: bool | str = True,
    proxies: Mapping[str, str] | None = None,
) -> Answer:
    """Return the answer to a form posted to ``url``, within ``seconds`` in all.

    No redirect is followed and nothing is tried twice: the server may have rotated the refresh
    token already. ``auth`` is required, for without one requests would look into ``~/.netrc``.
    Raises ``requests.RequestException``.
    """
    return _answer("POST", url, data, auth, certificate, headers, seconds, verify, proxies)


def get(
    url: str,
    *,
    certificate: Certificate | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float,
    verify: bool | str = True,
    proxies: Mapping[str, str] | None = None,
) -> Answer:
    """Return what is at ``url``, as ``post`` does."""
    return _answer("GET", url, None, NoAuth(), certificate, headers, seconds, verify, proxies)


class NoAuth(AuthBase):
    """Adds nothing to a request."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _answer(
    method: str,
    url: str,
    data: list[tuple[str, str]] | None,
    auth: AuthBase,
    certificate: Certificate | None,
    headers: Mapping[str, str] | None,
    seconds: float,
    verify: bool | str,
    proxies: Mapping[str, str] | None,
) -> Answer:
    call = _Call(seconds)
    with (
        call,
        _session().request(
            method,
            url,
            data=data,
            auth=auth,
            cert=certificate,
            headers={**_HEADERS, **(headers or {})},
            timeout=_timeout(seconds),
            verify=verify,
            proxies=dict(proxies) if proxies else None,
            allow_redirects=False,
            stream=True,
        ) as response,
    ):
        body = _read(response)
        # A connection that we hung up looks like one that the server closed: the end of the body.
        if call.is_over():
            raise requests.Timeout("the answer was not complete in time")
        return Answer(response.status_code, response.headers, body)


def _read(response: requests.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _timeout(seconds: float) -> Any:
    # requests takes urllib3's Timeout as it is, though its annotations do not say so.
    return Timeout(connect=min(CONNECT_SECONDS, seconds), total=seconds)


class _Call:
    """The time that one call may take; hangs up on its connection when that is over."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True
        self.connection: _HangsUp | None = None

    def __enter__(self) -> None:
        self._timer.start()
        _calls.current = self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()
        _calls.current = None

    def seconds_left(self) -> float:
        return self._ends_at - time.monotonic()

    def is_over(self) -> bool:
        return self.seconds_left() <= 0

    def _hang_up(self) -> None:
        # The connection may be back in the pool, and in use for another call.
        with _handover:
            if self.connection is not None and self.connection.call is self:
                _shut_down(self.connection.sock or self.connection.answering)


_calls = threading.local()
_handover = threading.Lock()


def _shut_down(sock: Any) -> None:
    # Not sock.shutdown(): an SSLSocket's forgets its TLS first, and what another thread is just
    # sending would go out in the clear. TLS inside TLS, through a proxy, is a wrapper.
    with suppress(OSError, TypeError):
        socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)


class _HangsUp(HTTPConnection):
    """A connection that the call it serves can hang up, wherever a read may be waiting."""

    call: _Call | None = None
    answering: Any = None

    def connect(self) -> None:
        self._serve_current_call()
        super().connect()

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers: urllib3 would give each the whole time."""
        failure: HTTPError = NewConnectionError(self, "the name has no address")
        for address in self._addresses():
            try:
                return self._new_conn_to(address)
            except (ConnectTimeoutError, NewConnectionError) as error:
                failure = error
        raise failure

    def _addresses(self) -> list[str]:
        name, family = self._dns_host.strip("[]"), allowed_gai_family()
        try:
            found = socket.getaddrinfo(name, self.port, family, socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            return [name]  # No name of a host: urllib3 has an error for it.
        return [str(address[0]) for *_, address in found]

    def _new_conn_to(self, address: str) -> socket.socket:
        call = self._serve_current_call()  # Looking up the name may have taken all the time.
        # A socket takes nothing below zero, and zero for "do not wait".
        self.timeout = max(_LEAST_SECONDS, min(CONNECT_SECONDS, call.seconds_left()))
        name, self._dns_host = self._dns_host, address
        try:
            sock = super()._new_conn()
        finally:
            self._dns_host = name
        try:
            self._serve_current_call()
        except BaseException:
            sock.close()
            raise
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._serve_current_call()
        super().request(*args, **kwargs)

    def getresponse(self) -> Any:
        # For an answer that ends with the connection, http.client lets go of the socket at once.
        self.answering = self.sock
        return super().getresponse()

    def _serve_current_call(self) -> _Call:
        call: _Call = _calls.current
        with _handover:
            call.connection, self.call = self, call
        if call.is_over():
            raise ConnectTimeoutError(self, "the time for this call is over")
        return call


class _HTTPSHangsUp(_HangsUp, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HangsUp


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSHangsUp


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_our_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        # SOCKS has connections of its own, on which each read has its time-out, but not the whole.
        if not proxy.lower().startswith("socks"):
            _use_our_pools(manager)
        return manager


def _use_our_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        # requests would read a redirect's whole body, and parse its Location, even unfollowed.
        return None


@lru_cache(maxsize=1)
def _session() -> requests.Session:
    """Return this process's connection pool; it keeps no cookies."""
    session = _Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=_POOL_SIZE))
    return session


# A connection shared with a parent process would mix both processes' answers.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_session.cache_clear)
