"""The tables of docs/reliability.md, from what the runs have shown."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import django

from tests.concurrency.figures import Figures
from tests.concurrency.plan import EVERYWHERE
from tests.real.gunicorn import PROJECT

PAGE = PROJECT / "docs" / "reliability.md"
BEGIN = "<!-- Written by make reliability. -->"
END = "<!-- The end of what it writes. -->"

# Promised first, and then what it was promised of.
COLUMNS = ("reused", "failed", "lost", "exceptions", "refreshes", "answers", "slowest")
CALLERS = ("database", "store", *COLUMNS)
EVENTS = ("what happens", "store", *COLUMNS, "what that cost")


def write(shown: Sequence[Figures]) -> None:
    """Put the tables into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(shown)}\n{END}{after}")


def tables(shown: Sequence[Figures]) -> str:
    """Return both tables, and what machine it was."""
    everywhere = [one for one in shown if one.scenario == EVERYWHERE]
    events = [one for one in shown if one.scenario != EVERYWHERE]
    parts = [
        _table(CALLERS, ([one.setup.database, one.setup.store, *_row(one)] for one in everywhere)),
        _table(EVENTS, ([one.scenario, one.setup.store, *_row(one), _cost(one)] for one in events)),
        f"{_machine()}\n",
    ]
    return "\n".join(parts)


def line(one: Figures) -> str:
    """Return the figures of one run, for whoever watches."""
    what = (one.scenario, one.setup.database, one.setup.store)
    row = [f"{name} {value}" for name, value in zip(COLUMNS, _row(one), strict=True)]
    return f"{', '.join(what)}: {', '.join([*row, _cost(one)])}"


def _row(one: Figures) -> list[str]:
    most = f"{one.refreshes} (most {one.most_refreshes} of {one.allowed_refreshes:.1f})"
    promised = (one.reuses, sum(one.failed.values()), one.lost, one.exceptions)
    return [*map(str, promised), most, str(one.answers), f"{one.slowest:.1f} s"]


def _cost(one: Figures) -> str:
    cost = f"{_count(one.excused, 'answer')}, {_count(one.cost, 'session')}"
    return ": ".join(filter(None, [one.event, cost]))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _machine() -> str:
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores for everything, load and servers"
        f" alike; Python {platform.python_version()}, Django {django.__version__}."
    )
