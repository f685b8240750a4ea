"""One POST with limits, against real sockets: X5, DESIGN (c) 3."""

import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import LocationParseError

from django_tmibff import transport
from tests.real.certificates import make_certificate
from tests.real.raw_server import RawServer, http

OK = http(b'{"access_token": "a"}')
FORM = [("grant_type", "refresh_token")]


pytestmark = pytest.mark.usefixtures("new_pool")


def post(server: RawServer, seconds: float = 5.0) -> transport.Answer:
    return transport.post(server.url, FORM, auth=HTTPBasicAuth("id", "secret"), seconds=seconds)


def dripping(before: bytes, piece: bytes, stop: threading.Event) -> Any:
    """Return a script that sends ``piece`` again and again, often enough for any read time-out."""

    def script() -> Iterator[bytes]:
        yield before
        while not stop.wait(0.05):
            yield piece

    return script


class TestAnswers:
    def test_status_headers_and_body(self) -> None:
        with RawServer(lambda: [http(b"no", status="400 Bad", headers="Retry-After: 7\r\n")]) as s:
            answer = post(s)
        assert (answer.status, answer.body, answer.headers["retry-after"]) == (400, b"no", "7")
        assert "no" not in repr(answer)

    def test_the_connection_is_kept(self) -> None:
        with RawServer(lambda: [OK]) as server:
            for _ in range(3):
                post(server)
            assert (server.connections, len(server.requests)) == (1, 3)

    def test_no_cookies_are_kept(self) -> None:
        script = [http(b"{}", headers="Set-Cookie: tracker=1; Path=/\r\n")]
        with RawServer(lambda: script) as server:
            post(server)
            post(server)
        assert b"tracker" not in server.requests[1]

    def test_no_redirect_is_followed(self) -> None:
        with RawServer(lambda: [OK]) as elsewhere:
            moved = http(b"", status="307 Moved", headers=f"Location: {elsewhere.url}\r\n")
            with RawServer(lambda: [moved]) as server:
                assert post(server).status == 307
            assert elsewhere.requests == []

    def test_credentials_are_not_taken_from_a_netrc_file(
        self, tmp_path: Any, monkeypatch: Any
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login wrong password wrong\n")
        monkeypatch.setenv("NETRC", str(netrc))
        with RawServer(lambda: [OK]) as server:
            post(server)
        assert b"Authorization: Basic aWQ6c2VjcmV0" in server.requests[0]


class TestLimits:
    @pytest.mark.parametrize(
        ("before", "piece"),
        [
            (b"", b"H"),
            (b"HTTP/1.1 200 OK\r\n", b"X-Drip: x\r\n"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        ],
        ids=["status-line", "headers", "body", "body-to-the-end", "chunks"],
    )
    def test_a_server_that_drips_is_hung_up_on_in_time(self, before: bytes, piece: bytes) -> None:
        stop = threading.Event()
        with RawServer(dripping(before, piece, stop)) as server:
            started = time.monotonic()
            with pytest.raises(requests.RequestException):
                post(server, seconds=0.5)
            took = time.monotonic() - started
            stop.set()
        assert 0.4 < took < 2.0

    def test_a_server_that_says_nothing(self) -> None:
        stop = threading.Event()

        def script() -> Iterator[bytes]:
            stop.wait(5)
            yield b""

        with RawServer(script) as server:
            with pytest.raises(requests.RequestException):
                post(server, seconds=0.3)
            stop.set()

    @pytest.mark.parametrize(
        "headers", ["Content-Length: 300000\r\n", "Connection: close\r\n"], ids=["told", "untold"]
    )
    def test_an_answer_that_is_too_large(self, headers: str) -> None:
        big = f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + b"x" * 300_000
        with RawServer(lambda: [big]) as server, pytest.raises(transport.AnswerTooLargeError):
            post(server)

    def test_a_compressed_answer_that_is_small_only_on_the_wire(self) -> None:
        bomb = gzip.compress(b"x" * 50_000_000)
        answer = http(bomb, headers="Content-Encoding: gzip\r\n")
        with RawServer(lambda: [answer]) as server, pytest.raises(transport.AnswerTooLargeError):
            post(server)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"\x00\xff junk\r\n\r\n",
            http(b"not gzip", headers="Content-Encoding: gzip\r\n"),
        ],
    )
    def test_a_broken_answer_is_asked_for_only_once(self, answer: bytes) -> None:
        """The refresh token may have been rotated already."""

        def script() -> Iterator[bytes]:
            yield answer
            raise OSError

        with RawServer(script) as server:
            with pytest.raises(requests.RequestException):
                post(server)
            assert len(server.requests) == 1

    def test_a_kept_connection_that_ends_after_the_request_is_no_reason_to_ask_again(self) -> None:
        def script() -> Iterator[bytes]:
            if len(server.requests) > 1:
                raise OSError
            yield OK

        with RawServer(script) as server:
            post(server)
            with pytest.raises(requests.RequestException):
                post(server)
            assert (server.connections, len(server.requests)) == (1, 2)

    @pytest.mark.django_db
    def test_x5_one_that_drips_costs_a_page_the_sites_time_out(
        self, signed_in: Any, settings: Any
    ) -> None:
        stop = threading.Event()
        with RawServer(dripping(b"HTTP/1.1 200 OK\r\n\r\n", b" ", stop)) as server:
            settings.OIDC_OP_TOKEN_ENDPOINT = server.url
            settings.TMIBFF_AS_TIMEOUT = 0.5
            page = signed_in(expires_in=0)
            started = time.monotonic()
            assert page.refusal()["error"] == "temporarily_unavailable"
            took = time.monotonic() - started
            stop.set()
            assert len(server.requests) == 1
        assert 0.4 < took < 5.0

    def test_nobody_listens(self) -> None:
        with RawServer(list) as server:
            pass
        with pytest.raises(requests.ConnectionError):
            post(server)

    def test_a_timer_that_is_over_hangs_up_nobody_else(self) -> None:
        with RawServer(lambda: [OK]) as server:
            post(server, seconds=0.2)
            threads = {t for t in threading.enumerate() if isinstance(t, threading.Timer)}
            for thread in threads:
                thread.join()
            assert post(server).status == 200
            assert server.connections == 1

    def test_a_call_whose_time_is_over_sends_nothing(self) -> None:
        """By then somebody else may hold the lease."""
        with RawServer(lambda: [OK]) as server:
            with pytest.raises(requests.RequestException):
                post(server, seconds=1e-6)
            assert server.requests == []

    @pytest.mark.parametrize("location", [b"http://[", b"//[x", b"\xff", b"/elsewhere"])
    def test_a_redirect_is_neither_followed_nor_parsed_nor_read_without_end(
        self, location: bytes
    ) -> None:
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 1000000\r\nLocation: "
        answer = head + location + b"\r\n\r\n" + b"x" * 1_000_000
        with RawServer(lambda: [answer]) as server, pytest.raises(transport.AnswerTooLargeError):
            post(server)


@pytest.fixture
def resolves(monkeypatch: Any) -> Any:
    """Let many.example be at these addresses."""
    look_up = socket.getaddrinfo

    def resolve(addresses: list[str]) -> None:
        def answer(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            if host != "many.example":
                return look_up(host, port, *args, **kwargs)
            return [found for one in addresses for found in look_up(one, port, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", answer)

    return resolve


@contextmanager
def dark(port: int = 0) -> Iterator[int]:
    """Let 127.0.0.2 answer no attempt to connect to a port; it is the one that is told."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.2", port))
        listener.listen(0)
        for _ in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class TestAddresses:
    """A name may have many, and each may be dark: urllib3 gives each of them the whole time."""

    def test_all_of_them_together_have_the_time_of_one(self, resolves: Any) -> None:
        resolves(["127.0.0.2"] * 10)
        started = time.monotonic()
        with dark() as port, pytest.raises(requests.ConnectTimeout):
            transport.get(f"http://many.example:{port}/", seconds=0.4)
        assert 0.3 < time.monotonic() - started < 2.0

    def test_the_first_that_answers_is_asked(self, resolves: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.1)
        resolves(["127.0.0.3", "127.0.0.2", "127.0.0.1", "127.0.0.2"])
        with RawServer(lambda: [OK]) as server, dark(server.port):
            assert transport.get(f"http://many.example:{server.port}/", seconds=5).status == 200
        assert f"Host: many.example:{server.port}".encode() in server.requests[0]

    def test_none_that_listens(self, resolves: Any) -> None:
        resolves(["127.0.0.3", "127.0.0.4"])
        with dark() as port, pytest.raises(requests.ConnectionError) as refused:
            transport.get(f"http://many.example:{port}/", seconds=5)
        assert not isinstance(refused.value, requests.Timeout)

    def test_a_name_that_nobody_knows(self, monkeypatch: Any) -> None:
        def unknown(*args: Any, **kwargs: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(requests.ConnectionError):
            transport.get("http://nobody.example/", seconds=5)

    def test_a_name_that_is_none(self) -> None:
        with pytest.raises(LocationParseError):
            transport.get(f"http://{'x' * 64}.example/", seconds=5)


class TestTls:
    @pytest.fixture
    def certificate(self, tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
        certificate, key = make_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return certificate, context

    def post(self, server: RawServer, verify: Any, seconds: float = 5.0) -> transport.Answer:
        auth = HTTPBasicAuth("id", "secret")
        return transport.post(server.url, FORM, auth=auth, seconds=seconds, verify=verify)

    def test_with_a_certificate_that_the_site_trusts(self, certificate: Any) -> None:
        path, context = certificate
        with RawServer(lambda: [OK], context) as server:
            for _ in range(2):
                assert self.post(server, verify=str(path)).status == 200
            assert server.connections == 1

    def test_a_hang_up_never_makes_another_thread_send_in_the_clear(self, certificate: Any) -> None:
        """An SSLSocket's own shutdown() forgets its TLS first, and then closes."""
        path, context = certificate
        with RawServer(lambda: [OK], context) as server:
            self.post(server, verify=str(path))
            pool = (
                transport._session()
                .get_adapter(server.url)
                .poolmanager.connection_from_url(
                    server.url, pool_kwargs={"ca_certs": str(path), "cert_reqs": "CERT_REQUIRED"}
                )
            )
            sock = pool._get_conn().sock
            transport._shut_down(sock)
            assert sock._sslobj is not None
            with pytest.raises(OSError):  # noqa: PT011  # whichever the system says
                sock.sendall(b"refresh_token=canary")
            sock.close()

    def test_not_without(self, certificate: Any) -> None:
        _path, context = certificate
        with RawServer(lambda: [OK], context) as server:
            with pytest.raises(requests.exceptions.SSLError):
                self.post(server, verify=True)
            assert server.requests == []

    def test_a_server_that_drips_is_hung_up_on_in_time(self, certificate: Any) -> None:
        path, context = certificate
        stop = threading.Event()
        script = dripping(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" ", stop)
        with RawServer(script, context) as server:
            started = time.monotonic()
            with pytest.raises(requests.RequestException):
                self.post(server, verify=str(path), seconds=0.5)
            assert time.monotonic() - started < 2.0
            stop.set()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_makes_connections_of_its_own() -> None:
    with RawServer(lambda: [OK]) as server:
        post(server)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if post(server).status == 200 else 1
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert server.connections == 2
