"""Two hosts whose clocks are an hour apart share a database, a cache, and sessions."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.real.clocks import clock_off_by
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.processes import wait_until
from tests.real.redis import Redis
from tests.real.session import (
    DAY,
    call_at_once,
    databases,
    fetch_token,
    new_session,
    only_token,
    token_of,
)
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

CALLERS = 16


@pytest.fixture(scope="module", params=["db", "cached_db", "cache"])
def hosts(
    request: pytest.FixtureRequest,
    strict_server: StrictServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Gunicorn]]:
    """The test project on two hosts: one whose clock is right, one that is an hour ahead."""
    folder = tmp_path_factory.mktemp("hosts")
    with databases("postgresql", folder) as found, Redis(folder) as redis, ExitStack() as running:
        settings = {
            **strict_server.django_settings(),
            "DATABASES": found,
            "CACHES": redis.settings(),
            "TMIBFF_STORE": f"django_tmibff.stores.{request.param}",
        }
        migrate(settings)
        yield [
            running.enter_context(Gunicorn(folder, settings, workers=1, threads=CALLERS, env=env))
            for env in ({}, clock_off_by("+1h"))
        ]


def test_many_callers_of_both_cost_one_refresh(hosts: list[Gunicorn], server: StrictServer) -> None:
    cookie = _expired(hosts, server)
    server.delay = 0.5
    fetches = [partial(fetch_token, host.origin, cookie) for host in hosts * CALLERS]
    assert server.is_alive(only_token(call_at_once(fetches)))
    assert (server.refreshes, server.reuses) == (1, 0)


@pytest.mark.parametrize(("holder", "other"), [(0, 1), (1, 0)], ids=["right", "ahead"])
def test_each_respects_the_others_lease(
    hosts: list[Gunicorn], server: StrictServer, holder: int, other: int
) -> None:
    cookie = _expired(hosts, server)
    server.delay = 1.0
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(fetch_token, hosts[holder].origin, cookie)
        wait_until(lambda: server.refreshes == 1, 10, "the holder asks")
        second = fetch_token(hosts[other].origin, cookie)
        assert token_of(second) == token_of(first.result())
    assert (server.refreshes, server.reuses) == (1, 0)


def test_an_outage_that_one_has_seen_is_known_to_the_other_and_ends_in_time(
    hosts: list[Gunicorn], server: StrictServer
) -> None:
    right, ahead = hosts
    cookie = _expired(hosts, server)
    server.stop()
    try:
        descriptions = [
            fetch_token(host.origin, cookie).json()["error_description"] for host in (ahead, right)
        ]
    finally:
        server.start()
    assert "a moment ago" not in descriptions[0]
    assert "a moment ago" in descriptions[1]
    wait_until(lambda: fetch_token(right.origin, cookie).ok, 10, "the outage is over")
    assert token_of(fetch_token(ahead.origin, cookie)) == token_of(
        fetch_token(right.origin, cookie)
    )
    assert (server.refreshes, server.reuses) == (1, 0)


def test_the_clocks_are_an_hour_apart(hosts: list[Gunicorn], server: StrictServer) -> None:
    """The other tests here could not fail without this."""
    cookie = new_session(hosts[0].settings, server.new_family(access_token_ttl=DAY))
    right, ahead = (fetch_token(host.origin, cookie).json()["expires_in"] for host in hosts)
    assert 3500 < right - ahead < 3700


def _expired(hosts: list[Gunicorn], server: StrictServer) -> str:
    """Return the cookie of a session whose token is over for both; the next one lives a day."""
    signed_in = server.new_family(access_token_ttl=DAY)
    return new_session(hosts[0].settings, signed_in, age_seconds=2 * DAY)
