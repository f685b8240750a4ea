"""Counters that stop: at a million rows counting all of them is what takes time."""

from typing import TYPE_CHECKING, Any, Self

from django.core import paginator
from django.db.models import QuerySet
from django.utils.formats import number_format
from django.utils.functional import cached_property

if TYPE_CHECKING:
    Pages = paginator.Paginator[Any]
else:
    Pages = paginator.Paginator

LIMIT = 1000


class Count(int):
    """A number of rows, shown as "1,000+" when there are more than ``LIMIT``."""

    is_more = False

    @classmethod
    def of(cls, rows: QuerySet[Any]) -> Self:
        """Return how many there are, having looked at ``LIMIT`` of them and one more."""
        found = rows[: LIMIT + 1].count()
        count = cls(min(found, LIMIT))
        count.is_more = found > LIMIT
        return count

    def __str__(self) -> str:
        if self.is_more:
            return f"{number_format(LIMIT, force_grouping=True)}+"
        return int.__repr__(self)


class Paginator(Pages):
    """Pages of the first ``LIMIT`` rows."""

    @cached_property
    def count(self) -> int:
        return Count.of(self.object_list)  # type: ignore[arg-type]  # the changelist's
