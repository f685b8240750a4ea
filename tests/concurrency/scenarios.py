"""What happens to a site under load, and what that may cost."""

import math
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.concurrency.client import Session
from tests.concurrency.figures import Event, Figures, figures
from tests.concurrency.load import Load, Size
from tests.concurrency.site import Setup, Site
from tests.real.postgresql import PostgreSQL
from tests.real.redis import Redis, RedisBehindSentinel

SLOW_SECONDS = 0.8
SIGN_INS_AT_ONCE = 4
# A killed holder's lease lapses, and then the next one asks.
LEASE_SECONDS = 6.0


@dataclass
class Run:
    """A site under load."""

    site: Site
    sessions: Sequence[Session]
    load: Load
    seconds: float


Happening = Callable[[Run], Event]


def run(name: str, happens: Happening, setup: Setup, size: Size) -> Figures:
    """Let it happen to a new site under load; return what that has shown."""
    with Site(setup) as site:
        sessions = site.sign_in(size.sessions)
        began_at = time.monotonic()
        with Load(site, sessions, size) as load:
            event = happens(Run(site, sessions, load, size.seconds))
        seconds = time.monotonic() - began_at
        site.authorization_server.delay = 0.0
        load.ask_all(sessions)
        return figures(name, site, load, event, seconds)


def nothing(run: Run) -> Event:
    """Let them call."""
    run.load.go_on(run.seconds)
    return Event()


def slow_server(run: Run) -> Event:
    """Let the authorization server take 0 to 800 ms, after it has rotated the token."""
    run.site.authorization_server.delay = _up_to_slow
    run.load.go_on(run.seconds)
    return Event()


def sign_ins(run: Run) -> Event:
    """Let users sign in again while their tokens are being renewed."""
    server = run.site.authorization_server
    server.delay = _up_to_slow
    ends_at = time.monotonic() + run.seconds
    with ThreadPoolExecutor(SIGN_INS_AT_ONCE) as people:
        counts = people.map(lambda _: _sign_in_until(ends_at, run), range(SIGN_INS_AT_ONCE))
    return Event(f"{sum(counts)} sign-ins")


def _sign_in_until(ends_at: float, run: Run) -> int:
    """Sign users in again whose token is just being renewed; return how many."""
    count = 0
    by_family: dict[int, Session] = {}
    while time.monotonic() < ends_at:
        session = by_family.get(run.site.authorization_server.renewed or 0)
        if session is not None:
            run.site.sign_in_again(session, session.family)
            count += 1
        run.load.go_on(0.02)
        by_family = {session.family: session for session in run.sessions}
    return count


def kills(point: str, count: int) -> Happening:
    """Return what kills workers at that point of a renewal, one after the other."""

    def happens(run: Run) -> Event:
        event = Event(f"{count} killed", kills=count)
        for _ in range(count):
            unsaved = run.site.kill_worker(point)
            for session in run.sessions:
                if session.handle in unsaved:
                    event.may_cost(session)
            run.load.go_on(LEASE_SECONDS)
        return event

    return happens


def redis_restarted(run: Run) -> Event:
    """Stop Redis, which keeps nothing on disk, and start it again."""
    redis = run.site.redis
    assert isinstance(redis, Redis)
    run.load.go_on(run.seconds / 3)
    lost_at = time.monotonic()
    redis.stop()
    run.load.go_on(run.seconds / 3)
    redis.start()
    gone = time.monotonic() - lost_at
    run.load.go_on(run.seconds / 3)
    return _cache_lost(run, lost_at, f"gone for {gone:.1f} s")


def redis_flushed(run: Run) -> Event:
    """Empty Redis."""
    redis = run.site.redis
    assert isinstance(redis, Redis)
    run.load.go_on(run.seconds / 2)
    lost_at = time.monotonic()
    redis.ask("FLUSHALL")
    run.load.go_on(run.seconds / 2)
    return _cache_lost(run, lost_at, "flushed")


def redis_failed_over(run: Run) -> Event:
    """Kill the master, and let Sentinel make another one."""
    redis = run.site.redis
    assert isinstance(redis, RedisBehindSentinel)
    run.load.go_on(run.seconds / 2)
    lost_at = time.monotonic()
    redis.fail_over()
    gone = time.monotonic() - lost_at
    run.load.go_on(run.seconds / 2)
    return _cache_lost(run, lost_at, f"failed over in {gone:.1f} s")


def database_restarted(run: Run) -> Event:
    """Restart PostgreSQL."""
    database = run.site.database
    assert isinstance(database, PostgreSQL)
    run.load.go_on(run.seconds / 2)
    since = time.monotonic()
    database.restart()
    until = time.monotonic()
    run.load.go_on(run.seconds / 2)
    return Event(f"restarted in {until - since:.1f} s", down=(since, until))


def _cache_lost(run: Run, lost_at: float, text: str) -> Event:
    """Return what a cache costs that lost its content: sessions, where nothing else has them."""
    is_all_there_is = run.site.setup.store == "cache"
    return Event(text, cache_lost_at=lost_at if is_all_there_is else math.inf)


def _up_to_slow() -> float:
    return random.uniform(0, SLOW_SECONDS)  # noqa: S311  # load, not a secret
