"""What came of the attacks."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.browser.attacks.scene import Arrival
from tests.browser.attacks.setups import Origin, Setup

Means = tuple[str, str, Origin]  # group, name, and who uses it


@dataclass(frozen=True)
class Attack:
    """One means, used by one origin's script on one endpoint; the number comes with its request."""

    number: int
    origin: Origin
    group: str
    means: str
    endpoint: str


@dataclass(frozen=True)
class Outcome:
    """What came of an attack: the requests that it made, and what the script got hold of."""

    attack: Attack
    arrivals: tuple[Arrival, ...]
    found: Any

    @property
    def read(self) -> list[str]:
        """All texts of answers that the script could read."""
        return list(_texts(self.found))


@dataclass
class Results:
    """What came of all attacks on a setup.

    ``session``: the victim's cookie, before and after. ``calls``: how often the authorization
    server was asked meanwhile, and how often for its ``keys``; ``calls_afterwards``: in all, with
    what the site's own pages cost. ``secrets``: what no script may see. ``noticed``: what the pages
    saw beside. ``token``, ``info``, ``signed_out``: what the site's own
    page got afterwards, as status and text; the last one of its token, after its own logout.
    ``without_proof``, ``with_attackers_proof``: of its token too, but with none or with another
    DPoP proof than its own.
    ``ended``: the status of its token, by the means that was to sign it out.
    """

    setup: Setup
    session: str
    outcomes: list[Outcome] = field(default_factory=list)
    noticed: list[Any] = field(default_factory=list)
    calls: int = 0
    keys: int = 0
    calls_afterwards: int = 0
    session_afterwards: str = ""
    token: tuple[int, str] = (0, "")
    info: tuple[int, str] = (0, "")
    without_proof: tuple[int, str] = (0, "")
    with_attackers_proof: tuple[int, str] = (0, "")
    signed_out: tuple[int, str] = (0, "")
    ended: dict[str, int] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)
    log: str = ""

    def by_attackers(self) -> Iterator[Outcome]:
        """Yield what came of the attacks from elsewhere."""
        return (outcome for outcome in self.outcomes if not outcome.attack.origin.is_own)

    def by_means(self) -> dict[Means, list[Outcome]]:
        """Return the outcomes on all endpoints, by means."""
        found = defaultdict(list)
        for outcome in self.outcomes:
            attack = outcome.attack
            found[attack.group, attack.means, attack.origin].append(outcome)
        return found


def _texts(found: Any) -> Iterator[str]:
    """Yield every text under the name ``read``, however deep."""
    if isinstance(found, dict):
        if isinstance(found.get("read"), str) and found["read"]:
            yield found["read"]
        for value in found.values():
            yield from _texts(value)
