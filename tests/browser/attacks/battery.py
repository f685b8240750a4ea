"""The battery: every means, from every origin, against every endpoint, and what came of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Frame

from tests.browser.attacks.results import Attack, Outcome, Results
from tests.browser.attacks.scene import Scene
from tests.browser.attacks.setups import (
    BY_HAND,
    CROSS_SITE,
    ENDPOINTS,
    LOGOUT,
    METHODS,
    OWN,
    SESSION_INFO,
    SIBLING,
    TOKEN,
    WEAKENED,
    Origin,
    Setup,
)
from tests.real.processes import wait_until

# A means whose document, or way there, costs the browser much is used only on the endpoints that
# know its method, and from most origins on one of them.
DEAR = {"Frames", "Redirects", "Windows"}
NEAR_AND_FAR = {OWN, CROSS_SITE, SIBLING}
NAVIGATIONS = {"Frames", "Windows"}
WINDOWS = "Windows"
# A browser loads in advance for the page that it shows, and of the old kind one at a time.
SPECULATION = "Speculation"
PRERENDER = "`<link rel=prerender>`"
# How many means each page uses at the same time, and how many windows are opened before they close.
HANDS = 3
WINDOWS_AT_ONCE = 8
STRAGGLER_SECONDS = 30
# What is loaded in advance too soon after something else is dropped, not put off.
ATTEMPTS, ATTEMPT_SECONDS = 20, 1
# Some of those that sign out where there is no guard.
SIGN_OUTS = (
    ("Requests", "`fetch`, POST of a form, `no-cors`"),
    ("Requests", "`fetch`, POST of JSON"),
    ("Requests", "`sendBeacon`, plain"),
    ("Requests", "`<a ping>`"),
    ("Frames", "form POST, urlencoded"),
    ("Frames", "form POST, multipart"),
    ("Frames", "form POST, plain"),
    ("Windows", "form POST, urlencoded, in a window"),
)

IsComplete = Callable[[Results], bool]


def run(
    setup: Setup, folder: Path, is_complete: IsComplete, *, everywhere: bool = False
) -> Results:
    """Attack a setup from all its origins, and see what the site's own page gets afterwards.

    Some requests arrive when no script waits for them any more: they are waited for until
    ``is_complete``, for some seconds. ``everywhere``: use the dear means, too, from each origin on
    each endpoint.
    """
    with Scene(setup, folder) as scene:
        battery = Battery(scene, is_complete, everywhere)
        battery.attack(setup.origins)
        if setup.by_hand:
            battery.by_hand()
        battery.look()
        if setup.own:
            battery.attack(setup.own)
        battery.gather()
        battery.sign_out()
        return battery.results


class Battery:
    """Attacks a scene, and gathers what comes of it."""

    def __init__(self, scene: Scene, is_complete: IsComplete, everywhere: bool) -> None:
        self.results = Results(scene.setup, scene.session)
        self._scene = scene
        self._is_complete = is_complete
        self._everywhere = everywhere
        self._attacks: list[Attack] = []
        self._found: dict[int, Any] = {}

    def attack(self, origins: Sequence[Origin]) -> None:
        """Let scripts of those origins use every means on every endpoint."""
        frames = self._scene.attackers(origins)
        plans = {frame: list(self._plan(origin, frame)) for origin, frame in frames.items()}
        at_once = _of_groups(plans, lambda group: group not in (WINDOWS, SPECULATION))
        windows = _of_groups(plans, lambda group: group == WINDOWS)
        self._at_once(at_once)
        self._by_pieces(windows)
        self._wait([attack for plan in (*at_once.values(), *windows.values()) for attack in plan])
        for frame, plan in _of_groups(plans, lambda group: group == SPECULATION).items():
            self._in_advance(frame, plan)

    def _by_pieces(self, plans: dict[Frame, list[Attack]]) -> None:
        for first in range(0, max(map(len, plans.values())), WINDOWS_AT_ONCE):
            piece = slice(first, first + WINDOWS_AT_ONCE)
            self._at_once({frame: plan[piece] for frame, plan in plans.items()})

    def _in_advance(self, frame: Frame, plan: list[Attack]) -> None:
        frame.page.bring_to_front()
        self._at_once({frame: [attack for attack in plan if attack.means != PRERENDER]})
        for attack in plan:
            if attack.means == PRERENDER:
                self._insist(frame, attack)
        self._wait(plan)
        frame.page.close()

    def _insist(self, frame: Frame, attack: Attack) -> None:
        for _attempt in range(ATTEMPTS):
            self._at_once({frame: [attack]})
            with suppress(TimeoutError):
                wait_until(lambda: self._has_arrived(attack), ATTEMPT_SECONDS, attack.means)
                return

    def by_hand(self) -> None:
        """Let the user open every endpoint, talked into it."""
        for means, prefix in (("address bar, bookmark", ""), ("`view-source:`", "view-source:")):
            for endpoint in ENDPOINTS:
                attack = self._add(BY_HAND, "By hand", means, endpoint)
                self._scene.navigate(prefix + self._address(attack))
                self._found[attack.number] = None
        self._wait([attack for attack in self._attacks if attack.origin == BY_HAND])

    def look(self) -> None:
        """Note what the attacks have cost, and what the site's own page gets after them."""
        results, scene = self.results, self._scene
        results.calls, results.keys = scene.provider.calls, scene.provider.key_requests
        results.session_afterwards = scene.session
        results.token, results.info = scene.fetch(TOKEN), scene.fetch(SESSION_INFO)
        results.without_proof = scene.fetch(TOKEN, headers={})
        results.with_attackers_proof = scene.fetch(TOKEN, headers={"DPoP": scene.attackers_proof()})

    def gather(self) -> None:
        """Note what came of each attack so far, and what all has cost."""
        self.results = self._outcomes_of(self._attacks)
        self.results.calls_afterwards = self._scene.provider.calls

    def sign_out(self) -> None:
        """Sign out: where the guard is off an attacker can, and in any case the own page."""
        if self.results.setup == WEAKENED:
            self._sign_out_from_elsewhere()
        self._scene.fetch(LOGOUT, "POST")
        self.results.signed_out = self._scene.fetch(TOKEN)
        self.results.secrets = {"canary", self.results.session, *self._scene.states}
        self.results.log = self._scene.log()

    def _sign_out_from_elsewhere(self) -> None:
        [frame] = self._scene.attackers([CROSS_SITE]).values()
        for group, means in SIGN_OUTS:
            self._scene.sign_in()
            assert self._scene.fetch(TOKEN)[0] == 200
            attack = self._add(CROSS_SITE, group, means, LOGOUT)
            self._at_once({frame: [attack]})
            wait_until(lambda attack=attack: self._has_arrived(attack), STRAGGLER_SECONDS, means)
            self.results.ended[means] = self._scene.fetch(TOKEN)[0]

    def _has_arrived(self, attack: Attack) -> bool:
        return attack.number in self._scene.arrivals()

    def _wait(self, attacks: Sequence[Attack]) -> None:
        """Wait until their requests have arrived, those too of which no script hears."""
        with suppress(TimeoutError):
            wait_until(
                lambda: self._is_complete(self._outcomes_of(attacks)),
                STRAGGLER_SECONDS,
                "all arrived",
            )

    def _plan(self, origin: Origin, frame: Frame) -> Iterator[Attack]:
        for group, names in frame.evaluate("listed()"):
            for means in names:
                for endpoint in ENDPOINTS:
                    if self._is_worth_it(origin, group, means, endpoint):
                        yield self._add(origin, group, means, endpoint)

    def _is_worth_it(self, origin: Origin, group: str, means: str, endpoint: str) -> bool:
        if endpoint == LOGOUT and (origin.is_own or self.results.setup == WEAKENED):
            return False  # It would sign the victim out, and the rest were in vain.
        if group in NAVIGATIONS and origin not in self.results.setup.navigating:
            return False
        if means == PRERENDER:
            return endpoint == TOKEN
        if group not in DEAR:
            return True
        if endpoint != TOKEN and not (self._everywhere or origin in NEAR_AND_FAR):
            return False
        return ("POST" if "POST" in means else "GET") in METHODS[endpoint]

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

    def _outcomes_of(self, attacks: Sequence[Attack]) -> Results:
        """Return the results with what has come of those attacks by now."""
        arrivals = self._scene.arrivals()
        outcomes = [
            Outcome(attack, tuple(arrivals.get(attack.number, ())), self._found[attack.number])
            for attack in attacks
        ]
        return replace(self.results, outcomes=outcomes)


def _of_groups(
    plans: dict[Frame, list[Attack]], is_wanted: Callable[[str], bool]
) -> dict[Frame, list[Attack]]:
    return {f: [a for a in plan if is_wanted(a.group)] for f, plan in plans.items()}
