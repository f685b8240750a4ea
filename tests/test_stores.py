"""One behaviour for every store, and the lease, which is the same for all."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import NotSupportedError, connection, models
from django.utils import timezone

from django_tmibff import stores
from django_tmibff.models import Note, NowMilliseconds, TokenSet
from django_tmibff.stores.base import BaseStore

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["django_tmibff.stores.db"])
def store(request: Any, settings: Any) -> BaseStore:
    settings.TMIBFF_STORE = request.param
    return stores.current()


@pytest.fixture
def handle(store: BaseStore) -> str:
    record = TokenSet(provider="default", expires_at=timezone.now())
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
        assert store.get(handle).data == b"owed"

    def test_delete_forgets_the_sealed_part_and_keeps_the_record(
        self, store: BaseStore, handle: str
    ) -> None:
        store.delete(handle)
        assert store.get(handle).data is None
        assert TokenSet.objects.count() == 1


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
        assert store.once("jti", 60)
        Note.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        assert store.once("jti", 60)
        assert not store.once("jti", 60)


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
