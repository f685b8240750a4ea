"""One POST to an authorization server, with limits on how long it takes and how much comes back.

requests' own time-out starts anew with every byte that arrives: a server that drips a byte a second
would hold a worker for ever. Here one timer spans the whole call and hangs up when it runs out.
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
from django.views.decorators.debug import sensitive_variables
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse
from urllib3.util import Timeout

MAX_ANSWER_BYTES = 256 * 1024
CONNECT_SECONDS = 2.0

_CHUNK_BYTES = 16 * 1024
_POOL_SIZE = 32


class AnswerTooLargeError(requests.RequestException):
    """The server sent more than an OAuth answer can be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the body may hold tokens."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@sensitive_variables()
def post(
    url: str,
    data: list[tuple[str, str]],
    *,
    auth: AuthBase,
    seconds: float,
    verify: bool | str = True,
    proxies: Mapping[str, str] | None = None,
) -> Answer:
    """Return the answer to a form posted to ``url``, within ``seconds`` in all.

    No redirect is followed and nothing is tried twice: the server may have rotated the refresh
    token already. ``auth`` is required, for without one requests would look into ``~/.netrc``.
    Raises ``requests.RequestException``.
    """
    ends_at = time.monotonic() + seconds
    with _session().post(
        url,
        data=data,
        auth=auth,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=_timeout(seconds),
        verify=verify,
        proxies=dict(proxies) if proxies else None,
        allow_redirects=False,
        stream=True,
    ) as response:
        try:
            body = _read(response)
        finally:
            _cancel_hang_up(response)
        # A connection that we hung up looks like one that the server closed: the end of the body.
        if time.monotonic() >= ends_at:
            raise requests.Timeout("the answer was not complete in time")
        return Answer(response.status_code, response.headers, body)


@sensitive_variables()
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


def _cancel_hang_up(response: requests.Response) -> None:
    hang_up: threading.Timer | None = getattr(response.raw, "hang_up", None)
    if hang_up is not None:
        hang_up.cancel()


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class _HangsUp(HTTPConnection):
    """Shuts the socket down once the call's time is over, wherever a read may be waiting."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        # By now urllib3 has set ``timeout`` to what is left of the total.
        hang_up = threading.Timer(self.timeout or 0, _shut_down, [self.sock])
        hang_up.daemon = True
        hang_up.start()
        try:
            response = super().getresponse()
        except BaseException:
            hang_up.cancel()
            raise
        response.hang_up = hang_up  # type: ignore[attr-defined]  # cancelled by post()
        return response


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
        _use_our_pools(manager)
        return manager


def _use_our_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


@lru_cache(maxsize=1)
def _session() -> requests.Session:
    """Return this process's connection pool; it keeps no cookies."""
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_maxsize=_POOL_SIZE))
    return session


# A connection shared with a parent process would mix both processes' answers.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_session.cache_clear)
