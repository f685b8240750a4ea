"""Whose instructions are counted, each a warm hit of one session in a SQLite database."""

from collections.abc import Mapping
from typing import Any

from benchmarks.site.usual import DJANGOS_MIDDLEWARE

REQUESTS = 30
ANCHOR = "anchor"
BFF_TOKEN = "/.well-known/bff-token"
WARM = ["django_tmibff.middleware.WarmTokenMiddleware", *DJANGOS_MIDDLEWARE]


def _bff(store: str, **settings: Any) -> tuple[str, Mapping[str, Any]]:
    return BFF_TOKEN, {"TMIBFF_STORE": f"django_tmibff.stores.{store}", **settings}


# What is asked, and the settings that it is asked with.
SCENARIOS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ANCHOR: ("/token", {}),
    "bff-token, store db": _bff("db"),
    "bff-token, store cached_db": _bff("cached_db"),
    "fast path, store db": _bff("db", MIDDLEWARE=WARM),
    "fast path, store cached_db, users checked once a minute": _bff(
        "cached_db", MIDDLEWARE=WARM, TMIBFF_USER_CHECK_SECONDS=60
    ),
}
