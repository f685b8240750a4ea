"""The rules of docs/conformance.md, seen from outside: at any TMI-BFF backend, ours or another's.

``python -m django_tmibff.conformance https://app.example --cookie "sessionid=…"``; nothing here
needs Django.
"""

from collections.abc import Collection, Sequence

from . import endpoints, errors, session, token_answer, token_request
from .invisible import INVISIBLE
from .rules import NotTestable, Outcome, Rule, Strength, Verdict, judged
from .site import Call, NoAnswerError, Options, Site

__all__ = [
    "INVISIBLE",
    "RULES",
    "Call",
    "NoAnswerError",
    "NotTestable",
    "Options",
    "Outcome",
    "Rule",
    "Site",
    "Strength",
    "Verdict",
    "examine",
]

_LETTERS = "ETRXSB"
# What comes last may change the session's token, or end the session.
_LAST = ("T6", "T5", "B5")

RULES: Sequence[Rule] = [
    found
    for module in (endpoints, token_request, token_answer, errors, session)
    for found in vars(module).values()
    if isinstance(found, Rule)
]


def examine(
    site: Site, *, strength: Strength = Strength.DECISION, ids: Collection[str] = ()
) -> list[Verdict]:
    """Return how it goes at ``site`` with all rules that bind at least that much.

    ``ids``: only these.
    """
    tried = [one for one in RULES if one.strength >= strength and (not ids or one.id in ids)]
    unseen = [one for one in INVISIBLE if one.strength >= strength and (not ids or one.id in ids)]
    tried.sort(key=lambda one: _LAST.index(one.id) + 1 if one.id in _LAST else 0)
    return sorted([*(judged(one, site) for one in tried), *unseen], key=_place)


def _place(verdict: Verdict) -> tuple[int, int, int]:
    return _LETTERS.index(verdict.id[0]), int(verdict.id[1:]), -verdict.strength
