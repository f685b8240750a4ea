"""``python -m tests.bench.purge``: purge a million token sets, write what it took to the docs."""

import argparse
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.figures import replaced
from tests.bench.measured import Measured, measure
from tests.real.gunicorn import PROJECT, Gunicorn, migrate
from tests.real.over import add_expired, connect, number_of
from tests.real.session import databases, fetch_token, new_session
from tests.real.strict_server import StrictServer

PAGE = PROJECT / "docs" / "purge.md"
COMMAND = ("purge_expired_tokens", "--verbosity=0")
SESSIONS = 4
LIFETIME = 5.0
PAUSE_SECONDS = 0.05
SECONDS_ALONE = 20.0


@dataclass
class Answers:
    """What live requests got, and how long each took."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


def main() -> None:
    """Measure, print, and write the figures into the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with (
        tempfile.TemporaryDirectory() as folder,
        StrictServer() as server,
        databases("postgresql", Path(folder)) as found,
    ):
        settings = {**server.django_settings(), "DATABASES": found}
        migrate(settings)
        _fill(settings, rows)
        figures = _figures(Path(folder), settings, server, rows)
        with connect(found) as connection:
            assert number_of(connection) == SESSIONS
    print(figures)  # noqa: T201  # what it is for
    PAGE.write_text(with_figures(PAGE.read_text(), figures))


def _fill(settings: dict[str, Any], rows: int) -> None:
    with connect(settings["DATABASES"]) as connection:
        add_expired(connection, rows)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _figures(folder: Path, settings: dict[str, Any], server: StrictServer, rows: int) -> str:
    signed_in = [server.new_family(LIFETIME) for _ in range(SESSIONS)]
    cookies = [new_session(settings, one, age_seconds=60) for one in signed_in]
    alone, beside = Answers(), Answers()
    load = os.getloadavg()[0]
    with Gunicorn(folder, settings, workers=2, threads=4) as app:
        with _traffic(app.origin, cookies, alone):
            time.sleep(SECONDS_ALONE)
        with _traffic(app.origin, cookies, beside):
            measured = measure(settings, *COMMAND)
    assert server.reuses == 0
    return _table(rows, measured, alone, beside, load)


@contextmanager
def _traffic(origin: str, cookies: Sequence[str], answers: Answers) -> Iterator[None]:
    """Let a page of each session ask again and again."""
    over = threading.Event()

    def ask(cookie: str) -> None:
        while not over.wait(PAUSE_SECONDS):
            answer = fetch_token(origin, cookie)
            answers.seconds.append(answer.elapsed.total_seconds())
            answers.failed += answer.status_code != 200

    pages = [threading.Thread(target=ask, args=[cookie]) for cookie in cookies]
    for page in pages:
        page.start()
    try:
        yield
    finally:
        over.set()
        for page in pages:
            page.join()


def _table(rows: int, measured: Measured, alone: Answers, beside: Answers, load: float) -> str:
    lines: dict[str, str] = {
        f"time for {rows:,} token sets": f"{measured.seconds:.0f} s",
        "peak of resident memory above Django itself": f"{measured.megabytes:.1f} MB",
        "its transactions": _told(measured.transactions),
        "live requests without purge": f"{alone.failed} failed of {_told(alone.seconds)}",
        "live requests beside it": f"{beside.failed} failed of {_told(beside.seconds)}",
        "measured on": (
            f"{os.cpu_count()} cores, PostgreSQL, Python {platform.python_version()};"
            f" load average before it: {load:.1f}"
        ),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in lines.items())])


def _told(seconds: Sequence[float]) -> str:
    percentile = [1000 * value for value in statistics.quantiles(seconds, n=100)]
    return (
        f"{len(seconds):,}: half of them within {percentile[49]:.0f} ms, 95 % within"
        f" {percentile[94]:.0f} ms, the longest {max(seconds) * 1000:.0f} ms"
    )


def with_figures(page: str, figures: str) -> str:
    """Return the page with these figures in the place of the old ones."""
    return replaced(page, "bench-purge", figures)


if __name__ == "__main__":
    main()
