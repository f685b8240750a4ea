"""How far a command is: a bar on a terminal, else a line for each batch."""

from django.core.management.base import OutputWrapper

_WIDTH = 30


class Progress:
    """Shows how far a walk over a table's integer keys has come."""

    def __init__(self, out: OutputWrapper, *, first: int, last: int) -> None:
        """Take where to write, and the first and the last key there is."""
        self._out = out
        self._first = first
        self._keys = max(1, last - first + 1)
        self._is_terminal = out.isatty()

    def show(self, key: int, text: str) -> None:
        """Say that all up to ``key`` are done, and what ``text`` adds to that."""
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
        if self._is_terminal:
            self._out.write("")
