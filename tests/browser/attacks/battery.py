"""The battery: every means, from every origin, against every endpoint, and what came of each."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Frame

from tests.browser.attacks.scene import Arrival, Scene
from tests.browser.attacks.setups import (
    BY_HAND,
    ENDPOINTS,
    LOGOUT,
    METHODS,
    OWN,
    SESSION_INFO,
    TOKEN,
    Origin,
    Setup,
)
from tests.real.processes import wait_until

# A means whose document, or way there, costs the browser much is used only on the endpoints that
# know its method.
DEAR = {"Frames", "Redirects", "Windows"}
NAVIGATIONS = {"Frames", "Windows"}
WINDOWS = "Windows"
# A browser loads in advance for the page that it shows, and of the old kind one at a time.
SPECULATION = "Speculation"
PRERENDER = "`<link rel=prerender>`"
# How many means each page uses at the same time, and how many windows are opened before they close.
HANDS = 3
WINDOWS_AT_ONCE = 8
STRAGGLER_SECONDS = 15


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

    ``calls``: how often the authorization server was asked meanwhile. ``session``: the victim's
    cookie. ``secrets``: what no script may see. ``noticed``: what the pages saw beside.
    ``token``, ``info``, ``signed_out``: what the site's own page got afterwards, as status and
    text; the last one of its token when it had signed out itself.
    """

    setup: Setup
    session: str
    outcomes: list[Outcome] = field(default_factory=list)
    noticed: list[Any] = field(default_factory=list)
    calls: int = 0
    session_afterwards: str = ""
    secrets: set[str] = field(default_factory=set)
    token: tuple[int, str] = (0, "")
    info: tuple[int, str] = (0, "")
    signed_out: tuple[int, str] = (0, "")
    log: str = ""

    def by_attackers(self) -> Iterator[Outcome]:
        """Yield what came of the attacks from elsewhere."""
        return (outcome for outcome in self.outcomes if outcome.attack.origin != OWN)

    def by_means(self) -> dict[tuple[str, str, Origin], list[Outcome]]:
        """Return the outcomes on all endpoints, by group, means and origin."""
        found = defaultdict(list)
        for outcome in self.outcomes:
            attack = outcome.attack
            found[attack.group, attack.means, attack.origin].append(outcome)
        return found


Complete = Callable[[Results], bool]


def run(setup: Setup, folder: Path, is_complete: Complete) -> Results:
    """Attack a setup from all its origins, and then let the site's own page do the same.

    What a script does not hear of may arrive late: it is waited for until ``is_complete``, for
    some seconds.
    """
    with Scene(setup, folder) as scene:
        battery = Battery(scene, is_complete)
        battery.attack(setup.origins)
        battery.by_hand()
        battery.wait()
        results = battery.results
        results.calls = scene.provider.calls
        results.session_afterwards = scene.session
        results.token, results.info = scene.fetch(TOKEN), scene.fetch(SESSION_INFO)
        if OWN in setup.controls:
            battery.attack([OWN])
            battery.wait()
        scene.fetch(LOGOUT, "POST")
        results.signed_out = scene.fetch(TOKEN)
        results.secrets = {"canary", results.session, *scene.states}
        results.log = scene.log()
        return results


class Battery:
    """Attacks a scene, and gathers what comes of it."""

    def __init__(self, scene: Scene, is_complete: Complete) -> None:
        self.results = Results(scene.setup, scene.session)
        self._scene = scene
        self._is_complete = is_complete
        self._attacks: list[Attack] = []
        self._found: dict[int, Any] = {}

    def attack(
        self, origins: Sequence[Origin], is_chosen: Callable[[Attack], bool] = lambda attack: True
    ) -> None:
        """Let scripts of those origins use every means on every endpoint."""
        frames = self._scene.attackers(origins)
        plans = {
            frame: [attack for attack in self._plan(origin, frame) if is_chosen(attack)]
            for origin, frame in frames.items()
        }
        self._at_once(_of_groups(plans, lambda group: group not in (WINDOWS, SPECULATION)))
        windows = _of_groups(plans, lambda group: group == WINDOWS)
        for first in range(0, max(map(len, windows.values())), WINDOWS_AT_ONCE):
            piece = slice(first, first + WINDOWS_AT_ONCE)
            self._at_once({frame: plan[piece] for frame, plan in windows.items()})
        for frame, plan in _of_groups(plans, lambda group: group == SPECULATION).items():
            frame.page.bring_to_front()
            self._at_once({frame: plan})
            self.wait()
            frame.page.close()

    def by_hand(self) -> None:
        """Let the user open every endpoint, talked into it."""
        for means, prefix in (("address bar, bookmark", ""), ("`view-source:`", "view-source:")):
            for endpoint in ENDPOINTS:
                attack = self._add(BY_HAND, "By hand", means, endpoint)
                self._scene.navigate(prefix + self._address(attack))
                self._found[attack.number] = None

    def wait(self) -> None:
        """Wait until all requests have arrived, of which no script hears."""
        with suppress(TimeoutError):
            wait_until(
                lambda: self._is_complete(self._gathered()), STRAGGLER_SECONDS, "all arrived"
            )

    def _plan(self, origin: Origin, frame: Frame) -> Iterator[Attack]:
        for group, names in frame.evaluate("listed()"):
            for means in names:
                for endpoint in ENDPOINTS:
                    if self._is_worth_it(origin, group, means, endpoint):
                        yield self._add(origin, group, means, endpoint)

    def _is_worth_it(self, origin: Origin, group: str, means: str, endpoint: str) -> bool:
        if (origin, endpoint) == (OWN, LOGOUT):
            return False  # It would sign the victim out, as it should.
        if group in NAVIGATIONS and origin not in self.results.setup.navigating:
            return False
        if means == PRERENDER:
            return endpoint == TOKEN
        return group not in DEAR or ("POST" if "POST" in means else "GET") in METHODS[endpoint]

    def _add(self, origin: Origin, group: str, means: str, endpoint: str) -> Attack:
        attack = Attack(len(self._attacks), origin, group, means, endpoint)
        self._attacks.append(attack)
        return attack

    def _at_once(self, plans: dict[Frame, list[Attack]]) -> None:
        given = {
            frame: [
                {**vars(attack), "origin": attack.origin.name, "url": self._address(attack)}
                for attack in plan
            ]
            for frame, plan in plans.items()
        }
        for said in self._scene.attack(given, at_once=HANDS):
            self._found |= {int(number): found for number, found in said["found"].items()}
            self.results.noticed.append(said["noticed"])

    def _address(self, attack: Attack) -> str:
        return self._scene.target(attack.origin, f"{attack.endpoint}?attack={attack.number}")

    def _gathered(self) -> Results:
        arrivals = defaultdict(list)
        for arrival in self._scene.arrivals():
            arrivals[arrival.number].append(arrival)
        self.results.outcomes = [
            Outcome(attack, tuple(arrivals[attack.number]), self._found[attack.number])
            for attack in self._attacks
            if attack.number in self._found
        ]
        return self.results


def _of_groups(
    plans: dict[Frame, list[Attack]], is_wanted: Callable[[str], bool]
) -> dict[Frame, list[Attack]]:
    return {f: [a for a in plan if is_wanted(a.group)] for f, plan in plans.items()}


def _texts(found: Any) -> Iterator[str]:
    """Yield every text under the name ``read``, however deep."""
    if isinstance(found, dict):
        if isinstance(found.get("read"), str):
            yield found["read"]
        for value in found.values():
            yield from _texts(value)
