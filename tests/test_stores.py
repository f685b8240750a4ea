"""One behaviour for every store, and the lease, which is the same for all."""

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError, OperationalError, connection, models, transaction
from django.db.models.functions import Now
from django.utils import timezone

from django_tmibff import stores
from django_tmibff.models import Note, NowMilliseconds, TokenSet
from django_tmibff.stores import caching
from django_tmibff.stores.base import BaseStore
from django_tmibff.stores.db import TokenStore as DatabaseStore
from tests.real.processes import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["db", "cached_db", "cache"])
def store(request: Any, settings: Any) -> BaseStore:
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
    return stores.current()


@pytest.fixture
def handle(store: BaseStore) -> str:
    record = TokenSet(provider="default", expires_at=timezone.now() + timedelta(hours=1))
    store.add(record, b"first")
    return record.handle


class TestKeeping:
    def test_what_was_added(self, store: BaseStore, handle: str) -> None:
        for fresh in (False, True):
            stored = store.get(handle, fresh=fresh)
            assert (stored.data, stored.version, stored.ended) == (b"first", 0, False)
            assert stored.provider == "default"
            assert "first" not in repr(stored)

    def test_nothing_under_an_unknown_handle(self, store: BaseStore) -> None:
        assert store.get("f" * 32) is None

    def test_put_replaces_and_counts_versions(self, store: BaseStore, handle: str) -> None:
        assert store.put(handle, b"second", version=0, owner="", scope="a")
        stored = store.get(handle)
        assert (stored.data, stored.version) == (b"second", 1)
        assert TokenSet.objects.get().scope == "a"

    @pytest.mark.parametrize(("version", "owner"), [(1, ""), (0, "somebody")])
    def test_put_by_who_is_late_changes_nothing(
        self, store: BaseStore, handle: str, version: int, owner: str
    ) -> None:
        assert not store.put(handle, b"late", version=version, owner=owner, scope="late")
        assert store.get(handle).data == b"first"
        assert TokenSet.objects.get().scope == ""

    def test_put_after_the_end_changes_nothing(self, store: BaseStore, handle: str) -> None:
        store.put(handle, b"owed", version=0, owner="", ended_at=timezone.now())
        assert store.get(handle).ended
        assert not store.put(handle, b"back to life", version=1, owner="")
        assert store.get(handle).ended
        assert store.get(handle, fresh=True).data == b"owed"

    def test_replace_keeps_the_version(self, store: BaseStore, handle: str) -> None:
        assert store.replace(handle, b"resealed", version=0)
        for fresh in (False, True):
            assert store.get(handle, fresh=fresh) == stores.Stored("default", 0, False, b"resealed")

    def test_replace_of_an_older_version_changes_nothing(
        self, store: BaseStore, handle: str
    ) -> None:
        store.put(handle, b"second", version=0, owner="")
        assert not store.replace(handle, b"resealed", version=0)
        assert store.get(handle, fresh=True).data == b"second"

    def test_replace_brings_nothing_forgotten_back(self, store: BaseStore, handle: str) -> None:
        store.put(handle, b"owed", version=0, owner="", ended_at=timezone.now())
        assert store.replace(handle, b"resealed", version=1)
        assert store.get(handle, fresh=True).data == b"resealed"
        assert store.put(handle, None, version=1, owner=None, ended=True)
        assert not store.replace(handle, b"owed", version=2)
        assert store.get(handle, fresh=True).data is None

    def test_what_an_ended_set_owes_is_kept_and_forgotten(
        self, store: BaseStore, handle: str
    ) -> None:
        assert not store.put(handle, b"early", version=0, owner=None, ended=True)
        store.put(handle, b"owed", version=0, owner="", ended_at=timezone.now())
        assert store.put(handle, b"newer", version=1, owner=None, ended=True, revoke_count=1)
        assert store.get(handle, fresh=True) == stores.Stored("default", 2, True, b"newer")
        assert not store.put(handle, None, version=1, owner=None, ended=True)
        assert store.put(handle, None, version=2, owner=None, ended=True)
        assert store.get(handle, fresh=True) == stores.Stored("default", 3, True, None)
        assert TokenSet.objects.get().revoke_count == 1


class TestSharedFacts:
    def test_remembered_and_recalled(self, store: BaseStore) -> None:
        assert store.recall("outage") is None
        store.remember("outage", {"until": 5}, 60)
        assert store.recall("outage") == {"until": 5}
        store.remember("outage", [1], 60)
        assert store.recall("outage") == [1]

    def test_forgotten_in_time(self, store: BaseStore) -> None:
        store.remember("outage", 1, -1)
        assert store.recall("outage") is None

    def test_by_the_stores_clock_not_by_this_hosts(
        self, store: BaseStore, monkeypatch: Any
    ) -> None:
        store.remember("outage", 1, 60)
        an_hour_later = timezone.now() + timedelta(hours=1)
        monkeypatch.setattr(timezone, "now", lambda: an_hour_later)
        assert store.recall("outage") == 1
        assert store.once("jti", 60)
        assert not store.once("jti", 60)

    def test_once_for_all(self, store: BaseStore) -> None:
        assert store.once("jti-1", 60)
        assert not store.once("jti-1", 60)
        assert store.once("jti-2", 60)

    def test_once_more_after_its_time(self, store: BaseStore) -> None:
        assert store.once("jti", 1)
        wait_until(lambda: store.once("jti", 60), 5, "the first second is over")
        assert not store.once("jti", 60)

    def test_what_is_over_is_forgotten_a_few_at_a_time(
        self, store: BaseStore, monkeypatch: Any
    ) -> None:
        """Where that is rows of the database; a cache does it by itself."""
        monkeypatch.setattr("django_tmibff.stores.db._SOME", 2)
        for name, hours in {"alive": 1, "old": -3, "older": -4, "over": -2}.items():
            Note.objects.create(key=name, expires_at=Now() + timedelta(hours=hours))
        left = []
        for _ in range(3):
            store.forget_some()
            left.append(set(Note.objects.values_list("key", flat=True)))
        if isinstance(store, DatabaseStore):
            assert left == [{"alive", "over"}, {"alive"}, {"alive"}]
        else:
            assert left == [{"alive", "over", "old", "older"}] * 3


class TestLease:
    @pytest.fixture
    def records(self) -> Any:
        return TokenSet.objects

    def test_one_owner_at_a_time(self, records: Any, handle: str) -> None:
        assert records.take_lease(handle, "a", 60)
        assert records.is_leased(handle)
        assert not records.take_lease(handle, "b", 60)
        assert not records.take_lease(handle, "a", 60)
        records.release_lease(handle, "b")
        assert records.is_leased(handle)
        records.release_lease(handle, "a")
        assert not records.is_leased(handle)
        assert records.take_lease(handle, "b", 60)

    def test_it_lapses_by_the_databases_clock(
        self, records: Any, handle: str, monkeypatch: Any
    ) -> None:
        assert records.take_lease(handle, "a", 60)
        # This host's clock is an hour ahead, and changes nothing.
        monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
        assert not records.take_lease(handle, "b", 60)
        records.update(lease_until=NowMilliseconds() - 1)
        assert not records.is_leased(handle)
        assert records.take_lease(handle, "b", 60)

    def test_only_its_owner_extends_it_until_somebody_else_takes_it(
        self, records: Any, handle: str
    ) -> None:
        records.take_lease(handle, "a", 60)
        before = records.get().lease_until
        assert records.extend_lease(handle, "a", 120)
        assert records.get().lease_until - before >= 59_000
        assert not records.extend_lease(handle, "b", 120)
        records.update(lease_until=NowMilliseconds() - 1)
        assert records.extend_lease(handle, "a", 120)
        records.update(lease_until=NowMilliseconds() - 1)
        records.take_lease(handle, "b", 60)
        assert not records.extend_lease(handle, "a", 120)

    def test_who_saves_gives_it_back(self, store: BaseStore, records: Any, handle: str) -> None:
        records.take_lease(handle, "a", 60)
        assert not store.put(handle, b"x", version=0, owner="b")
        assert store.put(handle, b"x", version=0, owner="a")
        assert not records.is_leased(handle)

    def test_a_holder_that_lapsed_and_was_replaced_cannot_save(
        self, store: BaseStore, records: Any, handle: str
    ) -> None:
        records.take_lease(handle, "a", 60)
        records.update(lease_until=NowMilliseconds() - 1)
        records.take_lease(handle, "b", 60)
        assert not store.put(handle, b"x", version=0, owner="a")

    def test_an_ended_set_is_not_leased(self, records: Any, handle: str) -> None:
        records.update(ended_at=timezone.now())
        assert not records.take_lease(handle, "a", 60)
        assert not records.claim(handle)

    def test_who_has_claimed_the_row_leaves_it_to_its_owner(
        self, store: BaseStore, records: Any, handle: str
    ) -> None:
        records.take_lease(handle, "a", 60)
        assert records.claim(handle)
        assert store.put(handle, b"x", version=0, owner=None)
        assert records.get().lease_owner == "a"
        assert records.is_leased(handle)
        assert not store.put(handle, b"y", version=0, owner="a")

    def test_the_clock_is_the_servers_and_in_milliseconds(self, records: Any, handle: str) -> None:
        now = records.annotate(now=NowMilliseconds()).get().now
        assert abs(now - timezone.now().timestamp() * 1000) < 5_000

    def test_a_database_whose_clock_is_not_known_is_refused(self) -> None:
        with pytest.raises(NotSupportedError, match="clock"):
            NowMilliseconds().as_sql(None, connection)

    def test_mariadbs_clock_is_utc(self) -> None:
        sql, parameters = NowMilliseconds().as_mysql(None, connection)
        assert ("UTC_TIMESTAMP" in sql, parameters) == (True, [])


class TestChoice:
    @pytest.mark.parametrize(
        "path", ["no.such.module", "django_tmibff.conf", "tests.not_a_store", ""]
    )
    def test_a_path_that_is_no_store(self, settings: Any, path: str) -> None:
        settings.TMIBFF_STORE = path
        with pytest.raises(ImproperlyConfigured, match="TokenStore"):
            stores.current()


def test_every_query_goes_to_the_database_that_is_written(settings: Any) -> None:
    """A replica's old refresh token kills a grant."""
    settings.DATABASE_ROUTERS = ["tests.test_stores.ReplicaRouter"]
    assert TokenSet.objects.all().db == "default"
    assert TokenSet._default_manager.all().db == "default"


class ReplicaRouter:
    """Reads from a replica that does not exist."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str:
        return "default"


def test_names_for_people(handle: str) -> None:
    assert str(TokenSet.objects.get()) == f"default:{handle[:8]}"
    assert str(Note(key="outage")) == "outage"


class FailingCache(LocMemCache):
    """A cache that is down while ``is_down`` says so."""

    is_down = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("get", "set", "add", "delete") and FailingCache.is_down:
            raise ConnectionError("canary-address-of-the-cache")
        return super().__getattribute__(name)


@pytest.fixture
def cache(settings: Any, monkeypatch: Any) -> Any:
    """A cache that fails when ``cache(down=True)`` is called."""
    settings.CACHES = {"shared": {"BACKEND": "tests.test_stores.FailingCache"}}
    settings.TMIBFF_CACHE_ALIAS = "shared"
    caches["shared"].clear()

    def turn(*, down: bool) -> None:
        monkeypatch.setattr(FailingCache, "is_down", down)

    return turn


def hits(monkeypatch: Any) -> list[str]:
    """Return a list to which the cache's name is added for each call."""
    called: list[str] = []
    call = caching._call

    def counted(method: str, *arguments: Any) -> Any:
        called.append(method)
        return call(method, *arguments)

    monkeypatch.setattr(caching, "_call", counted)
    return called


class TestCachedDatabase:
    @pytest.fixture
    def store(self, settings: Any) -> BaseStore:
        settings.TMIBFF_STORE = "django_tmibff.stores.cached_db"
        return stores.current()

    def test_a_warm_read_is_one_call_to_the_cache_and_no_query(
        self, store: BaseStore, handle: str, monkeypatch: Any, django_assert_num_queries: Any
    ) -> None:
        store.get(handle)
        called = hits(monkeypatch)
        with django_assert_num_queries(0):
            assert store.get(handle).data == b"first"
        assert called == ["get"]

    def test_fresh_reads_the_database_only(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        store.get(handle)
        TokenSet.objects.update(sealed=b"newer", version=1)
        called = hits(monkeypatch)
        assert store.get(handle, fresh=True).data == b"newer"
        assert called == []

    def test_a_copy_lives_for_the_seconds_that_the_site_chose(
        self, store: BaseStore, handle: str, settings: Any
    ) -> None:
        settings.TMIBFF_CACHE_SECONDS = 0.5
        store.get(handle)
        TokenSet.objects.update(sealed=b"newer", version=1)
        assert store.get(handle).data == b"first"
        wait_until(lambda: store.get(handle).data == b"newer", 5, "the copy is gone")

    def test_a_slow_reader_does_not_replace_what_was_written_meanwhile(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(caching, "fill", first(caching.fill, self.ended_by(store, handle)))
        assert store.get(handle).data == b"first"
        assert store.get(handle).ended

    def ended_by(self, store: BaseStore, handle: str) -> Any:
        now = timezone.now()
        return lambda: store.put(handle, b"owed", version=0, owner="", ended_at=now)

    def test_of_two_writers_the_slower_one_does_not_bring_its_older_version_back(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        def end() -> None:
            store.put(handle, None, version=1, owner="", ended_at=timezone.now())

        monkeypatch.setattr(caching, "write", first(caching.write, end))
        assert store.put(handle, b"second", version=0, owner="")
        assert (store.get(handle).ended, store.get(handle).version) == (True, 2)

    def test_a_tombstone_holds_no_token(self, store: BaseStore, handle: str) -> None:
        self.ended_by(store, handle)()
        assert store.get(handle) == stores.Stored("default", 1, True, None)

    def test_who_finds_the_row_gone_leaves_nothing_in_the_cache(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        late: list[Any] = []
        store.get(handle)
        monkeypatch.setattr(caching, "after_commit", late.append)
        store.put(handle, b"second", version=0, owner="")
        TokenSet.objects.all().delete()
        late.pop()()
        assert store.get(handle) is None

    def test_what_is_not_an_entry_is_none(self, store: BaseStore, handle: str) -> None:
        for junk in (b"junk", 5, ("a", "b", "c", "d"), {"a": 1}, []):
            caches["default"].set(f"tmibff:{{{handle}}}:set", junk)
            assert store.get(handle).data == b"first"

    def test_while_the_cache_is_down_the_database_serves(
        self, store: BaseStore, handle: str, cache: Any, caplog: Any
    ) -> None:
        cache(down=True)
        assert store.get(handle).data == b"first"
        assert store.put(handle, b"second", version=0, owner="")
        assert store.get(handle).data == b"second"
        assert "the cache fails: ConnectionError" in caplog.text
        assert "could not be written to the cache" in caplog.text
        assert "canary" not in caplog.text

    def test_a_read_waits_for_it_once(
        self, store: BaseStore, handle: str, cache: Any, caplog: Any
    ) -> None:
        cache(down=True)
        store.get(handle)
        assert caplog.text.count("the cache fails") == 1

    def test_facts_go_to_the_database_then(self, store: BaseStore, cache: Any) -> None:
        cache(down=True)
        store.remember("outage", 1, 60)
        assert store.recall("outage") == 1
        assert [store.once("jti", 60), store.once("jti", 60)] == [True, False]
        assert Note.objects.count() == 2

    def test_a_database_that_fails_after_the_save_does_not_undo_it(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        def down(*args: Any, **kwargs: Any) -> None:
            raise OperationalError("down")

        with monkeypatch.context() as broken:
            broken.setattr(DatabaseStore, "get", down)
            assert store.put(handle, b"second", version=0, owner="")
        assert store.get(handle, fresh=True).data == b"second"

    def test_in_a_transaction_the_cache_is_neither_asked_nor_told(
        self,
        store: BaseStore,
        handle: str,
        django_capture_on_commit_callbacks: Any,
        monkeypatch: Any,
        caches_are_written: ExitStack,
    ) -> None:
        caches_are_written.close()
        store.get(handle)
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
            store.put(handle, b"second", version=0, owner="")
            assert store.get(handle).data == b"second"
            called = hits(monkeypatch)
        assert called == ["set"]
        assert store.get(handle).data == b"second"


class TestCache:
    @pytest.fixture
    def store(self, settings: Any) -> BaseStore:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        return stores.current()

    def test_the_database_holds_nothing_secret_not_even_from_another_store(
        self, store: BaseStore, handle: str
    ) -> None:
        assert TokenSet.objects.get().sealed is None
        TokenSet.objects.update(sealed=b"of the database's store")
        store.put(handle, b"second", version=0, owner="")
        assert TokenSet.objects.get().sealed is None

    def test_a_read_is_one_call_to_the_cache_and_no_query(
        self, store: BaseStore, handle: str, monkeypatch: Any, django_assert_num_queries: Any
    ) -> None:
        called = hits(monkeypatch)
        with django_assert_num_queries(0):
            assert store.get(handle).data == b"first"
        assert called == ["get"]

    def test_an_entry_ends_with_its_token_set(self, store: BaseStore, handle: str) -> None:
        in_a_second = timezone.now() + timedelta(seconds=1)
        assert store.put(handle, b"second", version=0, owner="", expires_at=in_a_second)
        assert store.get(handle).data == b"second"
        wait_until(lambda: store.get(handle).data is None, 5, "the entry is gone")

    def test_what_the_cache_has_lost_is_no_data(self, store: BaseStore, handle: str) -> None:
        caches["default"].clear()
        for fresh in (False, True):
            assert store.get(handle, fresh=fresh) == stores.Stored("default", 0, False, None)
        TokenSet.objects.update(ended_at=timezone.now())
        assert store.get(handle).ended

    @pytest.mark.parametrize("fresh", [False, True])
    def test_a_cache_that_is_down_is_no_data(
        self, store: BaseStore, handle: str, cache: Any, fresh: bool
    ) -> None:
        cache(down=True)
        stored = store.get(handle, fresh=fresh)
        assert (stored.data, stored.unread) == (None, fresh)
        store.remember("outage", 1, 60)
        assert (store.recall("outage"), store.once("jti", 60)) == (None, False)

    def test_a_crash_between_row_and_cache_loses_the_tokens_and_reuses_none(
        self, store: BaseStore, handle: str, monkeypatch: Any, caplog: Any
    ) -> None:
        monkeypatch.setattr(caching, "after_commit", lambda work: None)
        assert store.put(handle, b"second", version=0, owner="")
        assert store.get(handle).data == b"first"
        assert store.get(handle, fresh=True) == stores.Stored("default", 1, False, None)
        assert "is lost: the cache has another version" in caplog.text

    def test_who_reads_in_between_waits_for_the_entry(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        late: list[Any] = []
        monkeypatch.setattr(caching, "after_commit", late.append)
        assert store.put(handle, b"second", version=0, owner="")
        monkeypatch.setattr("time.sleep", lambda seconds: late.pop()())
        assert store.get(handle, fresh=True).data == b"second"

    def test_a_row_that_goes_while_its_entry_is_awaited(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(caching, "after_commit", lambda work: None)
        assert store.put(handle, b"second", version=0, owner="")
        monkeypatch.setattr("time.sleep", lambda seconds: TokenSet.objects.all().delete())
        assert store.get(handle, fresh=True) is None

    def test_of_a_set_that_ended_unheard_the_last_entry_says_what_is_owed(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        with monkeypatch.context() as crashed:
            crashed.setattr(caching, "after_commit", lambda work: None)
            store.put(handle, b"owed", version=0, owner="", ended_at=timezone.now())
        assert store.get(handle, fresh=True) == stores.Stored("default", 1, True, b"first")
        assert store.replace(handle, b"resealed", version=1)
        assert store.get(handle, fresh=True) == stores.Stored("default", 1, True, b"resealed")
        assert store.put(handle, None, version=1, owner=None, ended=True)
        assert store.get(handle, fresh=True) == stores.Stored("default", 2, True, None)

    def test_an_older_one_is_of_no_use(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(caching, "after_commit", lambda work: None)
        store.put(handle, b"second", version=0, owner="")
        store.put(handle, b"owed", version=1, owner="", ended_at=timezone.now())
        assert store.get(handle, fresh=True) == stores.Stored("default", 2, True, None)

    def test_the_lease_is_held_until_the_cache_has_it(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        TokenSet.objects.take_lease(handle, "a", 60)
        leased: list[bool] = []
        write = first(caching.write, lambda: leased.append(TokenSet.objects.is_leased(handle)))
        monkeypatch.setattr(caching, "write", write)
        assert store.put(handle, b"second", version=0, owner="a")
        assert leased == [True]
        assert not TokenSet.objects.is_leased(handle)

    def test_a_late_writer_replaces_nothing_newer(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        late: list[Any] = []
        with monkeypatch.context() as slow:
            slow.setattr(caching, "after_commit", late.append)
            assert store.put(handle, b"second", version=0, owner="")
        assert store.put(handle, b"owed", version=1, owner="", ended_at=timezone.now())
        late.pop()()
        assert store.get(handle) == stores.Stored("default", 2, True, b"owed")

    def test_a_writer_whose_set_ends_meanwhile_leaves_a_tombstone(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        def end() -> None:
            monkeypatch.setattr(caching, "after_commit", lambda work: None)
            store.put(handle, None, version=1, owner="", ended_at=timezone.now())

        monkeypatch.setattr(caching, "write", first(caching.write, end))
        assert store.put(handle, b"second", version=0, owner="")
        assert store.get(handle) == stores.Stored("default", 2, True, None)

    def test_a_writer_whose_set_is_gone_leaves_nothing(
        self, store: BaseStore, handle: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(caching, "write", first(caching.write, TokenSet.objects.all().delete))
        assert store.put(handle, b"second", version=0, owner="")
        assert store.get(handle) is None
        assert store.get(handle, fresh=True) is None
        assert not store.put(handle, b"third", version=1, owner="")

    def test_a_cache_that_fails_once_is_told_again(
        self, store: BaseStore, handle: str, cache: Any, monkeypatch: Any
    ) -> None:
        cache(down=True)
        monkeypatch.setattr("time.sleep", lambda seconds: cache(down=False))
        assert store.put(handle, b"second", version=0, owner="")
        assert store.get(handle, fresh=True).data == b"second"

    def test_one_that_goes_on_failing_loses_the_tokens_and_says_so(
        self, store: BaseStore, handle: str, cache: Any, monkeypatch: Any, caplog: Any
    ) -> None:
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        cache(down=True)
        assert store.put(handle, b"second", version=0, owner="")
        cache(down=False)
        assert store.get(handle, fresh=True).data is None
        assert "is lost: the cache fails" in caplog.text

    def test_a_rollback_leaves_the_cache_as_it_was(
        self, store: BaseStore, handle: str, caches_are_written: ExitStack
    ) -> None:
        caches_are_written.close()
        with transaction.atomic():
            assert store.put(handle, b"second", version=0, owner="")
            transaction.set_rollback(True)
        assert store.get(handle, fresh=True) == stores.Stored("default", 0, False, b"first")


def first(then: Any, once: Any) -> Any:
    """Return ``then``, which lets ``once`` happen before its first call."""
    pending = [once]

    def call(*arguments: Any) -> Any:
        if pending:
            pending.pop()()
        return then(*arguments)

    return call
