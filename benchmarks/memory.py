"""Whether a worker grows: its resident memory over very many requests."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks import contestants, cpu, load
from benchmarks.race import Runner
from benchmarks.report import table
from benchmarks.world import REDIS_SESSIONS, World, bff

# By then caches and thread pools are what they will be.
SETTLED = 0.1
SECONDS = 10
SESSIONS = 50
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Grown:
    """The memory of one worker after some requests, in bytes."""

    answers: int
    resident: int


def measure(world: World, *, answers: int) -> list[Grown]:
    """Return what the one worker of a site has, as often as somebody looked."""
    with ExitStack() as running:
        site = bff(world, "db", REDIS_SESSIONS)
        cookies = site.sign_in(*[1] * SESSIONS)
        running.enter_context(site)
        Runner(contestants.Contestant("memory", site, ""), cookies).check()
        [worker] = cpu.children(site.pid)
        return _watched(f"{site.origin}{contestants.BFF_TOKEN}", cookies, worker, answers)


def figures(grown: Sequence[Grown]) -> str:
    """Return the table of it: a few lines, the last one among them."""
    shown = [*grown[:: max(1, len(grown) // 6)], grown[-1]]
    rows = [
        (f"{one.answers:,}", f"{one.resident / MEGABYTE:.1f} MB") for one in dict.fromkeys(shown)
    ]
    first = next(one for one in grown if one.answers >= SETTLED * grown[-1].answers)
    more = (grown[-1].resident - first.resident) / MEGABYTE
    summary = f"From {first.answers:,} answers on it grew by {more:.1f} MB."
    return "\n".join([*table(("answers", "resident memory of the worker"), rows), "", summary])


def _watched(url: str, cookies: Sequence[str], worker: int, wanted: int) -> list[Grown]:
    found = [Grown(0, cpu.resident_bytes(worker))]
    while found[-1].answers < wanted:
        more = load.drive(url, cookies, seconds=min(SECONDS, 1 + wanted // 10_000))
        found.append(Grown(found[-1].answers + more, cpu.resident_bytes(worker)))
    return found
