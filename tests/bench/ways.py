"""``python -m tests.bench.ways``: the purge beside other ways to delete, for docs/purge.md."""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.figures import replaced
from tests.bench.measured import Measured, measure
from tests.bench.purge import COMMAND, PAGE
from tests.real.gunicorn import migrate
from tests.real.over import add_expired, connect, number_of
from tests.real.session import databases
from tests.real.strict_server import StrictServer

BATCH = 10_000
SCENES = {"all have expired": 1, "one in ten has": 10}


def in_batches(expired: Any) -> None:
    """Delete by lists of keys and count what is left after each, as DOT's cleartokens does."""
    while expired.count():
        keys = list(expired.values_list("pk", flat=True)[:BATCH])
        expired.model.objects.filter(pk__in=keys).delete()


def oldest_first(expired: Any) -> None:
    """Delete by lists of keys in the order of their expiry."""
    while keys := list(expired.order_by("expires_at").values_list("pk", flat=True)[:BATCH]):
        expired.model.objects.filter(pk__in=keys).delete()


def at_once(expired: Any) -> None:
    """Delete with one ``QuerySet.delete()``."""
    expired.delete()


def with_receivers(expired: Any) -> None:
    """Delete with one ``QuerySet.delete()`` while somebody listens to ``post_delete``."""
    from django.db.models.signals import post_delete

    def hear(**told: Any) -> None:
        """Do nothing; but Django loads each row to tell of it."""

    post_delete.connect(hear, sender=expired.model)
    expired.delete()


OTHERS: Mapping[str, Callable[[Any], None]] = {
    f"keys in batches of {BATCH:,}, and a count after each (django-oauth-toolkit's)": in_batches,
    f"the oldest {BATCH:,} first, by `ORDER BY` and `LIMIT`": oldest_first,
    "one `QuerySet.delete()`": at_once,
    "one `QuerySet.delete()`, with a receiver of `post_delete`": with_receivers,
}


def work(name: str) -> None:
    """Delete what has expired in that way; runs in the measured process."""
    from django.utils import timezone

    from django_tmibff.models import TokenSet

    ways = {way.__name__: way for way in OTHERS.values()}
    ways[name](TokenSet.objects.filter(expires_at__lte=timezone.now()))


def main() -> None:
    """Measure, print, and write the figures into the docs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    with _settings() as settings:
        figures = "\n".join(_lines(settings, rows))
    print(figures)  # noqa: T201  # what it is for
    PAGE.write_text(replaced(PAGE.read_text(), "bench-purge-ways", figures))


@contextmanager
def _settings() -> Iterator[dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory() as folder,
        StrictServer() as server,
        databases("postgresql", Path(folder)) as found,
    ):
        settings = {**server.django_settings(), "DATABASES": found}
        migrate(settings)
        yield settings


def _lines(settings: Mapping[str, Any], rows: int) -> Iterator[str]:
    heads = [
        f"{scene}: {what}" for scene in SCENES for what in ("time", "longest transaction", "memory")
    ]
    yield f"| of {rows:,} token sets | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    others = {name: (f"tests.bench.ways:{way.__name__}",) for name, way in OTHERS.items()}
    ways = {"`purge_expired_tokens`": COMMAND, **others}
    for name, command in ways.items():
        scenes = [_measured(settings, rows, one_in, command) for one_in in SCENES.values()]
        yield f"| {name} | {' | '.join(_told(scene) for scene in scenes)} |"


def _measured(
    settings: Mapping[str, Any], rows: int, one_in: int, command: tuple[str, ...]
) -> Measured:
    with connect(settings["DATABASES"]) as connection:
        connection.execute("TRUNCATE django_tmibff_tokenset")
        add_expired(connection, rows, one_in=one_in)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        measured = measure(settings, *command)
        assert number_of(connection) == rows - rows // one_in
    return measured


def _told(measured: Measured) -> str:
    longest = 1000 * max(measured.transactions)
    return f"{measured.seconds:.1f} s | {longest:,.0f} ms | {measured.megabytes:,.0f} MB"


if __name__ == "__main__":
    main()
