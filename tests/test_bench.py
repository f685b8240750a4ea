"""What the bench makes of what it measures."""

import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from benchmarks import chart, cpu, race
from benchmarks.contestants import Contestant
from benchmarks.race import Cost, Result

BURN = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
SVG = "{http://www.w3.org/2000/svg}"


class Nobody:
    """A server that nobody asks."""

    origin = "http://127.0.0.1:9"
    pid = 0

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def sign_in(self, *numbers: int) -> list[str]:
        """Sign nobody in."""
        return []


def result(name: str, *ratios: float) -> Result:
    """Return what was measured of one."""
    found = Result(Contestant(name, Nobody(), "nothing"))
    for ratio in ratios:
        race._note(found, Cost(ratio, 0.0), before=Cost(0.9, 0.0), after=Cost(1.1, 0.0))
    return found


def test_cpu_time_is_that_of_all_processes_that_came_from_one() -> None:
    before = cpu.seconds(os.getpid())
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert cpu.seconds(os.getpid()) - before >= 0.29


def test_a_process_is_measured_while_it_runs() -> None:
    command = [sys.executable, "-c", f"{BURN}\nprint(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in cpu.children(os.getpid())
        assert cpu.seconds(process.pid) >= 0.29
        assert cpu.resident_bytes(process.pid) > 1024 * 1024
        process.communicate(b"\n")


def test_a_ratio_is_to_the_anchor_before_and_after() -> None:
    assert result("one", 2.0, 4.0, 3.0).ratio == pytest.approx(3.0)


def test_two_are_compared_within_each_round() -> None:
    """Both get dearer in the second round: what one is over the other stays."""
    slow, fast = result("slow", 2.0, 4.0, 3.0), result("fast", 1.0, 2.0, 1.5)
    assert slow.over(fast) == pytest.approx(2.0)


def test_the_picture_has_bars_as_long_as_the_ratios() -> None:
    drawn = "\n".join(chart.lines([result("anchor", 1.0), result("peer <of others>", 2.0)]))
    picture = ElementTree.fromstring(drawn)  # noqa: S314  # our own
    widths = [float(bar.attrib["width"]) for bar in picture.iter(f"{SVG}rect")]
    assert widths[1] == pytest.approx(2 * widths[0])
    assert "prefers-color-scheme: dark" in drawn
