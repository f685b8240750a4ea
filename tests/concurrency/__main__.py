"""Run the bench: all of it, or the runs whose names begin with what is given.

All of it writes docs/reliability.md, unless a promise was broken.
"""

import sys
from collections.abc import Sequence

from tests.concurrency import report
from tests.concurrency.figures import Figures
from tests.concurrency.plan import Step, everything


def main(names: Sequence[str]) -> int:
    """Return 1 when a promise was broken, else 0."""
    steps = [step for step in everything() if not names or str(step).startswith(tuple(names))]
    shown = [_shown(step) for step in steps]
    sys.stdout.write(f"\n{report.tables(shown)}")
    if any(one.broken() for one in shown):
        return 1
    if not names:
        report.write(shown)
    return 0


def _shown(step: Step) -> Figures:
    figures = step.run()
    sys.stdout.write(f"{report.line(figures)}\n")
    for promise in figures.broken():
        sys.stdout.write(f"  BROKEN: {promise}\n")
    if figures.broken():
        sys.stdout.write(figures.logs)
    sys.stdout.flush()
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
