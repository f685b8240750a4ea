"""How Sphinx builds these pages: ``make docs``."""

import tomllib
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
version = release = _PROJECT["version"]
copyright = f"the authors of {project}"  # noqa: A001  # Sphinx's name
extensions = ["myst_parser"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"{project} {version}"


def setup(app: Any) -> None:
    """Let the README and the changelog be pages, and their links lead to the others."""
    app.connect("source-read", _read)


def _read(app: Any, docname: str, source: list[str]) -> None:
    text = source[0]
    for name in ("README.md", "CHANGELOG.md"):
        text = text.replace(f"<!-- {name} -->", (_ROOT / name).read_text())
    for link, here in (
        ("(docs/", "("),
        ("(../../README.md", "(../index.md"),
        ("(../README.md", "(index.md"),
        ("(CHANGELOG.md", "(changelog.md"),
        ("(../CHANGELOG.md", "(changelog.md"),
    ):
        text = text.replace(f"]{link}", f"]{here}")
    source[0] = text
