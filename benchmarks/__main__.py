"""Measure what docs/performance.md tells: all of it, or the parts that are named."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import chart, growth, memory, peers, renewal, report
from benchmarks.provider import Provider
from benchmarks.quiet import Alone, sharing
from benchmarks.world import World


@dataclass(frozen=True)
class Bench:
    """What all parts need, and whether to be quick."""

    world: World
    provider: Provider
    alone: Alone
    quick: bool

    @property
    def rounds(self) -> int:
        """How often everybody is measured."""
        return 1 if self.quick else 5


def main() -> None:
    """Measure, print, and write the figures into the docs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help="all, unless named")
    parser.add_argument("--quick", action="store_true", help="once, and leave the docs as they are")
    parser.add_argument("--lock", type=Path, help="measure while this file is locked")
    options = parser.parse_args()
    with _bench(options.lock, quick=options.quick) as bench:
        for name in options.parts or PARTS:
            figures = PARTS[name](bench)
            _show(f"\n{name}\n\n{figures}\n")
            if not options.quick:
                report.write(name, figures)
    _show("Beside it: make bench-admin for docs/admin.md, make bench-purge for docs/purge.md.\n")


@contextmanager
def _bench(lock: Path | None, *, quick: bool) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name, sharing(lock) as alone:
        folder = Path(name)
        folder.chmod(0o755)  # Apache's processes are another user's.
        with World(folder) as world, Provider(folder) as provider:
            yield Bench(world, provider, alone, quick)


def _peers(bench: Bench) -> str:
    field = peers.everybody(bench.world, bench.provider)
    results = peers.results(field, bench.world, bench.alone, rounds=bench.rounds, seconds=1)
    if not bench.quick:
        chart.write(results)
    parts = [
        report.contestants(results, field.missing),
        report.targets(results),
        f"{report.anchor(results)} {report.machine()}",
    ]
    return "\n\n".join(parts)


def _setups(bench: Bench) -> str:
    field = peers.setups(bench.world)
    results = peers.results(field, bench.world, bench.alone, rounds=bench.rounds, seconds=1)
    return report.contestants(results, field.missing)


def _renewal(bench: Bench) -> str:
    with bench.alone():
        measured = renewal.measure(
            bench.world, bench.provider, rounds=bench.rounds, calls=20 if bench.quick else 100
        )
    return renewal.figures(measured)


def _growth(bench: Bench) -> str:
    """A worker's memory is watched beside the filling: neither needs quiet."""
    many, answers = (20_000, 5_000) if bench.quick else (1_000_000, 200_000)
    with ThreadPoolExecutor(1) as beside:
        grown = beside.submit(memory.measure, bench.world, answers=answers)
        with growth.filled(bench.world, many=many) as filled:
            watched = memory.figures(grown.result())
            measured = growth.measure(filled, bench.alone, rounds=2 * bench.rounds)
    return f"{growth.figures(measured)}\n\n{watched}"


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


PARTS: Mapping[str, Callable[[Bench], str]] = {
    "peers": _peers,
    "setups": _setups,
    "renewal": _renewal,
    "growth": _growth,
}


if __name__ == "__main__":
    main()
