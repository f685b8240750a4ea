"""The load: sessions take turns, and each turn is many callers of one session at once."""

import dataclasses
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from tests.concurrency import client
from tests.concurrency.client import OLD, Answer, Session
from tests.concurrency.site import Site

BUSY_TURNS = 9


@dataclass(frozen=True)
class Size:
    """How much load, and for how many seconds.

    ``hot`` sessions have their turn at any moment, so that few cores still serve them at once.
    """

    sessions: int
    seconds: float
    hot: int = 8
    callers: int = 16


class Load:
    """Calls in a ``with`` block; ``answers`` holds what came of it.

    A turn is ``callers`` calls of one session at once. Every tenth session is busy: it has ten
    turns to the others' one, so that its token is renewed while it still works. The others' tokens
    have expired by their next turn, and all callers wait. Whoever is to sign in again does so.
    """

    def __init__(self, site: Site, sessions: Sequence[Session], size: Size) -> None:
        """Take whom to call and how much."""
        self.answers: list[Answer] = []
        self._site = site
        self._size = size
        self._stopping = threading.Event()
        self._order = _in_random_order(sessions)
        self._lock = threading.Lock()
        self._hot = ThreadPoolExecutor(size.hot)

    def __enter__(self) -> Self:
        """Start to call."""
        self._running = [self._hot.submit(self._take_turns) for _ in range(self._size.hot)]
        return self

    def __exit__(self, *exception: object) -> None:
        """Let the turns that are under way come to their end."""
        self._stopping.set()
        for turns in self._running:
            turns.result()
        self._hot.shutdown()

    def go_on(self, seconds: float) -> None:
        """Let it call for that long."""
        time.sleep(seconds)

    def ask(self, number: int, session: Session) -> Answer:
        """Ask the host of that number, and look at the token that comes."""
        family = session.family
        answer = client.ask(self._site.origin(number), session)
        if answer.error:
            return answer
        found = self._site.authorization_server.family_of(answer.token)
        is_old = found is None or found < family
        return dataclasses.replace(answer, error=OLD) if is_old else answer

    def ask_all(self, sessions: Sequence[Session]) -> None:
        """Ask once for each session: none may be lost."""
        with ThreadPoolExecutor(self._size.callers) as callers:
            self.answers += callers.map(self.ask, range(len(sessions)), sessions)

    def _take_turns(self) -> None:
        with ThreadPoolExecutor(self._size.callers) as callers:
            while not self._stopping.is_set():
                with self._lock:
                    session = next(self._order)
                self._turn(session, callers)

    def _turn(self, session: Session, callers: ThreadPoolExecutor) -> None:
        family = session.family
        everybody = [session] * self._size.callers
        answers = list(callers.map(self.ask, range(self._size.callers), everybody))
        self.answers += answers
        if any(answer.wants_sign_in for answer in answers):
            self._site.sign_in_again(session, family)


def _in_random_order(sessions: Sequence[Session]) -> Iterator[Session]:
    busy = sessions[: max(1, len(sessions) // 10)]
    turns = [*sessions, *busy * BUSY_TURNS]
    while True:
        yield from random.sample(turns, len(turns))
