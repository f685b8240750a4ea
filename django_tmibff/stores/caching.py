"""What stores with a cache share: its keys, its entries, its facts, and a cache that fails."""

import hashlib
import logging
import math
from collections.abc import Callable
from typing import Any

from django.core.cache import BaseCache, caches
from django.db import router, transaction

from ..conf import settings
from ..models import TokenSet, in_transaction
from .base import Stored

logger = logging.getLogger(__name__)


class CacheFailsError(Exception):
    """The cache raised: it is down, or refuses what it was given."""


def read(handle: str) -> Stored | None:
    """Return the cache's entry for ``handle``; ``None`` where it has none that can be used."""
    return _stored(_call("get", _entry_key(handle)))


def read_together(
    handle: str, fact: str | None, other_key: str | None
) -> tuple[Stored | None, Any, Any]:
    """Return the entry for ``handle``, what ``recall`` would for ``fact``, and another's entry.

    All in one round trip.
    """
    entry_key, fact_key = _entry_key(handle), fact and _fact_key(fact)
    keys = [key for key in (entry_key, fact_key, other_key) if key]
    found = _call("get_many", keys)
    return _stored(found.get(entry_key)), found.get(fact_key), found.get(other_key)


def _stored(entry: Any) -> Stored | None:
    match entry:
        # Some serializers give a list for a tuple.
        case [str(provider), int(version), bool(ended), (bytes() | None) as data]:
            return Stored(provider, version, ended, data)
    return None


def write(handle: str, stored: Stored, seconds: float) -> None:
    """Let ``stored`` replace the entry for ``handle``."""
    _call("set", _entry_key(handle), _entry(stored), _whole(seconds))


def fill(handle: str, stored: Stored, seconds: float) -> None:
    """Let ``stored`` be the entry for ``handle`` if there is none."""
    _call("add", _entry_key(handle), _entry(stored), _whole(seconds))


def forget(handle: str) -> None:
    """Remove the entry for ``handle``."""
    _call("delete", _entry_key(handle))


def remember(key: str, value: Any, seconds: float) -> None:
    """Do what ``BaseStore.remember`` says."""
    _call("set", _fact_key(key), value, _whole(seconds))


def remember_first(key: str, value: Any, seconds: float) -> None:
    """Remember this fact unless there is one of that name."""
    _call("add", _fact_key(key), value, _whole(seconds))


def recall(key: str) -> Any:
    """Do what ``BaseStore.recall`` says."""
    return _call("get", _fact_key(key))


def once(key: str, seconds: float) -> bool:
    """Do what ``BaseStore.once`` says."""
    return bool(_call("add", _fact_key(key), 1, _whole(seconds)))


def after_commit(work: Callable[[], None]) -> None:
    """Do ``work`` now, or after the commit of the transaction that we are in."""
    if in_transaction():
        transaction.on_commit(work, using=router.db_for_write(TokenSet), robust=True)
    else:
        work()


def _call(method: str, *arguments: Any) -> Any:
    """Call the cache; raises ``CacheFailsError``, with a line in the log, whatever it raises."""
    try:
        cache: BaseCache = caches[settings.cache_alias]
        return getattr(cache, method)(*arguments)
    except Exception as error:
        # Its text may hold the address of the cache, and with it a password.
        logger.warning("the cache fails: %s", type(error).__name__)
        raise CacheFailsError from None


def _entry(stored: Stored) -> tuple[str, int, bool, bytes | None]:
    return stored.provider, stored.version, stored.ended, stored.data


def _entry_key(handle: str) -> str:
    # What stands in braces decides in which slot of a Redis Cluster a key is.
    return f"tmibff:{{{handle}}}:set"


def _fact_key(key: str) -> str:
    # Memcached takes neither long keys nor all characters.
    return f"tmibff:{{{hashlib.sha256(key.encode()).hexdigest()}}}:fact"


def _whole(seconds: float) -> int:
    # Less than a second would be no time at all to Redis and memcached.
    return math.ceil(seconds)
