"""What a rule is, and how it went: verdicts as data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import partial

from .site import NoAnswerError, Site

#: Yields a sentence for each thing that is not as it should be.
Find = Callable[[Site], Iterable[str]]


class Strength(IntEnum):
    """How much a rule binds: whom it does not bind need not pass."""

    MUST = 3
    SHOULD = 2
    DECISION = 1


class Outcome(StrEnum):
    """How it went."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_TESTABLE = "not testable from outside"


class NotTestable(Exception):
    """Why this rule cannot be seen at this site; its text is for people."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, or the part of it that binds that much; ``find`` yields what breaks it."""

    id: str
    strength: Strength
    text: str
    find: Find


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it went with a rule; ``findings`` are sentences without any secret."""

    id: str
    strength: Strength
    text: str
    outcome: Outcome
    findings: tuple[str, ...] = ()


def rule(id_: str, strength: Strength, text: str) -> Callable[[Find], Rule]:
    """Make a rule of a function that yields what breaks it, or raises ``NotTestable``."""
    return partial(Rule, id_, strength, text)


def judged(one: Rule, site: Site) -> Verdict:
    """Return how it goes with that rule at that site."""
    try:
        findings = tuple(site.redacted(finding) for finding in one.find(site))
    except NotTestable as reason:
        return Verdict(one.id, one.strength, one.text, Outcome.NOT_TESTABLE, (str(reason),))
    except NoAnswerError as error:
        findings = (site.redacted(str(error)),)
    outcome = Outcome.FAILED if findings else Outcome.PASSED
    return Verdict(one.id, one.strength, one.text, outcome, findings)
