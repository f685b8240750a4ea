"""``manage.py purge_expired_tokens``: what is over goes, for a timer to run."""

import math
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...models import Note, TokenSet, rows_of
from ...purging import LARGEST_PIECE, Purge, TimeIsOverError
from ..progress import Progress

FAILED, UNFINISHED = 1, 2


class Command(BaseCommand):
    """Revokes what has expired, delivers owed revocations, deletes what is over."""

    help = (
        "Revoke the refresh tokens of expired sessions, deliver the revocations that are still"
        " owed, and delete all token sets and notes that are over. It may run beside live traffic"
        " and beside itself, be stopped at any time, and be run again. Exit codes: 0, all is done"
        " (revocations may still wait for their next try); 1, something failed or a revocation was"
        " given up, see the log; 2, --max-seconds were over with work left: run it again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch-size",
            type=int,
            default=5000,
            help=f"Most rows in one transaction, up to {LARGEST_PIECE}; fewer where it takes long.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only count; change and ask nothing."
        )
        parser.add_argument(
            "--keep-ended",
            type=float,
            default=0,
            metavar="DAYS",
            help="Keep the record of what ended, or expired, less than that long ago.",
        )
        parser.add_argument(
            "--no-revoke",
            action="store_true",
            help="Ask no authorization server: expired token sets go without being revoked.",
        )
        parser.add_argument(
            "--max-seconds", type=float, default=math.inf, help="Stop after that time."
        )

    def handle(self, **options: Any) -> None:
        purge = Purge(
            largest=options["batch_size"],
            keep=timedelta(days=options["keep_ended"]),
            revokes=not options["no_revoke"],
            dry_run=options["dry_run"],
            ends_at=time.monotonic() + options["max_seconds"],
        )
        finished = self._run(purge, quiet=not options["verbosity"])
        if options["verbosity"]:
            self.stdout.write(_told(purge))
        _raise_what_cron_should_know(purge, finished=finished)

    def _run(self, purge: Purge, *, quiet: bool) -> bool:
        """Return whether there was time for all of it."""
        walks: dict[type[Any], Callable[[int, int], None]] = {
            TokenSet: purge.token_sets,
            Note: purge.notes,
        }
        for model, purge_piece in walks.items():
            progress = Progress(self.stdout, rows_of(model), quiet=quiet)
            try:
                for first, last in purge.pieces(model):
                    purge_piece(first, last)
                    progress.show(last, _told(purge))
            except TimeIsOverError:
                return False
            finally:
                progress.close()
        return True


def _told(purge: Purge) -> str:
    counts = purge.counts
    if purge.dry_run:
        return (
            f"{counts.deleted} token sets to delete, {counts.owed} to revoke,"
            f" {counts.given_up} to give up, {counts.notes} notes to delete"
        )
    return (
        f"{counts.deleted} token sets deleted, {counts.revoked} revoked, {counts.owed} still owed,"
        f" {counts.given_up} given up, {counts.failed} failed, {counts.notes} notes deleted"
    )


def _raise_what_cron_should_know(purge: Purge, *, finished: bool) -> None:
    counts = purge.counts
    unfinished = "" if finished else " Time is over: run this again."
    if not purge.dry_run and (counts.failed or counts.given_up):
        raise CommandError(
            f"{counts.failed} failed, {counts.given_up} given up: see the log.{unfinished}",
            returncode=FAILED,
        )
    if not finished:
        raise CommandError(unfinished.strip(), returncode=UNFINISHED)
