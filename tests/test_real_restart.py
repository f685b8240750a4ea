"""A database that restarts between the authorization server's answer and the save."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.real.gunicorn import Gunicorn, migrate
from tests.real.mariadb import MariaDB
from tests.real.postgresql import PostgreSQL
from tests.real.processes import wait_until
from tests.real.redis import Redis
from tests.real.session import (
    DATABASE_SERVERS,
    DAY,
    drop_access_tokens,
    fetch_token,
    new_session,
    refresh_token,
    token_of,
)
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

NOT_SAVED = "not saved yet: the database fails"
# Each is a tenth of a second after the one before.
FAILED_SAVES = 20


@pytest.fixture(
    scope="module",
    params=[
        ("postgresql", "db"),
        ("postgresql", "cached_db"),
        ("postgresql", "cache"),
        ("mariadb", "db"),
    ],
    ids="-".join,
)
def site(
    request: pytest.FixtureRequest,
    strict_server: StrictServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Gunicorn, PostgreSQL | MariaDB]]:
    """The test project, and the database that it uses."""
    folder = tmp_path_factory.mktemp("site")
    vendor, store = request.param
    with DATABASE_SERVERS[vendor]() as database, Redis(folder) as redis:
        database.create_database("testproject")
        settings = {
            **strict_server.django_settings(),
            "DATABASES": {"default": database.settings("testproject")},
            "CACHES": redis.settings(),
            "TMIBFF_STORE": f"django_tmibff.stores.{store}",
        }
        migrate(settings)
        with Gunicorn(folder, settings, workers=1, threads=4) as app:
            yield app, database


def test_r12_the_answer_is_saved_as_soon_as_the_database_is_back(
    site: tuple[Gunicorn, PostgreSQL | MariaDB], server: StrictServer
) -> None:
    app, database = site
    cookie = new_session(app.settings, server.new_family(), age_seconds=DAY)
    server.delay = partial(_halt, database)
    with ThreadPoolExecutor(1) as callers:
        answer = callers.submit(fetch_token, app.origin, cookie)
        wait_until(lambda: app.log().count(NOT_SAVED) >= FAILED_SAVES, 30, "saving fails")
        database.resume()
        token = token_of(answer.result())
    server.delay = 0
    assert server.is_alive(token)
    assert server.is_alive(refresh_token(app.settings, cookie))
    assert token_of(fetch_token(app.origin, cookie)) == token
    drop_access_tokens(app.settings, cookie)
    assert server.is_alive(token_of(fetch_token(app.origin, cookie)))
    assert (server.refreshes, server.reuses) == (2, 0)


def _halt(database: PostgreSQL | MariaDB) -> float:
    """Halt the database while the answer is on its way; it takes no longer for that."""
    database.halt()
    return 0.0
