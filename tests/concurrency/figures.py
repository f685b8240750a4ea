"""What a run of the bench has shown, and which promises it broke."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.concurrency.client import CUT, Answer, Session
from tests.concurrency.load import Load
from tests.concurrency.site import SECONDS_UNTIL_DUE, Setup, Site

# A call may take that much longer than the time when nobody could be served.
SLACK_SECONDS = 2.0


@dataclass
class Event:
    """What happened to the site, and what that may cost; nothing, unless it says so.

    ``sessions``: those that it may cost, ``families``: the grants that these had. ``kills``:
    workers that died, which cuts the connections they had. ``cache_lost_at``: when the only place
    where tokens are kept has lost them. ``down``: from when to when nobody could be served.
    """

    text: str = ""
    sessions: set[Session] = field(default_factory=set)
    families: set[int] = field(default_factory=set)
    kills: int = 0
    cache_lost_at: float = math.inf
    down: tuple[float, float] = (math.inf, math.inf)

    def may_cost(self, session: Session) -> None:
        """Note that this session may be lost."""
        self.sessions.add(session)
        self.families.add(session.family)

    def excuses(self, answer: Answer) -> bool:
        """Return whether the event explains that this call failed."""
        if answer.error == CUT:
            return bool(self.kills)
        if answer.ended_at >= self.cache_lost_at and _tells_of_loss(answer):
            return True
        if answer.error == "temporarily_unavailable":
            return _is_within(answer, *self.down)
        return answer.session in self.sessions


@dataclass(frozen=True)
class Figures:
    """What one run has shown: first what is promised, then what else there was."""

    scenario: str
    setup: Setup
    event: str
    reuses: int
    failed: dict[str, int]
    lost: int
    exceptions: int
    most_refreshes: int
    allowed_refreshes: float

    answers: int
    refreshes: int
    excused: int
    cost: int
    slowest: float
    logs: str = field(repr=False)

    def broken(self) -> list[str]:
        """Return which promises were broken."""
        promises = {
            f"reuse of a refresh token: {self.reuses}": self.reuses == 0,
            f"failed answers: {self.failed}": not self.failed,
            f"sessions lost: {self.lost}": self.lost == 0,
            f"unhandled exceptions: {self.exceptions}": self.exceptions == 0,
            f"refreshes of a session: {self.most_refreshes}": (
                self.most_refreshes <= self.allowed_refreshes
            ),
            # Otherwise all of that would be easy.
            "nothing was renewed": self.refreshes > 0,
        }
        return [promise for promise, is_kept in promises.items() if not is_kept]


def figures(scenario: str, site: Site, load: Load, event: Event, seconds: float) -> Figures:
    """Return what the run has shown, after asking every session once more."""
    server = site.authorization_server
    failed = [answer for answer in load.answers if answer.error]
    excused = {answer for answer in failed if event.excuses(answer)}
    others = [answer for answer in failed if answer not in excused]
    return Figures(
        scenario=scenario,
        setup=site.setup,
        event=event.text,
        reuses=len(server.reused - event.families),
        failed=dict(Counter(answer.error for answer in others)),
        lost=_sessions_lost(others),
        exceptions=site.exceptions(),
        most_refreshes=server.most_refreshes(),
        allowed_refreshes=seconds / SECONDS_UNTIL_DUE + 1,
        answers=len(load.answers),
        refreshes=server.refreshes,
        excused=len(excused),
        cost=_sessions_lost(excused),
        slowest=max(answer.seconds for answer in load.answers),
        logs=site.logs(),
    )


def _tells_of_loss(answer: Answer) -> bool:
    """Return whether a page learns that its tokens are lost, and that the user can mend that.

    A call that is under way while the user does finds that what it was asked for has ended.
    """
    mended_meanwhile = answer.asked_at < answer.session.signed_in_at
    return answer.error == "backend_not_ready" or (
        answer.error == "invalid_session" and mended_meanwhile
    )


def _sessions_lost(answers: Iterable[Answer]) -> int:
    return len({answer.session for answer in answers if answer.wants_sign_in})


def _is_within(answer: Answer, since: float, until: float) -> bool:
    """Return whether a call met the time when nobody could be served, and took no longer."""
    took_longer = answer.seconds > until - since + SLACK_SECONDS
    return answer.ended_at >= since and answer.asked_at <= until and not took_longer
