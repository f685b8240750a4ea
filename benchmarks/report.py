"""The tables of docs/performance.md, from what was measured."""

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.race import Result
from benchmarks.targets import judged
from tests.bench.figures import replaced
from tests.real.components import node, postgresql_binaries, program
from tests.real.gunicorn import PROJECT
from tests.real.processes import run

PAGE = PROJECT / "docs" / "performance.md"
PACKAGES = (
    "django",
    "gunicorn",
    "psycopg",
    "django-redis",
    "mozilla-django-oidc",
    "django-allauth",
    "authlib",
    "uvicorn",
)


def write(part: str, figures: str) -> None:
    """Put a part's figures into the page."""
    PAGE.write_text(replaced(PAGE.read_text(), f"bench, {part}", figures))


def contestants(results: Sequence[Result], missing: Sequence[str]) -> str:
    """Return the table of what everybody costs, and why some are not in it."""
    rows = [_row(result) for result in sorted(results, key=lambda one: one.ratio)]
    head = ("who answers", "CPU", "spread", "with database and cache", "does not check")
    return "\n".join([*table(head, rows), "", *(f"- Not measured: {one}" for one in missing)])


def targets(results: Sequence[Result]) -> str:
    """Return the table of what was promised."""
    rows = [
        (
            target.name,
            target.over,
            f"{target.limit:.2f}",
            "not measured" if ratio is None else f"{ratio:.2f}",
            "" if ratio is None else ("yes" if ratio <= target.limit else "**no**"),
        )
        for target, ratio in judged(results)
    ]
    head = ("who", "compared with", "at most", "measured", "holds")
    return "\n".join(table(head, rows))


def anchor(results: Sequence[Result]) -> str:
    """Return what the anchor takes on this machine, and how often everybody was measured."""
    costs = sorted(cost.own for cost in results[0].costs)
    middle = 1000 * costs[len(costs) // 2]
    rounds = max(len(result.ratios) for result in results[1:])
    return f"The anchor took {middle:.2f} ms; {rounds} rounds."


def machine() -> str:
    """Return which machine and which versions these are the figures of."""
    names = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} cores ({_cpu()}) for everything, load and"
        f" servers alike; Python {platform.python_version()}, {', '.join(names)};"
        f" {', '.join(_programs())}."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table's lines."""
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _row(result: Result) -> Sequence[str]:
    spread = f"{min(result.ratios):.2f} to {max(result.ratios):.2f}"
    whole = f"{result.ratio_of_all:.2f}"
    contestant = result.contestant
    return contestant.name, f"{result.ratio:.2f}", spread, whole, contestant.unchecked


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _programs() -> Iterator[str]:
    commands: Mapping[str, Sequence[str | Path]] = {
        "PostgreSQL": [postgresql_binaries() / "postgres", "--version"],
        "Redis": [program("redis-server"), "--version"],
        "Node.js": [node(), "--version"],
    }
    for name, command in commands.items():
        found = re.search(r"\d+(\.\d+)+", run(command))
        yield f"{name} {found[0] if found else ''}"
