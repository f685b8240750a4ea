"""Which runs there are: all of them, and those that are quick enough for every change."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from tests.concurrency import scenarios
from tests.concurrency.figures import Figures
from tests.concurrency.kills import ANSWERED, BEFORE_CALL, POINTS
from tests.concurrency.load import Size
from tests.concurrency.scenarios import Happening
from tests.concurrency.site import Setup

DATABASES = ("postgresql", "mariadb", "sqlite")
STORES = ("db", "cached_db", "cache")
CACHED = ("cached_db", "cache")

# What is promised of every database and store; all else happens to PostgreSQL.
EVERYWHERE = "many callers"


@dataclass(frozen=True)
class Step:
    """One run."""

    name: str
    happens: Happening
    setup: Setup
    size: Size

    def __str__(self) -> str:
        return f"{self.name}, {self.setup.database}, {self.setup.store}"

    def run(self) -> Figures:
        """Start the servers, let it happen, return what that has shown."""
        return scenarios.run(self.name, self.happens, self.setup, self.size)


def everything() -> Iterator[Step]:
    """Yield all runs: a quarter of an hour."""
    for database, store in product(DATABASES, STORES):
        yield Step(EVERYWHERE, scenarios.nothing, Setup(database, store), Size(200, 30))
    usual = Size(60, 12)
    for store in STORES:
        setup = Setup("postgresql", store)
        two_hosts = Setup("postgresql", store, hosts=2)
        yield Step("two hosts", scenarios.nothing, two_hosts, Size(200, 12))
        yield Step("slow server", scenarios.slow_server, setup, Size(200, 12))
        yield Step("sign-ins", scenarios.sign_ins, setup, usual)
        yield Step("database restarted", scenarios.database_restarted, setup, usual)
    for point, store in product(POINTS, STORES):
        yield _kills(point, store, 2)
    for store in CACHED:
        setup = Setup("postgresql", store)
        yield Step("Redis restarted", scenarios.redis_restarted, setup, usual)
        yield Step("Redis flushed", scenarios.redis_flushed, setup, usual)
        behind_sentinel = Setup("postgresql", store, sentinel=True)
        yield Step("Redis failed over", scenarios.redis_failed_over, behind_sentinel, usual)


def sample() -> Iterator[Step]:
    """Yield runs that take a minute in all."""
    size = Size(40, 5)
    yield Step(EVERYWHERE, scenarios.nothing, Setup("sqlite", "db"), size)
    yield Step(EVERYWHERE, scenarios.nothing, Setup("mariadb", "cached_db"), size)
    yield Step("slow server", scenarios.slow_server, Setup("postgresql", "cached_db"), size)
    yield Step("sign-ins", scenarios.sign_ins, Setup("postgresql", "db"), size)
    yield Step("Redis flushed", scenarios.redis_flushed, Setup("postgresql", "cache"), size)
    yield _kills(BEFORE_CALL, "db", 1)
    yield _kills(ANSWERED, "cache", 1)


def _kills(point: str, store: str, count: int) -> Step:
    setup = Setup("postgresql", store, can_be_killed=True)
    return Step(f"kill -9: {point}", scenarios.kills(point, count), setup, Size(40, 0))
