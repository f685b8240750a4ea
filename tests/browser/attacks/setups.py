"""What is attacked: the site in several setups, its endpoints, and from where."""

from dataclasses import dataclass, field
from typing import Any

TOKEN = "/.well-known/bff-token"
SESSION_INFO = "/.well-known/bff-sessioninfo"
LOGIN = "/bff/login"
LOGOUT = "/bff/logout"
BACK_CHANNEL = "/bff/backchannel-logout"

# What is answered to requests from elsewhere, by method; to any other method 405, or Django's 403.
ANSWERS: dict[str, dict[str, set[int]]] = {
    TOKEN: {"GET": {403}, "POST": {403}},
    SESSION_INFO: {"GET": {403}, "POST": {405}},
    LOGIN: {"GET": {302, 403}, "POST": {403}},
    LOGOUT: {"GET": {405}, "POST": {403}},
    BACK_CHANNEL: {"GET": {405}, "POST": {400}},
}
ENDPOINTS = tuple(ANSWERS)
# The methods that each endpoint knows.
METHODS = {
    TOKEN: ("GET", "POST"),
    SESSION_INFO: ("GET",),
    LOGIN: ("GET",),
    LOGOUT: ("POST",),
    BACK_CHANNEL: ("POST",),
}


@dataclass(frozen=True)
class Origin:
    """Where an attacker's script runs.

    ``url`` is its page's, with places for the ports of ``site`` and ``elsewhere``, and for a
    ``folder``; ``frame`` is the number of its frame there. ``host`` is where it finds the site.
    ``is_own``: it is the site's.
    """

    name: str
    url: str
    frame: int = 0
    host: str = "app.test"
    is_own: bool = False


OWN = Origin("own page", "https://app.test:{site}/page", is_own=True)
FRAMED = Origin(
    "own page, framed",
    "https://evil.example:{elsewhere}/framing?url=https://app.test:{site}/page",
    frame=1,
    is_own=True,
)
CROSS_SITE = Origin("cross-site", "https://evil.example:{elsewhere}/")
SANDBOX = Origin("sandboxed frame", "https://evil.example:{elsewhere}/sandbox", frame=1)
SIBLING = Origin("sibling subdomain", "https://evil.app.test:{elsewhere}/")
PORT = Origin("another port", "https://app.test:{elsewhere}/")
FILE = Origin("`file:`", "file://{folder}/page.html")
REBOUND = Origin("DNS rebinding", "https://rebound.example:{site}/", host="rebound.example")
# Not a script, but a user who was talked into it.
BY_HAND = Origin("by hand", "")
HOSTS = ("app.test", "evil.app.test", "evil.example", "rebound.example", "op.example")
ATTACKERS = (CROSS_SITE, SANDBOX, SIBLING, PORT, FILE, REBOUND)


@dataclass(frozen=True)
class Setup:
    """How the site is set up, and from where it is attacked.

    ``same_site``: of the session cookie. ``token_seconds``: how long the victim's access token
    lives; one that has expired costs a call to the authorization server. ``navigating``: the
    origins that use frames and windows too. ``own``: the site's pages that do the same
    afterwards. ``by_hand``: so does the user. ``settings``: Django's.
    """

    name: str
    same_site: str = "None"
    token_seconds: int = 1
    origins: tuple[Origin, ...] = ATTACKERS
    navigating: tuple[Origin, ...] = (OWN, *ATTACKERS)
    own: tuple[Origin, ...] = ()
    by_hand: bool = False
    settings: dict[str, Any] = field(default_factory=dict, hash=False)


# All cookies go everywhere, and whoever got past the guard would have the provider asked.
WORST = Setup("worst", own=(OWN, FRAMED), by_hand=True)
LAX = Setup("lax", same_site="Lax", origins=(CROSS_SITE,))
STRICT = Setup("strict", same_site="Strict", origins=(CROSS_SITE,))
# All else that the site has is open to all; what is stored is handed out in front of everything.
# Sharing with other origins is about what scripts read: one origin's navigations will do.
OPEN = Setup(
    "open",
    token_seconds=3600,
    navigating=(CROSS_SITE,),
    own=(OWN,),
    settings={"OPEN_TO_ALL": True},
)
WEAKENED = Setup(
    "weakened",
    token_seconds=3600,
    origins=(CROSS_SITE, SANDBOX, SIBLING),
    navigating=(CROSS_SITE,),
    settings={"OPEN_TO_ALL": True, "WEAKENED": True},
)
# The attackers bring sound proofs of a key of theirs: whoever got past the guard would have it
# pinned, and tokens bound to it.
DPOP = Setup("dpop", settings={"OPEN_TO_ALL": True, "TMIBFF_DPOP": "required"})
SETUPS = (WORST, LAX, STRICT, OPEN, DPOP, WEAKENED)
