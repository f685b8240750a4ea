"""What a million sessions cost: a stored token's CPU time beside a thousand's, and their room."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg

from benchmarks import contestants, race
from benchmarks.contestants import Contestant
from benchmarks.peers import WARM_UP_SECONDS
from benchmarks.quiet import Alone
from benchmarks.race import Result, Runner
from benchmarks.report import table
from benchmarks.world import DATABASE_SESSIONS, REDIS_SESSIONS, World, apps, bff
from tests.real.redis import Redis

LIMIT = 1.1
FEW = 1_000
# So many sessions ask in turn.
SESSIONS = 200
SETS_OF_A_USER = 5

USERS = """
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff,
  is_active, date_joined)
SELECT password, false, md5('user' || n), '', '', md5('user' || n) || '@op.example', false, true,
  now()
FROM generate_series(1, %(users)s) AS n, (SELECT password FROM auth_user LIMIT 1) AS one
"""
# Copies of a sign-in, each with a handle and a session key of its own.
TOKEN_SETS = """
INSERT INTO django_tmibff_tokenset (handle, user_id, provider, issuer, subject, sid, scope,
  created_at, expires_at, end_reason, refresh_count, last_error, revoke_count, version,
  lease_owner, lease_until, sealed)
SELECT md5('set' || n), 1 + n %% %(users)s, provider, issuer, 'subject-' || n, md5('sid' || n),
  scope, created_at + n * interval '1 ms', expires_at + n * interval '1 ms', end_reason,
  refresh_count, last_error, revoke_count, version, lease_owner, lease_until, sealed
FROM generate_series(1, %(sets)s) AS n, (
  SELECT * FROM django_tmibff_tokenset WHERE sealed IS NOT NULL LIMIT 1) AS one
"""
SESSION_ROWS = """
INSERT INTO django_session (session_key, session_data, expire_date)
SELECT md5('session' || n), session_data, expire_date + n * interval '1 ms'
FROM generate_series(1, %(sets)s) AS n, (SELECT * FROM django_session LIMIT 1) AS one
"""
ROOM = """
SELECT pg_table_size(oid) - coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0),
  coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0), pg_indexes_size(oid)
FROM pg_class WHERE relname = %s
"""
# Within the server: a million copies over the network would take minutes.
COPY = """
local value = redis.call('GET', KEYS[1])
for n = ARGV[1], ARGV[2] do
  redis.call('SET', ARGV[3] .. string.sub(redis.sha1hex('copy' .. n), 1, 32) .. ARGV[4], value)
end
"""
COPIED_AT_ONCE = 50_000
KEYS = {
    "sealed parts (store `cache`)": ":1:tmibff:{*}:set",
    "sessions": ":1:django.contrib.sessions.cache*",
}


@dataclass(frozen=True)
class Room:
    """What something takes in all, in bytes."""

    what: str
    bytes: float


@dataclass
class Growth:
    """What was measured with ``many`` sessions."""

    many: int
    rooms: list[Room]
    results: list[Result] = field(default_factory=list)


class Place:
    """A database and a Redis of their own with that many sessions, and the sites on them."""

    def __init__(self, world: World, sets: int, running: ExitStack) -> None:
        """Make the sites, which are not started; signs nobody in."""
        self.sets = sets
        self.redis: Redis = running.enter_context(Redis(world.folder))
        self._world = world
        self._database = f"sets{sets}"
        world.add_database(self._database, {"INSTALLED_APPS": apps("django_tmibff")})
        own = {**world.settings(self._database), "CACHES": self.redis.settings()}
        self.in_database = bff(world, "db", DATABASE_SESSIONS, settings=own)
        self.in_redis = bff(world, "cache", REDIS_SESSIONS, settings=own)

    def runners(self, running: ExitStack) -> list[Runner]:
        """Sign some users in, start the sites, and check that they answer."""
        names = {
            "store `db`, database sessions": self.in_database,
            "store `cache`, Redis sessions": self.in_redis,
        }
        found = []
        for name, site in names.items():
            cookies = site.sign_in(*[1] * SESSIONS)
            running.enter_context(site)
            found.append(Runner(Contestant(name, site, contestants.NOTHING), cookies))
            found[-1].check()
        return found

    def fill(self) -> list[Room]:
        """Let there be that many sessions; return what they take."""
        more = {"sets": self.sets, "users": max(1, self.sets // SETS_OF_A_USER)}
        with psycopg.connect(self._dsn(), autocommit=True) as connection:
            for statement in (USERS, TOKEN_SETS, SESSION_ROWS, "ANALYZE"):
                connection.execute(statement, more if "%" in statement else None)
            return [*self._rows(connection), *self._keys()]

    def _dsn(self) -> str:
        found = self._world.postgresql.settings(self._database)
        return (
            f"host={found['HOST']} port={found['PORT']} user={found['USER']} dbname={found['NAME']}"
        )

    def _rows(self, connection: psycopg.Connection) -> Iterator[Room]:
        for name, label in (
            ("django_tmibff_tokenset", "token sets"),
            ("django_session", "sessions"),
        ):
            row = connection.execute(ROOM, [name]).fetchone()
            assert row is not None
            table_bytes, toast, indexes = row
            yield Room(f"PostgreSQL, {label}: rows", table_bytes)
            yield Room(f"PostgreSQL, {label}: indexes", indexes)
            if toast > table_bytes / 100:
                yield Room(f"PostgreSQL, {label}: sealed parts (store `db` and `cached_db`)", toast)

    def _keys(self) -> Iterator[Room]:
        for what, pattern in KEYS.items():
            before = self._redis_bytes()
            self._copy(pattern)
            yield Room(f"Redis, {what}", self._redis_bytes() - before)

    def _copy(self, pattern: str) -> None:
        one = self.redis.ask("KEYS", pattern)[0]
        prefix, _, suffix = pattern.partition("*")
        for first in range(1, self.sets + 1, COPIED_AT_ONCE):
            last = min(self.sets, first + COPIED_AT_ONCE - 1)
            self.redis.ask("EVAL", COPY, 1, one, first, last, prefix, suffix)

    def _redis_bytes(self) -> int:
        return int(self.redis.ask("INFO", "memory")["used_memory"])


@dataclass(frozen=True)
class Filled:
    """Sites with few and with many sessions, in pairs; ``behind``: database and caches."""

    many: int
    pairs: list[tuple[Runner, Runner]]
    rooms: list[Room]
    behind: list[int]


@contextmanager
def filled(world: World, *, many: int) -> Iterator[Filled]:
    """Yield the sites while they run."""
    with ExitStack() as running:
        places = [Place(world, sets, running) for sets in (FEW, many)]
        few, others = (place.runners(running) for place in places)
        _, rooms = (place.fill() for place in places)
        behind = [world.postgresql.pid, *(place.redis.pid for place in places)]
        yield Filled(many, list(zip(few, others, strict=True)), rooms, behind)


def measure(filled: Filled, alone: Alone, *, rounds: int) -> Growth:
    """Return what a stored token costs among many sessions, beside few."""
    found = Growth(filled.many, filled.rooms)
    for pair in filled.pairs:
        with alone():
            for runner in pair:
                runner.cost(filled.behind, WARM_UP_SECONDS)
        found.results += race.run(pair, filled.behind, rounds=rounds, seconds=1, alone=alone)[1:]
    return found


def figures(growth: Growth) -> str:
    """Return the tables of what it costs, and of the room it takes."""
    costs = [
        (
            result.contestant.name,
            f"{result.ratio:.2f}",
            f"{result.ratio_of_all:.2f}",
            f"{min(result.ratios_of_all):.2f} to {max(result.ratios_of_all):.2f}",
            f"{LIMIT:.2f}",
        )
        for result in growth.results
    ]
    times = f"{growth.many:,} sessions over {FEW:,}"
    head = (f"CPU, {times}", "the site's own", "with database and cache", "spread", "at most")
    rooms = [(room.what, f"{room.bytes / growth.many:,.0f} bytes") for room in growth.rooms]
    return "\n".join([*table(head, costs), "", *table(("what a session takes", ""), rooms)])
