"""Count, print, and record: ``python -m benchmarks.instructions``."""

import sys
import tempfile
from pathlib import Path

from benchmarks.instructions import counting


def main() -> None:
    """Record what this Python and this Django take."""
    with tempfile.TemporaryDirectory() as folder:
        counts = counting.count(Path(folder))
    counting.record(counts)
    sys.stdout.write(f"{counting.versions()}, instructions for one answer:\n")
    for name, number in counts.items():
        sys.stdout.write(f"{number:12,}  {name}\n")


if __name__ == "__main__":
    main()
