"""Run programs beside the tests: start them, wait until they are ready, end them."""

import fcntl
import http.client
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

POLL_SECONDS = 0.02
STOP_SECONDS = 10.0
TAIL_CHARACTERS = 4000
# Below the ports that systems give to outgoing connections: a server that is started again finds
# its own still free.
PORTS = range(20000, 30000)


_promised: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens, and that nobody here was given."""
    while True:
        port = secrets.choice([port for port in PORTS if port not in _promised])
        _promised.add(port)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once the condition holds; raise ``TimeoutError`` naming ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not after {seconds} seconds: {what}.")
        time.sleep(POLL_SECONDS)


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Keep parallel test processes from doing this, which that file stands for, at once."""
    with file.open() as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def accepts_connections(port: int) -> bool:
    """Return whether something listens on that port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def answers_http(url: str) -> bool:
    """Return whether the server answers a GET of the URL, with whatever status and certificate."""
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.netloc)
    try:
        connection.request("GET", parts.path or "/")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(netloc, timeout=5)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(netloc, timeout=5, context=context)


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a command to its end, return what it printed; raise ``RuntimeError`` if it failed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Startable(ABC):
    """What runs between ``start()`` and ``stop()``, or in a ``with`` block."""

    @abstractmethod
    def start(self) -> None:
        """Start, and return when it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """Stop, and return when it is gone."""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop."""
        self.stop()


class Server(Startable):
    """A program that runs between ``start()`` and ``stop()``, or inside a ``with`` block."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        ready: Callable[[], bool],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
    ) -> None:
        """Take what to run, the folder of its log, and how many seconds it may take to be ready.

        ``env`` comes on top of this process's own environment.
        """
        self.name = name
        self.command = command
        self.cwd = cwd
        self.env = dict(env or {})
        self._log = folder / f"{name}-{id(self)}.log"
        self._ready = ready
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until ready; raise ``RuntimeError`` with the log's end if it is not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process: ask it first, kill its whole group when it does not listen."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def kill(self) -> None:
        """Kill the process and all of its group, without a word."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log(self) -> str:
        """Return what the server has printed so far, earlier starts included."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _wait_until_ready(self) -> None:
        try:
            wait_until(lambda: self._died() or self._ready(), self._seconds, f"{self.name} ready")
        except TimeoutError as error:
            raise RuntimeError(f"{error}\n{self._tail()}") from error
        if self._died():
            raise RuntimeError(f"{self.name} died at its start.\n{self._tail()}")

    def _died(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _tail(self) -> str:
        return self.log()[-TAIL_CHARACTERS:]
