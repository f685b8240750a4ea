"""How far a command is: a bar on a terminal, else a line for each batch."""

from typing import Any

from django.core.management.base import OutputWrapper
from django.db.models import Max, Min, QuerySet

_WIDTH = 30


class Progress:
    """Shows how far a walk over a table's integer keys has come."""

    def __init__(self, out: OutputWrapper, rows: QuerySet[Any], *, quiet: bool = False) -> None:
        """Take where to write, all that there is to walk over, and whether to write nothing."""
        keys = rows.aggregate(first=Min("pk"), last=Max("pk"))
        self._out = out
        self._first = keys["first"] or 0
        self._keys = max(1, (keys["last"] or 0) - self._first + 1)
        self._quiet = quiet
        self._is_terminal = out.isatty()

    def show(self, key: int, text: str) -> None:
        """Say that all up to ``key`` are done, and what ``text`` adds to that."""
        if self._quiet:
            return
        done = min(1.0, max(0, key - self._first + 1) / self._keys)
        if not self._is_terminal:
            self._out.write(f"{done:4.0%}  {text}")
            return
        filled = round(done * _WIDTH)
        bar = "#" * filled + "." * (_WIDTH - filled)
        self._out.write(f"\r[{bar}] {done:4.0%}  {text}\x1b[K", ending="")
        self._out.flush()

    def close(self) -> None:
        """Leave the bar's line."""
        if self._is_terminal and not self._quiet:
            self._out.write("")
