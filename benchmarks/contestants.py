"""Who answers with a stored token, how each is set up, and what each does not check."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from benchmarks.others import Apache, Express, NextJs
from benchmarks.provider import Provider
from benchmarks.site.usual import ALLAUTHS_APPS, ALLAUTHS_MIDDLEWARE, DJANGOS_MIDDLEWARE
from benchmarks.world import (
    DATABASE_SESSIONS,
    MODEL_BACKEND,
    MOZILLAS_BACKEND,
    REDIS_SESSIONS,
    AsgiSite,
    Site,
    World,
    apps,
    bff,
)

TOKEN = "/token"
BFF_TOKEN = "/.well-known/bff-token"
ENGINES = {"Redis": REDIS_SESSIONS, "database": DATABASE_SESSIONS}
STORES = ("db", "cached_db", "cache")
WINDOW_SECONDS = 60

# How long a user who was deactivated, or has another password, still gets tokens, and so on.
NOTHING = "nothing"
NO_USER = "whether the user is active, or has another password by now"
NO_ACTIVE_USER = "whether the user is active"
NO_EXPIRY = "whether the token has expired; it cannot renew it"


class Server(Protocol):
    """What can be asked for a token."""

    origin: str
    pid: int

    def start(self) -> None:
        """Start it."""

    def stop(self) -> None:
        """End it."""

    def sign_in(self, *numbers: int) -> list[str]:
        """Make sessions with that many tokens each; return their cookies."""


@dataclass(frozen=True)
class Contestant:
    """A session at a server; ``unchecked``: what its answer does not depend on.

    ``proves``: each request has a DPoP proof.
    """

    name: str
    server: Server = field(repr=False)
    unchecked: str
    path: str = BFF_TOKEN
    tokens: int = 1
    proves: bool = False


ANCHOR = "anchor: Redis session and `request.user`"
FLOOR = "floor: a view without middleware"


def five_lines(engine: str) -> str:
    """Return the name of the peer that our targets are set against."""
    return f"five lines over mozilla-django-oidc; {engine} sessions"


def ours(store: str, engine: str, more: str = "") -> str:
    """Return the name of this app's view."""
    return f"bff-token, store `{store}`; {engine} sessions{more}"


def fast(store: str, engine: str, more: str = "") -> str:
    """Return the name of this app's middleware."""
    return f"fast path, store `{store}`; {engine} sessions{more}"


ALLAUTH = "django-allauth, `SocialToken`; {} sessions"
AUTHLIB = "Authlib's client; {} sessions"
WINDOW = ", users checked once a minute"
SIXTEEN = ", 16 tokens"
UUID = ", UUID users"
PROVES = ", with a DPoP proof"


def django_peers(world: World) -> Iterator[Contestant]:
    """Yield what Django sites do without this app."""
    redis = {**REDIS_SESSIONS, "AUTHENTICATION_BACKENDS": [MODEL_BACKEND]}
    yield Contestant(ANCHOR, Site(world, "anchor", redis), "everything about the token", TOKEN)
    bare = {**redis, "MIDDLEWARE": []}
    yield Contestant(FLOOR, Site(world, "floor", bare), "everything", TOKEN)
    for name, sessions in ENGINES.items():
        yield _peer(world, five_lines(name), "five_lines", sessions, MOZILLAS)
    for name, sessions in ENGINES.items():
        yield _peer(world, ALLAUTH.format(name), "with_allauth", sessions, ALLAUTHS)
    for name, sessions in ENGINES.items():
        yield _peer(world, AUTHLIB.format(name), "with_authlib", sessions, AUTHLIBS)


@dataclass(frozen=True)
class _Setup:
    settings: Mapping[str, Any]
    unchecked: str


MOZILLAS = _Setup(
    {"INSTALLED_APPS": apps("mozilla_django_oidc"), "AUTHENTICATION_BACKENDS": [MOZILLAS_BACKEND]},
    f"{NO_ACTIVE_USER}; {NO_EXPIRY}",
)
ALLAUTHS = _Setup(
    {
        "INSTALLED_APPS": apps(*ALLAUTHS_APPS),
        "MIDDLEWARE": [*DJANGOS_MIDDLEWARE, ALLAUTHS_MIDDLEWARE],
        "AUTHENTICATION_BACKENDS": [
            "allauth.account.auth_backends.AuthenticationBackend",
            MODEL_BACKEND,
        ],
        "SITE_ID": 1,
    },
    NO_EXPIRY,
)
AUTHLIBS = _Setup({"AUTHENTICATION_BACKENDS": [MODEL_BACKEND]}, NOTHING)


def _peer(
    world: World, name: str, paths: str, sessions: Mapping[str, str], setup: _Setup
) -> Contestant:
    site = Site(world, paths, {**setup.settings, **sessions})
    return Contestant(name, site, setup.unchecked, TOKEN)


EXPRESS = "express-openid-connect"
NEXTJS = "nextjs-auth0"
APACHE = "Apache mod_auth_openidc, info hook"


def other_peers(world: World, provider: Provider) -> Iterator[Callable[[], Contestant]]:
    """Yield what makes the peers beside Django; each raises ``ComponentMissing`` for its own."""
    yield lambda: Contestant(EXPRESS, Express(provider, world.folder), NO_USER, TOKEN)
    yield lambda: Contestant(NEXTJS, NextJs(provider, world.folder), NO_USER, NextJs.TOKEN)
    yield lambda: Contestant(APACHE, Apache(provider, world.folder), NO_USER, Apache.INFO)


def default_path(world: World) -> Iterator[Contestant]:
    """Yield this app's view, for each store and session engine."""
    for engine, sessions in ENGINES.items():
        for store in STORES:
            site = bff(world, store, sessions)
            yield Contestant(ours(store, engine), site, NOTHING)
            if (store, engine) == ("db", "Redis"):
                yield Contestant(ours(store, engine, SIXTEEN), site, NOTHING, tokens=16)
    uuid = bff(world, "db", REDIS_SESSIONS, uuid=True)
    yield Contestant(ours("db", "Redis", UUID), uuid, NOTHING)
    for store in ("db", "cached_db"):
        site = bff(world, store, REDIS_SESSIONS, settings=DPOP)
        yield Contestant(ours(store, "Redis", PROVES), site, NOTHING, proves=True)


DPOP = {"TMIBFF_DPOP": "required"}
MIDDLEWARE = "django_tmibff.middleware.WarmTokenMiddleware"
NOT_REACHED = "benchmarks.site.warm.NotReached"
FAST = {
    "ROOT_URLCONF": "benchmarks.site.warm",
    "MIDDLEWARE": [MIDDLEWARE, *DJANGOS_MIDDLEWARE, NOT_REACHED],
    "TMIBFF_WARM_SKIPS": [NOT_REACHED],
}
FAST_WINDOW = {**FAST, "TMIBFF_USER_CHECK_SECONDS": WINDOW_SECONDS}
# Store, session engine, what comes on top: the smallest set that shows each way through it.
FAST_PATHS = (
    ("db", "Redis", ""),
    ("db", "database", ""),
    ("cached_db", "Redis", ""),
    ("cached_db", "Redis", WINDOW),
    ("cache", "Redis", WINDOW),
)


def fast_path(world: World) -> Iterator[Contestant]:
    """Yield this app's middleware, with and without a window; nothing while there is none."""
    if find_spec(MIDDLEWARE.rpartition(".")[0]) is None:
        return
    for store, engine, window in FAST_PATHS:
        settings = FAST_WINDOW if window else FAST
        unchecked = f"for {WINDOW_SECONDS} s what a bulk `update()` does to users"
        unchecked = unchecked if window else NOTHING
        site = bff(world, store, ENGINES[engine], settings=settings)
        yield Contestant(fast(store, engine, window), site, unchecked)
        yield Contestant(fast(store, engine, window + SIXTEEN), site, unchecked, tokens=16)
        if (store, engine) != ("cached_db", "Redis") or window:
            uuid = bff(world, store, ENGINES[engine], uuid=True, settings=settings)
            yield Contestant(fast(store, engine, window + UUID), uuid, unchecked)
    for store in ("db", "cached_db"):
        site = bff(world, store, REDIS_SESSIONS, settings={**FAST, **DPOP})
        yield Contestant(fast(store, "Redis", PROVES), site, NOTHING, proves=True)


def setups(world: World) -> Iterator[Contestant]:
    """Yield one and the same site on several servers, and with several ways to the database."""
    known: Mapping[str, tuple[type[Site], Mapping[str, Any]]] = {
        "gunicorn's threads, kept connections": (Site, {"CONN_MAX_AGE": None}),
        "gunicorn's threads, a new connection each time": (Site, {"CONN_MAX_AGE": 0}),
        "gunicorn's threads, a pool": (Site, POOL),
        "uvicorn (ASGI), kept connections": (AsgiSite, {"CONN_MAX_AGE": None}),
        "uvicorn (ASGI), a pool": (AsgiSite, POOL),
    }
    for name, (kind, database) in known.items():
        databases = {"default": {**world.settings()["DATABASES"]["default"], **database}}
        site = bff(world, "db", REDIS_SESSIONS, settings={"DATABASES": databases}, kind=kind)
        yield Contestant(name, site, NOTHING)


POOL = {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": {"min_size": 4, "max_size": 8}}}

Group = Callable[[World], Iterator[Contestant]]
