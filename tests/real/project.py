"""A new Django project, with the documentation's code in it."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.real.processes import Server, answers_http, run

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
# The first line of a block says which file it belongs to.
CODE = re.compile(r"```python\n# (?P<file>\w+\.py)\n(?P<code>.*?)```", re.DOTALL)
NAME = "tearoom"
ENVIRONMENT = {"DJANGO_SETTINGS_MODULE": f"{NAME}.settings", "PYTHONPATH": str(CHECKOUT)}
MANAGE = (sys.executable, "manage.py")


def section(page: str, heading: str) -> str:
    """Return what is under that heading of the second level on a page of the documentation."""
    _, found, rest = (DOCS / page).read_text().partition(f"\n## {heading}\n")
    assert found, f"{page} has no heading {heading!r}."
    return rest.partition("\n## ")[0]


def paste(folder: Path, text: str, replacements: Mapping[str, str]) -> list[str]:
    """Put each block of code of a text at the end of the file that it names; return their names.

    ``replacements``: what stands in the text for what only the test knows.
    """
    names = []
    for match in CODE.finditer(text):
        code = match["code"]
        for written, real in replacements.items():
            code = code.replace(written, real)
        with (folder / match["file"]).open("a") as file:
            file.write(f"\n{code}")
        names.append(match["file"])
    return names


class Project:
    """A project made by ``django-admin startproject``; its package is ``package``."""

    def __init__(self, folder: Path) -> None:
        """Make it in that folder."""
        run([sys.executable, "-m", "django", "startproject", NAME], cwd=folder, env=ENVIRONMENT)
        self._folder = folder
        self.root = folder / NAME
        self.package = self.root / NAME

    def manage(self, *command: str) -> str:
        """Run a command of ``manage.py``; return what it printed."""
        return run([*MANAGE, *command], cwd=self.root, env=ENVIRONMENT)

    def runserver(self, port: int) -> Server:
        """Return Django's development server for it, which is yet to be started."""
        return Server(
            "runserver",
            [*MANAGE, "runserver", "--noreload", f"127.0.0.1:{port}"],
            folder=self._folder,
            ready=lambda: answers_http(f"http://127.0.0.1:{port}/"),
            cwd=self.root,
            env=ENVIRONMENT,
        )
