"""The programs that ``make`` runs beside the tests begin without pytest's settings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = re.findall(
    r"\$\(BIN\)/python -m ((?:tests|benchmarks|testproject)\S*)", (ROOT / "Makefile").read_text()
)

WITHOUT_DJANGO = {name: value for name, value in os.environ.items() if name[:6] != "DJANGO"}


def test_there_are_such_programs() -> None:
    assert {"tests.browser.attacks", "tests.concurrency", "benchmarks"} <= set(PROGRAMS)


@pytest.mark.parametrize("program", sorted(set(PROGRAMS)))
def test_each_can_be_loaded(program: str) -> None:
    package = (ROOT / program.replace(".", "/")).is_dir()
    module = f"{program}.__main__" if package else program
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=ROOT,
        env=WITHOUT_DJANGO,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (loaded.returncode, loaded.stderr) == (0, "")


def test_the_admins_bench_measures_on_postgresql() -> None:
    command = [sys.executable, "-m", "tests.bench.admin", "--rows", "1000", "--dry-run"]
    table = subprocess.run(command, cwd=ROOT, env=WITHOUT_DJANGO, capture_output=True, check=True)
    assert b"1,000 token sets of 200 users" in table.stdout
