"""``manage.py tmibff_doctor``: tries a deployment against the real thing."""

import argparse
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, TextIO

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseFails
from django.utils import timezone

from ... import doctor
from ...conf import DEFAULT_PROVIDER
from ...doctor import Outcome, SessionProbe, Verdict
from ...models import TokenSet

_STYLES = {
    Outcome.OK: "SUCCESS",
    Outcome.NOTE: "MIGRATE_HEADING",
    Outcome.WARNING: "WARNING",
    Outcome.FAILED: "ERROR",
    Outcome.NOT_TRIED: "HTTP_NOT_MODIFIED",
}
_WIDTHS = (11, 16)
_INDENT = sum(_WIDTHS)
# What is narrower has no room for a table.
_NARROWEST = 60


class Command(BaseCommand):
    """Shows a verdict for each probe."""

    help = (
        "Try this deployment: its settings, store and processes, what its providers publish, and,"
        " with --user or --token-set, what the authorization server does with a living session's"
        " refresh token. No token is ever printed. Ends with status 1 if anything failed."
    )
    # What they find is part of the table.
    requires_system_checks: list[str] = []  # noqa: RUF012  # as Django has it
    stealth_options = ("stdin",)

    def add_arguments(self, parser: CommandParser) -> None:
        session = parser.add_mutually_exclusive_group()
        session.add_argument("--user", metavar="USERNAME", help="Try on their latest session.")
        session.add_argument("--token-set", metavar="HANDLE", help="Try on that session.")
        parser.add_argument(
            "--yes",
            "--noinput",
            "--no-input",
            action="store_true",
            dest="yes",
            help="Ask nothing, and try also what costs the session something: the last probe ends"
            " it.",
        )
        parser.add_argument("--json", action="store_true", help="For programs: one JSON object.")
        parser.add_argument("--second-process", help=argparse.SUPPRESS)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Take standard input from ``stdin``, where a test or another program gives one."""
        self._stdin: TextIO | None = options.pop("stdin", sys.stdin)
        return super().execute(*args, **options)

    def handle(self, **options: Any) -> None:
        if options["second_process"]:
            self.stdout.write(doctor.answer_as_second_process(options["second_process"]))
            return
        token_set = _token_set(options["user"], options["token_set"])
        verdicts = self._verdicts(token_set, says_yes=options["yes"])
        found = self._shown_as_json(verdicts) if options["json"] else self._shown(verdicts)
        failed = [verdict for verdict in found if verdict.outcome == Outcome.FAILED]
        if failed:
            names = ", ".join(dict.fromkeys(verdict.probe for verdict in failed))
            raise CommandError(f"{len(failed)} of {len(found)} failed: {names}.")

    def _verdicts(self, token_set: TokenSet | None, *, says_yes: bool) -> Iterator[Verdict]:
        yield from doctor.examine_deployment()
        yield from doctor.examine_providers()
        yield from doctor.examine_session(token_set, partial(self._agrees, says_yes=says_yes))

    def _agrees(self, probe: SessionProbe, *, says_yes: bool) -> bool:
        """Say what the probe costs; return whether that was agreed to, or is now."""
        # Not among the findings, which may go to a file.
        if says_yes:
            self.stderr.write(f"{probe.name}: {probe.cost}", str)
            return True
        if self._stdin is None or not self._stdin.isatty():
            return False
        self.stderr.write(f"{probe.name}: {probe.cost} Try it? [y/N] ", str, ending="")
        self.stderr.flush()
        return self._stdin.readline().strip().lower() in ("y", "yes")

    def _shown_as_json(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        found = list(verdicts)
        as_data = [{**asdict(verdict), "settings": verdict.settings} for verdict in found]
        self.stdout.write(json.dumps({"verdicts": as_data}, indent=2))
        return found

    def _shown(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Write a line for each verdict as it comes: some take their time."""
        found = []
        for verdict in verdicts:
            self.stdout.write(self._row(verdict))
            self.stdout.flush()
            found.append(verdict)
        counted = Counter(verdict.outcome for verdict in found)
        self.stdout.write(", ".join(f"{counted[one]} {one}" for one in Outcome if counted[one]))
        return found

    def _row(self, verdict: Verdict) -> str:
        terminal = self.stdout.isatty()
        named = verdict.subject not in ("", DEFAULT_PROVIDER)
        finding = f"{verdict.subject}: {verdict.finding}" if named else verdict.finding
        start = f"{verdict.outcome:{_WIDTHS[0]}}{verdict.probe:{_WIDTHS[1]}}"
        if not terminal:
            return f"{start}{finding}"
        style = getattr(self.style, _STYLES[verdict.outcome])
        return f"{style(start)}{_wrapped(finding)}"


def _wrapped(finding: str) -> str:
    """Return the last column of the table, as wide as the terminal leaves it."""
    width = max(_NARROWEST, shutil.get_terminal_size().columns)
    # Addresses and settings stay in one piece.
    wrapper = textwrap.TextWrapper(width - _INDENT, break_long_words=False, break_on_hyphens=False)
    return f"\n{' ' * _INDENT}".join(wrapper.wrap(finding))


def _token_set(username: str | None, handle: str | None) -> TokenSet | None:
    """Return the living token set to try on; raises ``CommandError`` where there is none."""
    if username is None and handle is None:
        return None
    alive = TokenSet.objects.filter(ended_at=None, expires_at__gt=timezone.now())
    if handle is not None:
        named = alive.filter(handle=handle)
    else:
        users = get_user_model()
        named = alive.filter(**{f"user__{users.USERNAME_FIELD}": username})
    try:
        found = named.defer("sealed").order_by("-created_at").first()
    except DatabaseFails as error:
        raise CommandError("The database fails: see DATABASES, and run migrate.") from error
    if found is None:
        raise CommandError("There is no living token set of that user, or handle: sign in first.")
    return found
