"""Keeps the sealed part in the token set's own row: needs nothing but a database."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, connections, router, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from ..models import Note, TokenSet, delete_rows, rows_of
from .base import BaseStore, Stored

COLUMNS = ("provider", "version", "ended_at", "sealed")

# How many notes are deleted at a time: few enough that nobody waits for them.
_SOME = 500


class TokenStore(BaseStore):
    """The default store."""

    def get(self, handle: str, *, fresh: bool = False) -> Stored | None:
        alias = router.db_for_write(TokenSet)
        with connections[alias].cursor() as cursor:
            cursor.execute(_select(alias), [handle])
            row = cursor.fetchone()
        return None if row is None else stored(*row)

    def add(self, token_set: TokenSet, data: bytes) -> None:
        token_set.sealed = data
        token_set.save(force_insert=True)

    def put(
        self,
        handle: str,
        data: bytes | None,
        *,
        version: int,
        owner: str | None,
        ended: bool = False,
        **columns: Any,
    ) -> bool:
        return TokenSet.objects.compare_and_set(
            handle, version=version, owner=owner, ended=ended, sealed=data, **columns
        )

    def replace(self, handle: str, data: bytes, *, version: int) -> bool:
        same = TokenSet.objects.filter(handle=handle, version=version, sealed__isnull=False)
        return bool(same.update(sealed=data))

    # Notes end by the database's clock, for hosts' clocks differ.

    def remember(self, key: str, value: Any, seconds: float) -> None:
        fact = {"value": value, "expires_at": Now() + timedelta(seconds=seconds)}
        # Written before it is read: a transaction that begins with reading may lose on SQLite.
        mine = _notes().filter(key=key)
        if not mine.update(**fact) and not _created(key, **fact):
            mine.update(**fact)

    def recall(self, key: str) -> Any:
        current = _notes().filter(key=key, expires_at__gt=Now())
        return current.values_list("value", flat=True).first()

    def once(self, key: str, seconds: float) -> bool:
        return note_once(key, seconds)

    def forget_some(self) -> None:
        over = _notes().filter(expires_at__lte=Now())
        some = list(over.order_by("expires_at").values_list("pk", flat=True)[:_SOME])
        # Judged again: the fact of one may be remembered anew by now.
        delete_rows(over.filter(pk__in=some))


def stored(provider: str, version: int, ended_at: Any, sealed: Any) -> Stored:
    """Return what ``COLUMNS`` have told."""
    data = None if sealed is None else bytes(sealed)
    return Stored(provider, version, ended_at is not None, data)


def note_once(key: str, seconds: float) -> bool:
    """Do what ``BaseStore.once`` says; a transaction that is rolled back has not asked."""
    until = Now() + timedelta(seconds=seconds)
    over = _notes().filter(key=key, expires_at__lte=Now())
    return bool(over.update(expires_at=until)) or _created(key, expires_at=until)


@lru_cache
def _select(alias: str) -> str:
    # Each served token is one of these, and Django would make the SQL anew for each.
    table = connections[alias].ops.quote_name(TokenSet._meta.db_table)
    return f"SELECT {', '.join(COLUMNS)} FROM {table} WHERE handle = %s"  # noqa: S608  # our names


def _notes() -> QuerySet[Note]:
    return rows_of(Note)


def _created(key: str, **fact: Any) -> bool:
    """Add a note; false when somebody else was faster."""
    try:
        with transaction.atomic(using=router.db_for_write(Note)):
            _notes().create(key=key, **fact)
    except IntegrityError:
        return False
    return True
