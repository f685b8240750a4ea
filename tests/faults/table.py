"""The table: what comes of each fault, for the page that asks and for the refresh token.

The tests prove it row by row, and ``python -m tests.faults`` writes it into the docs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.server import (
    Play,
    cut_off,
    drips,
    gives,
    hangs,
    hangs_up,
    refuses,
    refuses_resources,
    resets,
    rotates_and_hangs_up,
    says,
)

STORES = ("db", "cached_db", "cache")
# The stored token that fits the request is ...
VALID, DUE, EXPIRED = "valid", "about to expire", "expired"
STATES = (VALID, DUE, EXPIRED)

# What the page gets, unless it is an error.
STORED, NEW = "the stored token", "a new token"
# What becomes of the refresh token.
KEPT, REPLACED, DROPPED = "kept", "replaced", "dropped"
# When the authorization server may be asked again; until then the answer stays what it was.
AT_ONCE = "at once"
AFTER_OUTAGE = "after `TMIBFF_OUTAGE_SECONDS`"
AFTER_REFUSAL = "after `TMIBFF_REFUSAL_SECONDS`"
WHEN_DUE = "when the new token is about to expire"
NEVER = "never"

UNAVAILABLE = "temporarily_unavailable"
NOT_READY = "backend_not_ready"

ORDERS = "https://api.example/orders"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Faults of the authorization server, and what comes of each. A valid token is served always.

    ``faults`` has a script for each, or ``None`` where nobody listens. ``asks``: what the page
    sends. ``calls``: how often the server is asked for it. ``then``: what the next request gets
    that asks the server, which is well by then, or that finds nothing to ask it with.
    ``made_session``: the Django session came from this sign-in. ``slow``: the call lasts as long as
    it may.
    """

    faults: Mapping[str, Play | None]
    about_to_expire: str = STORED
    expired: str
    retry_after: int | None = None
    login_url: bool = False
    refresh_token: str = KEPT
    asked_again: str = AT_ONCE
    then: str = NEW
    logs: tuple[str, ...] = ()
    slow: bool = False
    asks: Mapping[str, str] = field(default_factory=dict)
    calls: int = 1
    made_session: bool = True

    def first(self, state: str) -> str:
        """Return what the page gets: a token, or the name of an error."""
        return {VALID: STORED, DUE: self.about_to_expire, EXPIRED: self.expired}[state]

    def third(self, state: str) -> str:
        """Return what it gets once nothing keeps anybody from asking."""
        return STORED if state == VALID else NEW

    def second(self, state: str) -> str:
        """Return what its next request gets, with an authorization server that is well again."""
        first = self.first(state)
        asks_or_has_nothing = self.asked_again == AT_ONCE or (
            self.asked_again == NEVER and first != STORED
        )
        return self.then if state != VALID and asks_or_has_nothing else first


def not_renewed(error: str, level: str = "WARNING") -> tuple[str, ...]:
    """Return the line in the log."""
    return (f"{level} token set … not renewed: {error}",)


RENEWED = ("INFO token set … renewed",)
TRUNCATED = b'{"access_token": "canary-truncated'

AUTHORIZATION_SERVER = (
    Row(
        faults={"refuses connections": None},
        expired=UNAVAILABLE,
        retry_after=1,
        asked_again=AFTER_OUTAGE,
        logs=(
            "ERROR provider default does not answer: not asked for 60 s",
            *not_renewed(UNAVAILABLE),
        ),
    ),
    Row(
        faults={
            "takes the request and says nothing": hangs(b""),
            "sends headers and then nothing": hangs(
                b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
            ),
            "sends a byte at a time": drips,
        },
        slow=True,
        expired=UNAVAILABLE,
        retry_after=1,
        logs=not_renewed(UNAVAILABLE),
    ),
    Row(
        faults={
            "resets the connection": resets,
            "hangs up without a word": hangs_up,
            "hangs up in the middle": cut_off,
            "500": says(b"", "500 Internal Server Error"),
            "500 with an OAuth error": refuses("invalid_grant", "500 Internal Server Error"),
            "502 with HTML": says(b"<html>Bad gateway</html>", "502 Bad Gateway"),
            "a redirect": says(b"", "307 Temporary Redirect", "Location: /login\r\n"),
            "200 with HTML": says(b"<html>Sign in</html>", headers="Content-Type: text/html\r\n"),
            "200 with nothing": says(b""),
            "200 with truncated JSON": says(TRUNCATED),
            "200 with a list": says(b'["canary-listed"]'),
            "200 with 10 MB": gives(padding="x" * 10_000_000),
            "200 without `access_token`": gives(access_token=...),
            "200 with an `access_token` that is a number": gives(access_token=7),
            "200 with an `access_token` that no header can carry": gives(access_token="a\r\nb"),
            "200 with an error in it": says(b'{"error": "bad_refresh_token"}'),
        },
        expired=UNAVAILABLE,
        retry_after=1,
        logs=not_renewed(UNAVAILABLE),
    ),
    Row(
        faults={
            "429 with `Retry-After: 7`": says(b"", "429 Too Many", "Retry-After: 7\r\n"),
            "503 with `Retry-After: 7`": says(b"", "503 Unavailable", "Retry-After: 7\r\n"),
        },
        expired=UNAVAILABLE,
        retry_after=7,
        logs=not_renewed(UNAVAILABLE),
    ),
    Row(
        faults={"replaces the refresh token and hangs up": rotates_and_hangs_up},
        expired=UNAVAILABLE,
        retry_after=1,
        then="invalid_grant",
        logs=not_renewed(UNAVAILABLE),
    ),
    Row(
        faults={
            "an empty 400": says(b"", "400 Bad Request"),
            "400 with HTML": says(b"<html>", "400 Bad Request", "Content-Type: text/html\r\n"),
            "404": says(b"not found", "404 Not Found"),
        },
        expired=NOT_READY,
        login_url=True,
        logs=not_renewed(NOT_READY),
    ),
    Row(
        faults={
            "`invalid_request`": refuses("invalid_request"),
            "`invalid_request` labelled `text/html`": refuses("invalid_request", label="text/html"),
        },
        expired="invalid_request",
        login_url=True,
        logs=not_renewed("invalid_request"),
    ),
    Row(
        faults={
            "`invalid_client`": refuses("invalid_client"),
            "401 `invalid_client`": refuses("invalid_client", "401 Unauthorized"),
        },
        expired="invalid_client",
        logs=not_renewed("invalid_client", "ERROR"),
    ),
    Row(
        faults={"`unsupported_grant_type`": refuses("unsupported_grant_type")},
        expired="unsupported_grant_type",
        logs=not_renewed("unsupported_grant_type"),
    ),
    Row(
        faults={"`unauthorized_client`": refuses("unauthorized_client")},
        expired="unauthorized_client",
        asked_again=AFTER_REFUSAL,
        logs=not_renewed("unauthorized_client"),
    ),
    Row(
        faults={"`invalid_scope`": refuses("invalid_scope")},
        asks={"scope": "openid"},
        expired="invalid_scope",
        login_url=True,
        asked_again=AFTER_REFUSAL,
        logs=not_renewed("invalid_scope"),
    ),
    Row(
        faults={"`invalid_target`": refuses_resources("invalid_target")},
        asks={"resource": ORDERS},
        expired="invalid_target",
        login_url=True,
        asked_again=AFTER_REFUSAL,
        logs=(
            "WARNING provider default refuses a resource:"
            " see resource_request, resources_at_sign_in",
            *not_renewed("invalid_target"),
        ),
    ),
    Row(
        faults={"`invalid_grant` for one resource only": refuses_resources("invalid_grant")},
        asks={"resource": ORDERS},
        calls=2,
        expired="invalid_grant",
        login_url=True,
        refresh_token=REPLACED,
        asked_again=AFTER_REFUSAL,
        logs=not_renewed("invalid_grant"),
    ),
    Row(
        faults={"`invalid_grant`": refuses("invalid_grant")},
        about_to_expire="invalid_grant",
        expired="invalid_grant",
        login_url=True,
        refresh_token=DROPPED,
        asked_again=NEVER,
        then="invalid_session",
        logs=(*not_renewed("invalid_grant"), "INFO token set … ended: invalid_grant"),
    ),
    Row(
        faults={"`invalid_grant`, for a resource and without it": refuses("invalid_grant")},
        asks={"resource": ORDERS},
        calls=2,
        about_to_expire="invalid_grant",
        expired="invalid_grant",
        login_url=True,
        refresh_token=DROPPED,
        asked_again=NEVER,
        then="invalid_session",
        logs=(*not_renewed("invalid_grant"), "INFO token set … ended: invalid_grant"),
    ),
    Row(
        faults={
            "`invalid_grant`, in a session that something else made": refuses("invalid_grant"),
        },
        made_session=False,
        expired="invalid_grant",
        login_url=True,
        refresh_token=DROPPED,
        asked_again=NEVER,
        then=NOT_READY,
        logs=not_renewed("invalid_grant"),
    ),
    Row(
        faults={
            "200 labelled `text/html`": gives(label="text/html"),
            "200 without `token_type`": gives(token_type=...),
            "200 with a `token_type` that is a number": gives(token_type=7),
            "200 without `expires_in`": gives(expires_in=...),
            "200 with an `expires_in` that is no number": gives(expires_in="soon"),
            "200 with a `scope` that is a list": gives(scope=["openid"]),
            "200 with a `refresh_token` that is a number": gives(refresh_token=7),
        },
        about_to_expire=NEW,
        expired=NEW,
        asked_again=WHEN_DUE,
        logs=RENEWED,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Something else that is down, and what the page gets; the authorization server is well.

    ``answers``: one for each state of the stored token. ``loses``: what it had is gone for good.
    """

    what: str
    stores: tuple[str, ...]
    answers: tuple[str, str, str]
    loses: bool = False

    def first(self, state: str) -> str:
        """Return what the page gets meanwhile."""
        return self.answers[STATES.index(state)]

    def second(self, state: str) -> str:
        """Return what it gets once all is well again."""
        if self.loses:
            return self.first(state)
        return STORED if state == VALID else NEW


CACHE_SILENT = "The cache takes connections and says nothing"
CACHE_LOST = "The cache is down, and comes back empty"
DATABASE_DOWN = "The database is down"
DATABASE_READ_ONLY = "The database takes no writes"
KEYS_LOST = "The keys are gone"

BESIDE = (
    Beside(what=CACHE_SILENT, stores=("cached_db",), answers=(STORED, NEW, NEW)),
    Beside(what=CACHE_SILENT, stores=("cache",), answers=(NOT_READY,) * 3),
    Beside(what=CACHE_LOST, stores=("cached_db",), answers=(STORED, NEW, NEW)),
    Beside(what=CACHE_LOST, stores=("cache",), answers=(NOT_READY,) * 3, loses=True),
    Beside(what=DATABASE_DOWN, stores=STORES, answers=(UNAVAILABLE,) * 3),
    Beside(what=DATABASE_READ_ONLY, stores=STORES, answers=(STORED, STORED, UNAVAILABLE)),
    Beside(what=KEYS_LOST, stores=STORES, answers=(NOT_READY,) * 3),
)
