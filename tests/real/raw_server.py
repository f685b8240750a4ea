"""A server that answers with whatever bytes a test gives it, as slowly as it likes."""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Self

Script = Callable[[], Iterable[bytes]]


def http(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """Return a complete HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class RawServer:
    """Plays ``script`` to each request; ``requests`` holds what arrived.

    A script that raises ``ConnectionAbortedError`` closes the connection, one that raises
    ``ConnectionResetError`` resets it.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        """Listen on a free loopback port, over https if ``tls`` is given."""
        self.script = script
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.port = int(self._listener.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/token"
        self._threads: list[threading.Thread] = []
        self._accepted: list[socket.socket] = []

    def __enter__(self) -> Self:
        """Start to answer."""
        self._start(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        """Hang up and wait until nobody is served any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._accepted:
            _hang_up(connection)
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), self._secured(connection) as stream:
            self._accepted.append(stream)
            while request := _request(stream):
                self.requests.append(request)
                self._play(stream, request)

    def answer(self, request: bytes) -> Iterable[bytes]:
        """Return the parts of the answer to that request."""
        return self.script()

    def _play(self, stream: socket.socket, request: bytes) -> None:
        try:
            for part in self.answer(request):
                stream.sendall(part)
        except ConnectionResetError:
            # Without time to linger, closing sends a reset.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        try:
            return self._tls.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            raise


def _request(connection: socket.socket) -> bytes:
    """Return one whole request, or nothing when the client has hung up."""
    received = b""
    while not _is_whole(received):
        piece = connection.recv(65536)
        if not piece:
            return b""
        received += piece
    return received


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return bool(end) and (length is None or len(body) >= int(length[1]))


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
