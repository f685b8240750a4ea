"""Run a management command of the test project and print as JSON what it took.

A program of its own: ``python -m tests.bench.measured purge_expired_tokens --verbosity=0``. In a
command's place may stand ``module:name``, which is called as ``module.work(name)``.
"""

import gc
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.real.gunicorn import PROJECT, environment
from tests.real.processes import run

_PROCESS = Path("/proc/self")


@dataclass
class Measured:
    """``megabytes``: the peak of the resident memory above what Django needs itself.

    ``transactions``: the seconds of each as the command saw it, its commit included; a statement
    outside of a block is one.
    """

    seconds: float = 0.0
    megabytes: float = 0.0
    transactions: list[float] = field(default_factory=list)


def measure(settings: Mapping[str, Any], *command: str) -> Measured:
    """Run a management command in a process of its own; return what it took."""
    settings = {**settings, "DEBUG": False}  # Django would remember each query.
    arguments = [sys.executable, "-m", "tests.bench.measured", *command]
    printed = run(arguments, cwd=PROJECT, env=environment(settings))
    return Measured(**json.loads(printed.splitlines()[-1]))


def _main(command: Sequence[str]) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from django_tmibff.models import TokenSet

    # Django itself: its checks, its models, a connection that has answered.
    call_command("check", verbosity=0)
    TokenSet.objects.first()
    measured = Measured()
    _time_transactions(connection, measured)
    before = _reset_peak()
    start = time.monotonic()
    if ":" in command[0]:
        module, name = command[0].split(":")
        import_module(module).work(name)
    else:
        call_command(*command)
    measured.seconds = time.monotonic() - start
    measured.megabytes = (_kilobytes("VmHWM") - before) / 1024
    sys.stdout.write(f"\n{json.dumps(asdict(measured))}\n")


def _time_transactions(connection: Any, measured: Measured) -> None:
    """Let Django tell of each transaction, and of each statement that is one by itself."""
    from django.db.transaction import Atomic

    enter, leave = Atomic.__enter__, Atomic.__exit__
    begun: list[float] = []

    def note(start: float) -> None:
        measured.transactions.append(time.monotonic() - start)

    def timed_enter(self: Any) -> None:
        begun.append(time.monotonic())
        enter(self)

    def timed_exit(self: Any, *exception: Any) -> None:
        leave(self, *exception)
        start = begun.pop()
        if not begun:
            note(start)

    def timed_statement(execute: Any, *arguments: Any) -> Any:
        start = time.monotonic()
        try:
            return execute(*arguments)
        finally:
            if not begun:
                note(start)

    Atomic.__enter__, Atomic.__exit__ = timed_enter, timed_exit
    connection.execute_wrappers.append(timed_statement)


def _reset_peak() -> int:
    """Return the resident memory, and let the peak begin there."""
    gc.collect()
    (_PROCESS / "clear_refs").write_text("5")
    return _kilobytes("VmRSS")


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    _main(sys.argv[1:])
