"""``make tutorial``: follow docs/tutorial.md, in an empty folder, with the package of this tree."""

import sys
import tempfile
import time
from pathlib import Path

from tests.tutorial.run import follow_the_tutorial


def main() -> None:
    """Follow it; raises ``TutorialError`` where it goes wrong."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        follow_the_tutorial(Path(folder))
    seconds = time.monotonic() - began
    sys.stdout.write(f"docs/tutorial.md holds: followed to its end in {seconds:.0f} seconds.\n")


if __name__ == "__main__":
    main()
