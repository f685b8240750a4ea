"""The stores on real caches: one suite for all, and Redis servers that go away in the middle."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches

from django_tmibff import stores
from django_tmibff.models import TokenSet
from django_tmibff.stores import caching
from django_tmibff.stores.base import BaseStore
from tests.page import SIGN_IN
from tests.real import redis_cluster
from tests.real.memcached import Memcached
from tests.real.processes import wait_until
from tests.real.redis import QUICK, Redis, RedisBehindSentinel, RedisCluster
from tests.test_stores import TestKeeping, TestLease, TestSharedFacts, handle

__all__ = ["TestKeeping", "TestLease", "TestSharedFacts", "handle"]

DOCS = Path(__file__).resolve().parents[1] / "docs" / "stores.md"
# What differs between the docs and these tests.
ADDRESSES = {"LOCATION", "SENTINELS", "CONNECTION_FACTORY"}

pytestmark = [pytest.mark.real, pytest.mark.django_db]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: Any) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def memcached(tmp_path_factory: Any) -> Iterator[Memcached]:
    with Memcached(tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: Any) -> Iterator[RedisBehindSentinel]:
    with RedisBehindSentinel(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: Any) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(params=["django-redis", "Django's Redis", "sentinel", "cluster", "memcached"])
def cache(request: Any, settings: Any) -> str:
    """A real cache, empty, as the default one."""
    if request.param in ("sentinel", "cluster", "memcached"):
        settings.CACHES = request.getfixturevalue(request.param).settings()
    else:
        use(settings, request.getfixturevalue("redis"), request.param)
    caches["default"].clear()
    return request.param


def use(settings: Any, redis: Redis, client: str) -> None:
    """Let the default cache be that Redis."""
    own = client == "django-redis"
    backend = "django_redis.cache" if own else "django.core.cache.backends.redis"
    options = {"CONNECTION_POOL_KWARGS": QUICK} if own else QUICK
    settings.CACHES = {
        "default": {"BACKEND": f"{backend}.RedisCache", "LOCATION": redis.url, "OPTIONS": options}
    }


@pytest.fixture(params=["cached_db", "cache"])
def store(request: Any, settings: Any, cache: str) -> BaseStore:
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
    return stores.current()


@pytest.mark.parametrize(
    ("heading", "component"),
    [
        ("one Redis", "redis"),
        ("Redis behind Sentinel", "sentinel"),
        ("Redis Cluster", "cluster"),
        ("memcached", "memcached"),
    ],
)
def test_the_settings_in_the_docs_work(
    request: Any, settings: Any, heading: str, component: str
) -> None:
    """As they stand there, with the tests' own addresses."""
    [code] = re.findall(rf"```python\n# {heading}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)  # noqa: S102  # our own docs
    real = request.getfixturevalue(component).settings()["default"]
    cache = found["CACHES"]["default"]
    for place in (cache, cache["OPTIONS"]):
        own = {**real, **real.get("OPTIONS", {})}
        place |= {name: own[name] for name in ADDRESSES & place.keys() & own.keys()}
    settings.CACHES = found["CACHES"]
    handle = "d" * 32
    caching.write(handle, stores.Stored("default", 1, False, b"sealed"), 60)
    assert caching.read(handle).data == b"sealed"
    assert [caching.once("docs", 60), caching.once("docs", 60)] == [True, False]
    caches["default"].clear()


def test_the_connection_factory_in_the_docs_is_the_tested_one() -> None:
    assert Path(redis_cluster.__file__).read_text() in DOCS.read_text()


def test_a_second_read_comes_from_the_cache(
    store: BaseStore, handle: str, django_assert_num_queries: Any
) -> None:
    store.get(handle)
    with django_assert_num_queries(0):
        assert store.get(handle).data == b"first"


def test_a_fill_that_comes_late_leaves_the_entry_alone(cache: str) -> None:
    ended = stores.Stored("default", 2, True, None)
    caching.write("f" * 32, ended, 60)
    caching.fill("f" * 32, stores.Stored("default", 1, False, b"old"), 60)
    assert caching.read("f" * 32) == ended


@pytest.mark.parametrize("client", ["django-redis", "Django's Redis"])
class TestRedisGone:
    @pytest.fixture
    def own_redis(self, folder: Path, settings: Any, client: str) -> Iterator[Redis]:
        """A Redis that the test may stop."""
        with Redis(folder) as server:
            use(settings, server, client)
            yield server

    def test_cached_db_serves_from_the_database(
        self,
        own_redis: Redis,
        settings: Any,
        signed_in: Any,
        authorization_server: Any,
        caplog: Any,
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cached_db"
        page = signed_in(expires_in=60)
        page.token()
        own_redis.stop()
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert page.token(scope="openid")["access_token"] == "fresh-1"
        assert re.search(r"the cache fails: \w+", caplog.text)
        assert str(own_redis.port) not in caplog.text
        own_redis.start()
        assert page.token(scope="openid")["access_token"] == "fresh-1"
        assert authorization_server.calls == 1

    def test_cache_has_nothing_to_get_a_token_with_and_asks_nobody(
        self, own_redis: Redis, settings: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        page = signed_in(expires_in=0)
        own_redis.stop()
        assert page.refusal()["error"] == "backend_not_ready"
        own_redis.start()
        assert page.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 0
        page.store()
        assert page.token()["access_token"] == SIGN_IN["access_token"]

    def test_one_that_goes_during_a_renewal_costs_the_refresh_token_and_no_reuse(
        self, own_redis: Redis, settings: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="a", refresh_token="rotated", expires_in=0)
        authorization_server.before_answering = own_redis.stop
        assert page.token()["access_token"] == "a"
        own_redis.start()
        assert page.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 1

    def test_an_older_copy_after_a_failover_is_not_used(
        self, own_redis: Redis, settings: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        page = signed_in(expires_in=0)
        handle = TokenSet.objects.get().handle
        older = caching.read(handle)
        authorization_server.gives(access_token="a", refresh_token="rotated", expires_in=0)
        page.token()
        caching.write(handle, older, 60)
        assert page.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 1


class TestFailover:
    """A master that dies, and a replica that takes its place."""

    @pytest.fixture
    def sentinel(self, folder: Path, settings: Any) -> Iterator[RedisBehindSentinel]:
        """A master, a replica and a sentinel of which the test may kill what it wants."""
        with RedisBehindSentinel(folder) as servers:
            settings.CACHES = servers.settings()
            yield servers

    def test_cached_db_loses_nothing(
        self,
        sentinel: RedisBehindSentinel,
        settings: Any,
        signed_in: Any,
        authorization_server: Any,
    ) -> None:
        """Neither what the replica never got, nor what is written while there is no master."""
        settings.TMIBFF_STORE = "django_tmibff.stores.cached_db"
        page = signed_in(expires_in=0)
        wait_until(sentinel.is_in_step, 10, "the replica has the expired token")
        sentinel.cut_replication()
        assert page.token()["access_token"] == "fresh-1"
        sentinel.master.kill()
        assert page.token()["access_token"] == "fresh-1"
        assert page.token(scope="openid")["access_token"] == "fresh-2"
        sentinel.wait_for_failover()
        assert page.token()["access_token"] == "fresh-1"
        assert page.token(scope="openid")["access_token"] == "fresh-2"
        assert authorization_server.calls == 2

    def test_cache_loses_what_the_replica_never_got_and_asks_nobody(
        self,
        sentinel: RedisBehindSentinel,
        settings: Any,
        signed_in: Any,
        authorization_server: Any,
    ) -> None:
        """The replica has a refresh token that was used already: it is not used again."""
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="a", refresh_token="rotated", expires_in=0)
        wait_until(sentinel.is_in_step, 10, "the replica has the first refresh token")
        sentinel.cut_replication()
        assert page.token()["access_token"] == "a"
        sentinel.master.kill()
        assert page.refusal()["error"] == "backend_not_ready"
        sentinel.wait_for_failover()
        assert caching.read(TokenSet.objects.get().handle).version == 0
        assert page.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 1
        page.store()
        assert page.token()["access_token"] == SIGN_IN["access_token"]

    def test_cache_keeps_what_the_replica_got(
        self,
        sentinel: RedisBehindSentinel,
        settings: Any,
        signed_in: Any,
        authorization_server: Any,
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="a", refresh_token="rotated", expires_in=0)
        assert page.token()["access_token"] == "a"
        wait_until(sentinel.is_in_step, 10, "the replica has the second refresh token")
        sentinel.fail_over()
        page.token()
        assert authorization_server.requests[-1]["refresh_token"] == ["rotated"]
