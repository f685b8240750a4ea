"""A connection pool smaller than the number of threads: who waits must not starve who saves."""

from collections.abc import Iterator

import pytest

from tests.real.gunicorn import Gunicorn, migrate
from tests.real.session import (
    DAY,
    call_at_once,
    databases,
    fetch_at_once,
    fetch_token,
    new_session,
    only_token,
    token_of,
)
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

THREADS = 16
# Whoever waits this long for a connection fails.
POOL = {"min_size": 1, "max_size": 4, "timeout": 1.5}
SLOW_SECONDS = 2.0
SESSIONS = 6


@pytest.fixture(scope="module")
def app(
    strict_server: StrictServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    """One process of 16 threads, with 4 connections to PostgreSQL."""
    folder = tmp_path_factory.mktemp("app")
    with databases("postgresql", folder) as found:
        settings = {**strict_server.django_settings(), "DATABASES": found}
        migrate(settings)
        found["default"]["OPTIONS"] = {"pool": POOL}
        with Gunicorn(folder, settings, workers=1, threads=THREADS) as app:
            yield app


def test_callers_for_different_tokens_of_one_session_leave_a_connection_to_who_saves(
    app: Gunicorn, server: StrictServer
) -> None:
    cookie = new_session(app.settings, server.new_family(), age_seconds=DAY)
    server.delay = SLOW_SECONDS
    kinds: list[dict[str, str]] = [{}, {"scope": "email"}, {"scope": "openid"}]
    queries = [kinds[number % len(kinds)] for number in range(THREADS)]
    answers = fetch_at_once(app.origin, cookie, queries)
    for number in range(len(kinds)):
        assert server.is_alive(only_token(answers[number :: len(kinds)]))
    assert (server.refreshes, server.reuses) == (len(kinds), 0)


def test_renewals_of_more_sessions_than_connections_hold_up_nobody(
    app: Gunicorn, server: StrictServer
) -> None:
    expired = [
        new_session(app.settings, server.new_family(), age_seconds=DAY) for _ in range(SESSIONS)
    ]
    server.delay = SLOW_SECONDS
    calls = [lambda cookie=cookie: fetch_token(app.origin, cookie) for cookie in expired * 2]
    tokens = [token_of(answer) for answer in call_at_once(calls)]
    assert tokens[:SESSIONS] == tokens[SESSIONS:]
    assert (server.refreshes, server.reuses) == (SESSIONS, 0)
