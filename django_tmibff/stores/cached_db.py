"""Keeps the sealed part in the token set's own row, with a shared cache in front of it.

The database is the truth: a cache that is down, flushed or behind costs time and nothing else.
"""

import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any

from django.db import Error

from ..conf import settings
from ..models import in_transaction
from . import caching, db
from .base import Stored

logger = logging.getLogger(__name__)


class TokenStore(db.TokenStore):
    """The database's store, whose ``get`` asks a cache first."""

    uses_cache = True

    def get(self, handle: str, *, fresh: bool = False) -> Stored | None:
        # What a transaction sees may be older than the cache's entry, or never be committed.
        if fresh or in_transaction():
            return super().get(handle, fresh=fresh)
        try:
            cached = caching.read(handle)
        except caching.CacheFailsError:
            # A cache that says nothing would take its time-out for the writing too.
            return super().get(handle, fresh=True)
        return self._filled(handle) if cached is None else cached

    def put(self, handle: str, data: bytes | None, **options: Any) -> bool:
        kept = super().put(handle, data, **options)
        if kept:
            caching.after_commit(lambda: self._publish(handle))
        return kept

    def replace(self, handle: str, data: bytes, *, version: int) -> bool:
        replaced = super().replace(handle, data, version=version)
        if replaced:
            caching.after_commit(lambda: self._publish(handle))
        return replaced

    def remember(self, key: str, value: Any, seconds: float) -> None:
        try:
            caching.remember(key, value, seconds)
        except caching.CacheFailsError:
            super().remember(key, value, seconds)

    def recall(self, key: str) -> Any:
        try:
            return caching.recall(key)
        except caching.CacheFailsError:
            return super().recall(key)

    def once(self, key: str, seconds: float) -> bool:
        try:
            return caching.once(key, seconds)
        except caching.CacheFailsError:
            return super().once(key, seconds)

    def _filled(self, handle: str) -> Stored | None:
        """Return what the database has, and put it into the cache if nothing is there.

        A slow reader's copy may be older than what a writer has published meanwhile, an ended set
        among it: ``add`` leaves that alone. Where the writer's entry is gone by then, or never came
        to the cache, the old copy lives for ``TMIBFF_CACHE_SECONDS``, and nobody calls the
        authorization server with it: for that the database is read.
        """
        stored = super().get(handle, fresh=True)
        if stored is not None:
            entry = _entry(stored)
            with suppress(caching.CacheFailsError):
                caching.fill(handle, entry, settings.cache_seconds)
        return stored

    def _publish(self, handle: str) -> None:
        """Let the cache have what the database has.

        Of two writers the one who was first in the database may be last in the cache, and no cache
        can be told to compare versions. So each looks into the database again *after* writing: who
        wrote last has then seen that nothing newer was committed, or has not been the last.
        """
        try:
            stored = super().get(handle, fresh=True)
            while stored is not None:
                caching.write(handle, _entry(stored), settings.cache_seconds)
                before, stored = stored, super().get(handle, fresh=True)
                if stored == before:
                    return
            caching.forget(handle)
        except (caching.CacheFailsError, Error):
            # It is in the database; the cache's older entry, if any, ends in time.
            logger.warning("token set %s could not be written to the cache", handle)


def _entry(stored: Stored) -> Stored:
    """Return what the cache gets: of an ended set a tombstone, not the token that is owed."""
    return replace(stored, data=None) if stored.ended else stored
