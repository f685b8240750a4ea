"""{what else is down} x {state of the stored token} x {store}."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet
from django.core.cache import caches
from django.db import OperationalError, connection

from tests.faults.answers import check_answer, check_error
from tests.faults.server import FaultyServer
from tests.faults.sign_in import sign_in
from tests.faults.table import (
    BESIDE,
    CACHE_LOST,
    CACHE_SILENT,
    DATABASE_DOWN,
    DATABASE_READ_ONLY,
    KEYS_LOST,
    NEW,
    NOT_READY,
    STATES,
    UNAVAILABLE,
    VALID,
    Beside,
)
from tests.page import SIGN_IN, TOKEN, Page
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.postgresql import PostgreSQL
from tests.real.raw_server import RawServer
from tests.real.redis import Redis
from tests.real.session import fetch_token, new_session, token_of
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

CASES = {
    f"{row.what}-{store}-{state}": (row, store, state)
    for row in BESIDE
    for store in row.stores
    for state in STATES
}
LOGS = {
    CACHE_SILENT: "the cache fails: ",
    CACHE_LOST: "the cache fails: ",
    DATABASE_DOWN: "the database fails",
    DATABASE_READ_ONLY: "the database fails",
    KEYS_LOST: "cannot be opened: the sealed part does not open",
}
# How long a request waits for a cache that says nothing.
QUICK = {"socket_connect_timeout": 0.1, "socket_timeout": 0.1}


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis that the tests here may stop, and start again."""
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture
def redis(own_redis: Redis, settings: Any) -> Redis:
    """The app's cache, which is empty."""
    settings.CACHES = own_redis.settings()
    caches["default"].clear()
    return own_redis


@contextmanager
def down(what: str, redis: Redis, settings: Any) -> Iterator[None]:
    """Let that be down within the block."""
    with ExitStack() as until:
        if what == CACHE_LOST:
            redis.stop()
            until.callback(redis.start)
        elif what == CACHE_SILENT:
            silent = until.enter_context(RawServer(list))
            settings.CACHES = pointing_to(redis.settings(), urlsplit(silent.url).port)
            until.callback(setattr, settings, "CACHES", redis.settings())
        elif what in (DATABASE_DOWN, DATABASE_READ_ONLY):
            refuse = partial(refuses, reads=what == DATABASE_READ_ONLY)
            until.enter_context(connection.execute_wrapper(refuse))
        else:
            settings.TMIBFF_ENCRYPTION_KEYS = [Fernet.generate_key()]
            until.callback(setattr, settings, "TMIBFF_ENCRYPTION_KEYS", None)
        yield


def refuses(execute: Any, sql: str, *arguments: Any, reads: bool) -> Any:
    """Do what a database does that is down, or one that only ``reads``."""
    if reads and sql.startswith("SELECT"):
        return execute(sql, *arguments)
    raise OperationalError("the database is down")


def pointing_to(caches: dict[str, Any], port: int | None) -> dict[str, Any]:
    """Return these ``CACHES`` at another address, with short timeouts."""
    location = f"redis://127.0.0.1:{port}/0"
    options = {"CONNECTION_POOL_KWARGS": QUICK}
    return {"default": {**caches["default"], "LOCATION": location, "OPTIONS": options}}


@pytest.mark.django_db(transaction=True)  # In a test's own, a failed write fails what follows.
@pytest.mark.parametrize(("row", "store", "state"), CASES.values(), ids=CASES)
def test_what_comes_of_it(
    row: Beside,
    store: str,
    state: str,
    redis: Redis,
    server: FaultyServer,
    page: Page,
    user: Any,
    settings: Any,
    caplog: Any,
) -> None:
    settings.TMIBFF_STORE = f"django_tmibff.stores.{store}"
    sign_in(page, user, state)
    caplog.set_level(logging.DEBUG)
    with down(row.what, redis, settings):
        check_answer(page.fetch(TOKEN), row.first(state), server)
        assert server.calls == (row.first(state) == NEW)
        assert LOGS[row.what] in caplog.text or (row.what, state) == (DATABASE_READ_ONLY, VALID)
    check_answer(page.fetch(TOKEN), row.second(state), server)
    assert server.calls == (row.second(state) == NEW)
    tracebacks = {
        r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR and r.exc_info
    }
    assert tracebacks <= {LOGS[DATABASE_DOWN]}
    assert "canary" not in caplog.text
    assert str(redis.port) not in caplog.text


@pytest.mark.django_db
def test_signing_in_does_not_help_before_the_cache_is_back(
    redis: Redis, page: Page, user: Any, settings: Any, caplog: Any
) -> None:
    settings.TMIBFF_STORE = "django_tmibff.stores.cache"
    page.sign_in(user)
    with down(CACHE_LOST, redis, settings):
        page.store()
        assert page.refusal()["error"] == NOT_READY
        assert "is lost: the cache fails" in caplog.text
    page.store()
    assert page.token()["access_token"] == SIGN_IN["access_token"]


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    """A database of the test project's own, which the test may halt."""
    with PostgreSQL() as database:
        database.create_database("testproject")
        yield database


def test_a_real_database_is_down(database: PostgreSQL, redis: Redis, folder: Path) -> None:
    """Then nobody knows who is signed in, even where no token is in the database."""
    with StrictServer() as server:
        settings = {
            **server.django_settings(),
            "DATABASES": {"default": database.settings("testproject")},
            "CACHES": redis.settings(),
            "TMIBFF_STORE": "django_tmibff.stores.cache",
        }
        migrate(settings)
        cookie = new_session(settings, server.new_family())
        with Gunicorn(folder, settings, workers=1) as app:
            token = token_of(fetch_token(app.origin, cookie))
            database.halt()
            answer = fetch_token(app.origin, cookie)
            check_error(answer, UNAVAILABLE)
            assert answer.headers["Retry-After"] == "1"
            assert "the database fails" in app.log()
            assert token not in app.log()
            database.resume()
            assert token_of(fetch_token(app.origin, cookie)) == token
        assert server.refreshes == 0
