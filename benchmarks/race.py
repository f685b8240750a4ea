"""Who costs how much: each contestant in turn, the anchor before and after it, again and again.

A machine that others use is faster now and slower then. So only what was measured side by side is
compared: each contestant's CPU time for an answer, over the anchor's just before and just after.
"""

import json
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import requests

from benchmarks import cpu, load, proofs
from benchmarks.contestants import Contestant
from benchmarks.quiet import Alone
from benchmarks.stored import ACCESS_TOKEN


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU for an answer: of the contestant's own processes, and of what it asks."""

    own: float
    behind: float

    @property
    def all(self) -> float:
        """Both."""
        return self.own + self.behind


@dataclass
class Result:
    """What was measured of one contestant; the ratios are to the anchor, one for each round."""

    contestant: Contestant
    costs: list[Cost] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    ratios_of_all: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def ratio_of_all(self) -> float:
        """The median of the ratios with database and cache."""
        return statistics.median(self.ratios_of_all)

    def over(self, other: "Result") -> float:
        """Return the median of the ratios to another contestant, paired by round."""
        return statistics.median(a / b for a, b in zip(self.ratios, other.ratios, strict=True))


@dataclass
class Runner:
    """A contestant whose server runs, with its session's cookie."""

    contestant: Contestant
    cookies: Sequence[str]

    @property
    def url(self) -> str:
        """What is asked."""
        return f"{self.contestant.server.origin}{self.contestant.path}"

    def check(self) -> None:
        """Raise ``RuntimeError`` unless each session gets the very token that is stored."""
        for cookie in self.cookies:
            with requests.Session() as session:
                session.trust_env = False
                proof = {"DPoP": proofs.proof()} if self.contestant.proves else {}
                headers = {**load.HEADERS, **proof, "Cookie": cookie}
                answer = session.get(self.url, headers=headers, timeout=30, allow_redirects=False)
            if answer.status_code != 200 or token_of(answer.text) != ACCESS_TOKEN:
                what = f"{answer.status_code}: {answer.text[:2000]}"
                raise RuntimeError(f"{self.contestant.name} answers {what}")

    def cost(self, behind: Sequence[int], seconds: int) -> Cost:
        """Ask for that many seconds; ``behind``: the processes of database and cache."""
        pid = self.contestant.server.pid
        sent = self.cookies
        if self.contestant.proves:
            sent = list(proofs.with_proofs(self.cookies, seconds))
        own, others = cpu.seconds(pid), cpu.seconds(*behind)
        answers = load.drive(self.url, sent, seconds=seconds)
        return Cost((cpu.seconds(pid) - own) / answers, (cpu.seconds(*behind) - others) / answers)


def token_of(body: str) -> str | None:
    """Return the access token in an answer."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    token = found.get("access_token", found.get("token")) if isinstance(found, dict) else None
    return token if isinstance(token, str) else None


def run(
    runners: Sequence[Runner], behind: Sequence[int], *, rounds: int, seconds: int, alone: Alone
) -> list[Result]:
    """Return what all cost; the first is the anchor. ``alone``: what a round is run within."""
    anchor, *others = runners
    results = {id(runner): Result(runner.contestant) for runner in runners}
    for number in range(rounds):
        sys.stderr.write(f"Round {number + 1} of {rounds}.\n")
        with alone():
            for runner, before, cost, after in _round(anchor, others, behind, seconds, number):
                _note(results[id(runner)], cost, before, after)
                _note(results[id(anchor)], after, before, after)
    return list(results.values())


def _round(
    anchor: Runner, others: Sequence[Runner], behind: Sequence[int], seconds: int, number: int
) -> Iterator[tuple[Runner, Cost, Cost, Cost]]:
    """Yield each contestant's cost between the anchor's before and after it."""
    before = anchor.cost(behind, seconds)
    # A seed of its own for each round: no order is anybody's for good.
    for runner in random.Random(number).sample(others, len(others)):  # noqa: S311  # no secret
        cost = runner.cost(behind, seconds)
        after = anchor.cost(behind, seconds)
        yield runner, before, cost, after
        before = after


def _note(result: Result, cost: Cost, before: Cost, after: Cost) -> None:
    result.costs.append(cost)
    result.ratios.append(2 * cost.own / (before.own + after.own))
    result.ratios_of_all.append(2 * cost.all / (before.all + after.all))
