"""Packages from npm, each folder with its own package-lock.json."""

from pathlib import Path

from tests.real.components import npm
from tests.real.processes import one_at_a_time, run


def install_packages(folder: Path) -> None:
    """Install what the folder's package-lock.json lists, unless it is there already."""
    with one_at_a_time(folder / "package.json"):
        if not _is_installed(folder):
            run([npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)


def _is_installed(folder: Path) -> bool:
    # npm writes this file at the end of an installation.
    installed = folder / "node_modules" / ".package-lock.json"
    wanted = folder / "package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime
