"""The race of all who answer with a stored token."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import contestants, race
from benchmarks.contestants import Contestant
from benchmarks.provider import Provider
from benchmarks.quiet import Alone
from benchmarks.race import Result, Runner
from benchmarks.world import World
from tests.real.components import ComponentMissing

STARTED_AT_ONCE = 2
WARM_UP_SECONDS = 2


@dataclass
class Field:
    """Those who take part, and why others don't."""

    contestants: list[Contestant] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def everybody(world: World, provider: Provider) -> Field:
    """Return all who can take part on this machine; the first is the anchor."""
    found = Field([*contestants.django_peers(world), *contestants.default_path(world)])
    fast = list(contestants.fast_path(world))
    found.contestants += fast
    if not fast:
        found.missing.append("the fast path: django_tmibff.middleware is not there yet")
    for make in contestants.other_peers(world, provider):
        try:
            found.contestants.append(make())
        except ComponentMissing as missing:
            found.missing.append(str(missing))
    return found


def setups(world: World) -> Field:
    """Return this app's view on several servers; the first is the anchor."""
    return Field([next(contestants.django_peers(world)), *contestants.setups(world)])


def results(field: Field, world: World, alone: Alone, *, rounds: int, seconds: int) -> list[Result]:
    """Start all servers, check that they answer, and measure."""
    with ExitStack() as running:
        runners = list(_started(field.contestants, running))
        with alone():
            for runner in runners:
                runner.cost(world.pids, WARM_UP_SECONDS)
        return race.run(runners, world.pids, rounds=rounds, seconds=seconds, alone=alone)


def _started(found: Sequence[Contestant], running: ExitStack) -> Iterator[Runner]:
    servers = {id(one.server): one.server for one in found}
    with ThreadPoolExecutor(STARTED_AT_ONCE) as starting:
        for server in servers.values():
            running.callback(server.stop)
        list(starting.map(lambda server: server.start(), servers.values()))
        runners = list(starting.map(_signed_in, found))
    yield from runners


def _signed_in(contestant: Contestant) -> Runner:
    runner = Runner(contestant, contestant.server.sign_in(contestant.tokens))
    runner.check()
    return runner
