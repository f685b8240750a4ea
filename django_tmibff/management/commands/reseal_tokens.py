"""``manage.py reseal_tokens``: the step between adding a new key and taking out the old one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import vault
from ...models import TokenSet
from ...vault import Sealing
from ..progress import Progress


class Command(BaseCommand):
    """Seals what is stored anew with the newest key."""

    help = (
        "Seal all stored tokens with the newest key, so that older keys can be taken out of"
        " TMIBFF_ENCRYPTION_KEYS or SECRET_KEY_FALLBACKS. Run it when all processes know the new"
        " key. It may run beside live traffic, be stopped, and be run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch-size", type=int, default=500, help="Token sets between two signs of progress."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only count what needs an older key."
        )

    def handle(self, *, batch_size: int, dry_run: bool, **options: Any) -> None:
        found = Counter[Sealing]()
        progress = Progress(self.stdout, TokenSet.objects.all())
        for batch in _batches(max(1, batch_size)):
            found.update(vault.reseal(handle, dry_run=dry_run) for _, handle in batch)
            progress.show(batch[-1][0], _told(found))
        progress.close()
        self.stdout.write(_told(found))
        if found[Sealing.OLD] and not dry_run:
            raise CommandError("Some token sets still need an older key: run this again.")


def _batches(size: int) -> Iterator[list[tuple[int, str]]]:
    """Return keys and handles in pieces: a long cursor would hold a connection, or a snapshot."""
    last = 0
    while batch := list(
        TokenSet.objects.filter(pk__gt=last).order_by("pk").values_list("pk", "handle")[:size]
    ):
        yield batch
        last = batch[-1][0]


def _told(found: Counter[Sealing]) -> str:
    return (
        f"{found[Sealing.RESEALED]} sealed anew, {found[Sealing.CURRENT]} sealed with the newest"
        f" key already, {found[Sealing.OLD]} still need an older key,"
        f" {found[Sealing.LOST]} open with no key"
    )
