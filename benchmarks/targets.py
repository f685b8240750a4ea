"""What was promised: how much a contestant may cost at most, compared with another one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contestants import APACHE, EXPRESS, WINDOW, fast, five_lines, ours
from benchmarks.race import Result


@dataclass(frozen=True)
class Target:
    """``name`` costs at most ``limit`` times what ``over`` does."""

    name: str
    over: str
    limit: float


TARGETS = (
    *(
        Target(ours(store, engine), five_lines(engine), limit)
        for engine in ("Redis", "database")
        for store, limit in (("db", 1.25), ("cached_db", 1.05), ("cache", 1.05))
    ),
    Target(fast("db", "Redis"), five_lines("Redis"), 0.75),
    Target(fast("cached_db", "Redis"), five_lines("Redis"), 0.75),
    Target(fast("db", "database"), five_lines("database"), 0.45),
    Target(fast("cached_db", "Redis", WINDOW), five_lines("Redis"), 0.42),
    Target(fast("cache", "Redis", WINDOW), five_lines("Redis"), 0.42),
    Target(fast("db", "Redis"), EXPRESS, 2.0),
    Target(fast("cached_db", "Redis", WINDOW), EXPRESS, 1.15),
    Target(fast("cache", "Redis", WINDOW), EXPRESS, 1.15),
    Target(fast("cached_db", "Redis", WINDOW), APACHE, 3.5),
    Target(fast("cache", "Redis", WINDOW), APACHE, 3.5),
)


def judged(results: Sequence[Result]) -> Iterator[tuple[Target, float | None]]:
    """Yield each target with what was measured; ``None`` where one of both was not."""
    known: Mapping[str, Result] = {result.contestant.name: result for result in results}
    for target in TARGETS:
        both = [known.get(target.name), known.get(target.over)]
        one, other = both
        yield target, None if one is None or other is None else one.over(other)
