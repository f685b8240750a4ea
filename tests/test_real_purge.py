"""``manage.py purge_expired_tokens`` as processes: beside traffic, beside itself, and killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.bench.measured import measure
from tests.real.gunicorn import PROJECT, Gunicorn, environment, migrate
from tests.real.over import add_expired, connect, number_of
from tests.real.processes import wait_until
from tests.real.redis import Redis
from tests.real.session import databases, fetch_at_once, new_session
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

COMMAND = (sys.executable, "manage.py", "purge_expired_tokens")
SESSIONS = 3
ROUNDS = 2
LIFETIME = 2.0
ROWS = 1_500


@pytest.fixture(scope="module")
def strict_server() -> Iterator[StrictServer]:
    """The authorization server of the test project."""
    with StrictServer() as server:
        yield server


@pytest.fixture(scope="module")
def settings(
    strict_server: StrictServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """The test project's settings, with a PostgreSQL database of its own."""
    with databases("postgresql", tmp_path_factory.mktemp("purge")) as found:
        settings = {**strict_server.django_settings(), "DATABASES": found}
        migrate(settings)
        yield settings


@pytest.fixture
def server(strict_server: StrictServer) -> StrictServer:
    """The authorization server, which has counted nothing yet."""
    strict_server.reset()
    return strict_server


@pytest.fixture
def database(settings: Mapping[str, Any]) -> Iterator[psycopg.Connection]:
    """The database beside Django, without any token set."""
    with connect(settings["DATABASES"]) as connection:
        connection.execute("TRUNCATE django_tmibff_tokenset")
        yield connection


def start(settings: Mapping[str, Any], *options: str) -> subprocess.Popen[str]:
    """Start the command."""
    return subprocess.Popen(
        [*COMMAND, *options],
        cwd=PROJECT,
        env={**os.environ, **environment(settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def purge(settings: Mapping[str, Any], *options: str) -> tuple[int, str]:
    """Run the command; return its exit code and what it printed."""
    process = start(settings, *options)
    printed, _ = process.communicate()
    return process.returncode, printed


def deleted(printed: str) -> int:
    """Return how many token sets the last line says."""
    return int(last(printed).split()[0])


def last(printed: str) -> str:
    return printed.strip().splitlines()[-1]


def expired_session(settings: Mapping[str, Any], server: StrictServer, connection: Any) -> None:
    """Sign somebody in whose session has just expired."""
    new_session(settings, server.new_family())
    connection.execute(
        "UPDATE django_tmibff_tokenset SET expires_at = now()"
        " WHERE id = (SELECT max(id) FROM django_tmibff_tokenset)"
    )


@pytest.mark.parametrize("store", ["db", "cached_db", "cache"])
def test_who_renews_meanwhile_loses_nothing(
    store: str,
    settings: Mapping[str, Any],
    server: StrictServer,
    database: psycopg.Connection,
    folder: Path,
) -> None:
    with Redis(folder) as redis:
        settings = {
            **settings,
            "CACHES": redis.settings(),
            "TMIBFF_STORE": f"django_tmibff.stores.{store}",
        }
        cookies = [
            new_session(settings, server.new_family(LIFETIME), age_seconds=60)
            for _ in range(SESSIONS)
        ]
        with (
            Gunicorn(folder, settings, workers=2, threads=8) as app,
            ThreadPoolExecutor(1) as beside,
        ):
            for _ in range(ROUNDS):
                add_expired(database, ROWS)
                expired_session(settings, server, database)
                purged = beside.submit(purge, settings, "--batch-size=100")
                while not purged.done():
                    for cookie in cookies:
                        answers = fetch_at_once(app.origin, cookie, [{}] * 4)
                        assert {answer.status_code for answer in answers} == {200}
                assert deleted(purged.result()[1]) > ROWS
    assert number_of(database) == number_of(database, "ended_at IS NULL") == SESSIONS
    assert server.reuses == 0
    assert server.refreshes > SESSIONS
    assert server.revocations == (0 if store == "cache" else ROUNDS)


def test_two_at_once_share_the_work(
    settings: Mapping[str, Any], database: psycopg.Connection
) -> None:
    add_expired(database, 4 * ROWS)
    with database.transaction():
        # Both start at the same moment: when the table is free.
        database.execute("LOCK TABLE django_tmibff_tokenset")
        processes = [start(settings, "--batch-size=100") for _ in range(2)]
        wait_until(lambda: _waiting(settings) == 2, 60, "two purges wait for the table")
    shares = [deleted(process.communicate()[0]) for process in processes]
    assert sum(shares) == 4 * ROWS
    assert min(shares) > 0
    assert [process.returncode for process in processes] == [0, 0]


def test_what_somebody_has_locked_is_left_to_the_next_run(
    settings: Mapping[str, Any], database: psycopg.Connection
) -> None:
    add_expired(database, 10)
    with database.transaction():
        database.execute("SELECT 1 FROM django_tmibff_tokenset LIMIT 1 FOR UPDATE")
        assert deleted(purge(settings)[1]) == 9
    assert deleted(purge(settings)[1]) == 1


def test_killed_while_it_revokes_it_leaves_nothing_half_done(
    settings: Mapping[str, Any], server: StrictServer, database: psycopg.Connection
) -> None:
    add_expired(database, 100)
    expired_session(settings, server, database)
    add_expired(database, 100)
    server.delay = 60
    process = start(settings, "--batch-size=50")
    wait_until(lambda: server.revocations == 1, 60, "purge asks the authorization server")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    server.delay = 0.0
    owed = "end_reason = 'expired' AND sealed IS NOT NULL AND revoke_at > now()"
    untouched = "ended_at IS NULL AND sealed IS NOT NULL AND version = 4"
    assert (number_of(database, owed), number_of(database, untouched)) == (1, 100)
    database.execute("UPDATE django_tmibff_tokenset SET revoke_at = now() WHERE ended_at < now()")
    assert last(purge(settings)[1]) == (
        "101 token sets deleted, 1 revoked, 0 still owed, 0 given up, 0 failed, 0 notes deleted"
    )


def test_cron_learns_how_it_went(
    settings: Mapping[str, Any], server: StrictServer, database: psycopg.Connection
) -> None:
    assert purge(settings, "--verbosity=0") == (0, "")
    add_expired(database, 1, days=1)  # What is sealed there opens for nobody.
    code, printed = purge(settings, "--verbosity=0")
    assert (code, last(printed)) == (1, "CommandError: 1 failed, 0 given up: see the log.")
    code, printed = purge(settings, "--verbosity=0", "--max-seconds=0")
    assert (code, last(printed)) == (2, "CommandError: Time is over: run this again.")


def test_many_rows_take_no_more_memory_and_no_long_transaction(
    settings: Mapping[str, Any], database: psycopg.Connection
) -> None:
    """``make bench-purge`` says what a million take."""
    add_expired(database, 10 * ROWS)
    measured = measure(settings, "purge_expired_tokens", "--verbosity=0")
    assert number_of(database) == 0
    assert len(measured.transactions) > 10
    assert measured.megabytes <= 10
    assert max(measured.transactions) < 2  # 0.2 s where nothing else runs


def _waiting(settings: Mapping[str, Any]) -> int:
    with connect(settings["DATABASES"]) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchone()
    assert found is not None
    return int(found[0])
