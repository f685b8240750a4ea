"""``python -m tests.browser.attacks`` writes the tables of docs/security/attacks.md."""

import sys
import tempfile
import time
from pathlib import Path

from tests.browser.attacks import battery
from tests.browser.attacks.page import PAGE, Cells, cells, page_with_tables
from tests.browser.attacks.results import Results
from tests.browser.attacks.setups import SETUPS

QUIET_SECONDS = 4


class Quiet:
    """Whether nothing has arrived for some seconds: nobody can say what else will."""

    def __init__(self) -> None:
        self._arrived = 0
        self._since = time.monotonic()

    def __call__(self, results: Results) -> bool:
        arrived = sum(len(outcome.arrivals) for outcome in results.outcomes)
        if arrived != self._arrived:
            self._arrived, self._since = arrived, time.monotonic()
        return time.monotonic() - self._since > QUIET_SECONDS


def main() -> None:
    """Attack all setups, and write what came of it."""
    found: Cells = {}
    for setup in SETUPS:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = {**found, **cells(battery.run(setup, Path(folder), Quiet(), everywhere=True))}
        sys.stdout.write(f"{setup.name}: {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    PAGE.write_text(page_with_tables(PAGE.read_text(), found))


if __name__ == "__main__":
    main()
