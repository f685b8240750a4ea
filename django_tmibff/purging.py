"""Purge: what is over goes from the database, once nothing is owed for it (B4).

It walks over the tables by their integer keys, a piece at a time, and each piece has short
transactions of its own: no cursor stays open, memory does not grow, and who is stopped half-way
has nothing half-done. Two at once share the work, for each leaves alone what the other has locked.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Max, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from . import ending, revocation
from .conf import DEFAULT_PROVIDER, settings
from .models import Note, NowMilliseconds, TokenSet, delete_rows, rows_of

LARGEST_PIECE = 50_000  # PostgreSQL takes 65,535 parameters.
# Deleting a piece should take about that long: the next one is smaller, or larger.
_SECONDS = (0.02, 0.05)
_FIRST_PIECE = 1000
_SMALLEST_PIECE = 100


class TimeIsOverError(Exception):
    """There is more to do, and no time left for it."""


@dataclass
class Counts:
    """What has been done to how many token sets, and notes; in a dry run what there is to do."""

    deleted: int = 0
    revoked: int = 0
    owed: int = 0
    given_up: int = 0
    failed: int = 0
    notes: int = 0


@dataclass
class Purge:
    """Purges piece by piece, and counts.

    ``largest``: how many rows a piece has at most; it has fewer where deleting takes long, on a
    slow disk or beside much else, so that nobody waits for a row. ``keep``: how long the record
    stays of what has ended. ``revokes``: expired sets are revoked before they go, and what is
    owed is settled. ``ends_at``: by ``time.monotonic()``.
    """

    largest: int = LARGEST_PIECE
    keep: timedelta = timedelta()
    revokes: bool = True
    dry_run: bool = False
    ends_at: float = math.inf
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        """Begin with a small piece."""
        self.largest = min(max(1, self.largest), LARGEST_PIECE)
        self._size = min(self.largest, _FIRST_PIECE)

    def pieces(self, model: type[Any]) -> Iterator[tuple[int, int]]:
        """Return the first and the last key of each piece of the rows that there are now."""
        rows = rows_of(model).filter(pk__lte=rows_of(model).aggregate(key=Max("pk"))["key"] or 0)
        keys = {"last": 0}
        while True:
            piece = rows.filter(pk__gt=keys["last"]).order_by("pk")[: self._size]
            keys = piece.aggregate(first=Min("pk"), last=Max("pk"))
            if keys["last"] is None:
                return
            yield keys["first"], keys["last"]

    def token_sets(self, first: int, last: int) -> None:
        """Purge the token sets with these keys; raises ``TimeIsOverError``."""
        self._check_time()
        piece = TokenSet.objects.filter(pk__gte=first, pk__lte=last)
        if self.revokes:
            self._expire(piece.filter(_may_owe(), _is_free()))
            self._settle(piece.filter(revoke_at__isnull=False))
        self.counts.deleted += self._delete(piece.filter(self._is_over()))

    def notes(self, first: int, last: int) -> None:
        """Purge the notes with these keys; raises ``TimeIsOverError``."""
        self._check_time()
        # Notes end by the database's clock.
        over = rows_of(Note).filter(pk__gte=first, pk__lte=last, expires_at__lte=Now())
        self.counts.notes += self._delete(over)

    def _expire(self, expired: QuerySet[TokenSet]) -> None:
        """End what has expired: from then on it owes the revocation of its refresh token."""
        if self.dry_run:
            self.counts.owed += expired.count()
            return
        handles = list(expired.values_list("handle", flat=True))
        for handle in handles:
            self._check_time()
            ending.expire(handle)
        # What is expired still does not open: it stays until it is too old to be revoked.
        self.counts.failed += expired.count() if handles else 0

    def _settle(self, owing: QuerySet[TokenSet]) -> None:
        """Deliver the revocations that are due, and give up those that are too old."""
        now = timezone.now()
        too_old = now - timedelta(seconds=settings.revocation_seconds)
        rows: list[Any] = list(owing.values_list("handle", "revoke_at", "ended_at"))
        for handle, revoke_at, ended_at in rows:
            self._check_time()
            if ended_at <= too_old:
                self.counts.given_up += self.dry_run or revocation.give_up(handle)
            elif revoke_at <= now and not self.dry_run:
                self.counts.revoked += revocation.settle(handle)
        self.counts.owed += owing.filter(ended_at__gt=too_old).count() if rows else 0

    def _is_over(self) -> Q:
        """Return which token sets go; the database judges again as it deletes them."""
        before = timezone.now() - self.keep
        expired = Q(ended_at=None, expires_at__lte=before)
        if self.revokes:
            expired &= ~_may_owe()
        return Q(revoke_at=None) & _is_free() & (Q(ended_at__lte=before) | expired)

    def _delete(self, rows: QuerySet[Any]) -> int:
        """Delete without signals, and without loading anything; return how many it were."""
        if self.dry_run:
            return rows.count()
        start = time.monotonic()
        deleted = delete_rows(rows)
        self._adapt(time.monotonic() - start)
        return deleted

    def _adapt(self, seconds: float) -> None:
        short, long = _SECONDS
        if seconds > long:
            self._size = max(self._size // 2, min(self.largest, _SMALLEST_PIECE))
        elif seconds < short:
            self._size = min(self._size * 2, self.largest)

    def _check_time(self) -> None:
        if time.monotonic() >= self.ends_at:
            raise TimeIsOverError


def _is_free() -> Q:
    """Return which token sets nobody is renewing: whoever is may bring an expired one to life."""
    return Q(lease_until__lt=NowMilliseconds())


def _may_owe() -> Q:
    """Return which expired token sets may hold a refresh token that can be revoked."""
    now = timezone.now()
    names = [DEFAULT_PROVIDER, *settings.provider_names]
    providers = [settings.find_provider(name) for name in names]
    return Q(
        ended_at=None,
        expires_at__lte=now,
        expires_at__gt=now - timedelta(seconds=settings.revocation_seconds),
        provider__in=[found.name for found in providers if found and found.revocation_endpoint],
        # A cache forgets what it holds as it expires.
        sealed__isnull=False,
    )
