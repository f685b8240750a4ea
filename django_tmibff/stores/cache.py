"""Keeps the sealed part in a shared cache, and none of it in the database.

The row keeps the lease and the version: a cache that is flushed, or fails over to an older copy,
loses tokens, and then people sign in again; but it never makes an old refresh token look current.

A write takes the row first, then the cache. A crash in between leaves a row that is newer than the
cache's entry: those tokens are lost, and the refresh token in the older entry, which the
authorization server has replaced, is never sent again. The other way round a writer that turns out
to be late would have overwritten the winner's tokens. The lease is given back after both, so that
who waits for it finds both.
"""

import logging
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db import Error, router, transaction
from django.utils import timezone

from ..conf import settings
from ..models import TokenSet
from . import caching
from .base import BaseStore, Stored

logger = logging.getLogger(__name__)

# How long a row may be ahead of the cache before its tokens count as lost: who claims the row
# writes the cache only after the commit.
_PAUSES_OF_READERS = (0.05, 0.1, 0.2)
# How often a cache that fails is told again: a restart breaks each connection once.
_PAUSES_OF_WRITERS = (0.1, 0.5, None)


class TokenStore(BaseStore):
    """A cache for what is secret, the row for what must be right."""

    uses_cache = True

    def get(self, handle: str, *, fresh: bool = False) -> Stored | None:
        if fresh:
            return _confirmed(handle)
        with suppress(caching.CacheFailsError):
            cached = caching.read(handle)
            if cached is not None:
                return cached
        row = _row(handle)
        return None if row is None else row.stored

    def add(self, token_set: TokenSet, data: bytes) -> None:
        token_set.save(force_insert=True)
        row = _Row(token_set.provider, token_set.version, False, token_set.expires_at)
        caching.after_commit(lambda: _keep(token_set.handle, row, data))

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
        old = _row(handle)
        if old is None or not TokenSet.objects.compare_and_set(
            handle,
            version=version,
            owner=owner,
            ended=ended,
            keeps_lease=True,
            sealed=None,
            **columns,
        ):
            return False
        new = _Row(
            old.provider,
            version + 1,
            ended or columns.get("ended_at") is not None,
            columns.get("expires_at") or old.expires_at,
        )
        caching.after_commit(lambda: _keep_and_release(handle, new, data, owner))
        return True

    def replace(self, handle: str, data: bytes, *, version: int) -> bool:
        with transaction.atomic(using=router.db_for_write(TokenSet)):
            # Who writes an entry has written the row before: while we have it nobody writes.
            if not TokenSet.objects.claim_version(handle, version):
                return False
            row = _row(handle)
            with suppress(caching.CacheFailsError):
                entry = caching.read(handle)
                if row is None or entry is None or entry.data is None or not row.owns(entry):
                    return False
                # As the row has it: whoever ended it may have written meanwhile that it has ended.
                entry = replace(entry, data=data, version=row.version, ended=row.ended)
                caching.write(handle, entry, row.seconds)
                return True
        return False

    def remember(self, key: str, value: Any, seconds: float) -> None:
        with suppress(caching.CacheFailsError):
            caching.remember(key, value, seconds)

    def recall(self, key: str) -> Any:
        with suppress(caching.CacheFailsError):
            return caching.recall(key)
        return None

    def once(self, key: str, seconds: float) -> bool:
        # While nobody can tell who is first nobody is: that refuses, and never allows twice.
        with suppress(caching.CacheFailsError):
            return caching.once(key, seconds)
        return False


class _Row(NamedTuple):
    """What the row says of its sealed part."""

    provider: str
    version: int
    ended: bool
    expires_at: datetime

    @property
    def stored(self) -> Stored:
        """The token set without its sealed part: ended, or lost."""
        return Stored(self.provider, self.version, self.ended, None)

    def owns(self, entry: Stored) -> bool:
        """Return whether the entry is of this version, or the last one of a set that has ended.

        That one is still there when the cache failed at the end, and holds what is owed.
        """
        is_last = self.ended and not entry.ended and entry.version == self.version - 1
        return is_last or entry.version == self.version

    @property
    def seconds(self) -> float:
        """How long the cache is to keep the entry."""
        left = (self.expires_at - timezone.now()).total_seconds()
        return max(left, settings.revocation_seconds if self.ended else 1.0)


def _row(handle: str) -> _Row | None:
    columns = ("provider", "version", "ended_at", "expires_at")
    found = TokenSet.objects.filter(handle=handle).values_list(*columns).first()
    if found is None:
        return None
    provider, version, ended_at, expires_at = found
    return _Row(provider, version, ended_at is not None, expires_at)


def _confirmed(handle: str) -> Stored | None:
    """Return what the row says, with the cache's sealed part if that is the row's own."""
    for pause in _PAUSES_OF_READERS:
        row = _row(handle)
        if row is None:
            return None
        try:
            entry = caching.read(handle)
        except caching.CacheFailsError:
            return replace(row.stored, unread=True)
        if entry is None or row.owns(entry):
            return replace(row.stored, data=None if entry is None else entry.data)
        time.sleep(pause)
    logger.error("token set %s is lost: the cache has another version", handle)
    row = _row(handle)
    return None if row is None else row.stored


def _keep_and_release(handle: str, row: _Row, data: bytes | None, owner: str | None) -> None:
    try:
        _keep(handle, row, data)
    finally:
        # Both are written: a lease that cannot be given back lapses by itself.
        if owner is not None:
            with suppress(Error):
                TokenSet.objects.release_lease(handle, owner)


def _keep(handle: str, row: _Row, data: bytes | None) -> None:
    """Write the cache's entry for a row that is written."""
    for pause in _PAUSES_OF_WRITERS:
        try:
            _replace_older(handle, row, data)
            _bury(handle, row)
        except caching.CacheFailsError:
            if pause is not None:
                time.sleep(pause)
        else:
            return
    logger.error("token set %s is lost: the cache fails", handle)


def _replace_older(handle: str, row: _Row, data: bytes | None) -> None:
    """Write the entry unless a newer one is there already."""
    # Between reading and writing a newer one may still come. It is lost then, and ours is not the
    # row's version, so that nobody calls the authorization server with it.
    entry = caching.read(handle)
    if entry is None or entry.version < row.version:
        caching.write(handle, replace(row.stored, data=data), row.seconds)


def _bury(handle: str, row: _Row) -> None:
    """Leave a tombstone if the set has ended while its entry was written."""
    if row.ended:
        return
    # The row is read after the entry was written: an end that it does not show yet will come to
    # write its own tombstone later than our entry.
    now = _row(handle)
    if now is None:
        caching.forget(handle)
    elif now.ended:
        _replace_older(handle, now, None)
