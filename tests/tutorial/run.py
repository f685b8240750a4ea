"""What is not as the reader has it: the package comes from this tree, and the ports are free."""

import os
import re
import sys
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.real.chromium import chromium
from tests.real.gunicorn import PROJECT
from tests.real.processes import free_port, run
from tests.tutorial.follower import Follower
from tests.tutorial.terminals import environment

TUTORIAL = PROJECT / "docs" / "tutorial.md"
IMAGES = PROJECT / "docs" / "images"
PORTS = ("8000", "8001")
PACKAGE = re.compile(r"^(pip install .*?)\bdjango-tmibff\b", re.MULTILINE)
# The folder that the tutorial has its reader make first.
ROOT = "tutorial"


def follow_the_tutorial(folder: Path) -> None:
    """Follow it in that empty folder; the pictures are for the docs if ``UPDATE_IMAGES`` is set.

    Raises ``TutorialError``.
    """
    takes_pictures = bool(os.environ.get("UPDATE_IMAGES"))
    page = TUTORIAL.read_text()
    if not takes_pictures:
        for port in PORTS:
            page = page.replace(port, str(free_port()))
    page, found = PACKAGE.subn(rf"\1{_wheel(folder)}", page)
    assert found == 1, "The tutorial installs the package once."
    with ExitStack() as until_the_end:
        follower = Follower(
            folder,
            folder / ROOT,
            IMAGES if takes_pictures else folder,
            environment(Path(sys.base_prefix) / "bin" / "python3"),
            cache(lambda: until_the_end.enter_context(chromium())),
        )
        follower.follow(page)


def _wheel(folder: Path) -> Path:
    """Return a wheel of this tree."""
    where = folder / "wheel"
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            where,
            PROJECT,
        ]
    )
    [wheel] = where.glob("*.whl")
    return wheel
