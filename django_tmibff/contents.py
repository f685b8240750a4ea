"""The sealed part of a token set: its tokens and what belongs to them, as one blob.

One blob means that a rotated refresh token and the access token that came with it are saved in one
write, and that a stored token costs one read. Times in it are seconds since the epoch.
"""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from django.utils.crypto import constant_time_compare

from . import crypto

MAX_ACCESS_TOKENS = 16
CALL_WINDOW = 60.0

_FORMAT = 1


class CannotOpenError(Exception):
    """The sealed part does not open, or belongs to another token set."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """What an access token was asked for; no resource and no scope is the sign-in's own token.

    Resources and scopes are sorted and without repetition, for neither's order matters (R8).
    ``jkt`` is the thumbprint of the key that the token is bound to, if it is.
    """

    resources: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    jkt: str | None = None

    @classmethod
    def of(
        cls, resources: Iterable[str] = (), scopes: Iterable[str] = (), jkt: str | None = None
    ) -> Self:
        """Return the key for these resources and scopes in any order."""
        return cls(tuple(sorted(set(resources))), tuple(sorted(set(scopes))), jkt)

    @property
    def is_sign_ins(self) -> bool:
        """Whether neither a resource nor a scope was asked for."""
        return not (self.resources or self.scopes)

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Self:
        return cls(tuple(data["resources"]), tuple(data["scopes"]), data["jkt"])


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token with what the authorization server said of it (R11).

    ``expires_at`` and ``scope`` are ``None`` where it said nothing.
    """

    key: TokenKey
    value: str = field(repr=False)
    token_type: str | None
    scope: str | None
    issued_at: float
    expires_at: float | None

    def seconds_left(self, now: float) -> float:
        """Return how long this token still lives: infinite where its lifetime is not known."""
        if self.expires_at is None:
            return math.inf
        # Never more than its lifetime: a host whose clock is ahead may have stamped it.
        return self.expires_at - max(now, self.issued_at)

    @property
    def expires_in(self) -> int | None:
        """The whole seconds left now (R2); ``None`` where the lifetime is not known."""
        left = self.seconds_left(time.time())
        return None if math.isinf(left) else max(0, math.floor(left))

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "key": TokenKey._from_json(data["key"])})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused for one key, remembered until ``until`` (X7).

    ``by_us``: the authorization server would have given more than was asked for (R7).
    """

    key: TokenKey
    error: str
    description: str
    until: float
    by_us: bool = False

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "key": TokenKey._from_json(data["key"])})


@dataclass(slots=True)
class Contents:
    """Everything secret about one sign-in.

    ``handle``, ``provider`` and ``version`` repeat the row's, so that a blob copied elsewhere or
    kept too long is noticed. ``granted`` is the scope of the sign-in, ``resources`` are those that
    this session's sign-ins have named (RFC 8707 §2.1). ``made_session`` says that the Django
    session came from this very sign-in, ``calls`` when the authorization server was called in the
    last minute. ``jkt`` is the thumbprint of the first DPoP key that the sign-in has seen: no other
    may be used.
    """

    handle: str
    provider: str
    user: str
    version: int = 0
    session_key: str | None = field(default=None, repr=False)
    made_session: bool = False
    granted: str | None = None
    resources: list[str] = field(default_factory=list)
    expires_at: float | None = None
    refresh_token: str | None = field(default=None, repr=False)
    refresh_expires_at: float | None = None
    id_token: str | None = field(default=None, repr=False)
    claims: dict[str, Any] = field(default_factory=dict, repr=False)
    access_tokens: list[AccessToken] = field(default_factory=list, repr=False)
    refusals: list[Refusal] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    jkt: str | None = None

    @property
    def issuer(self) -> str | None:
        """Where the user has signed in, if the sign-in has told."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else None

    def put(self, token: AccessToken) -> None:
        """Keep ``token`` in place of the one with the same key."""
        others = [other for other in self.access_tokens if other.key != token.key]
        self.access_tokens = [*others, token]
        self.refusals = [refusal for refusal in self.refusals if refusal.key != token.key]

    def refuse(self, refusal: Refusal) -> None:
        """Remember ``refusal`` in place of an older one for the same key."""
        others = [other for other in self.refusals if other.key != refusal.key]
        self.refusals = [*others, refusal]

    def drop_expired(self, now: float) -> None:
        """Forget what is over, and the oldest access tokens when there are too many."""
        alive = [token for token in self.access_tokens if token.seconds_left(now) >= 1]
        alive.sort(key=lambda token: token.issued_at)
        self.access_tokens = alive[-MAX_ACCESS_TOKENS:]
        self.refusals = [refusal for refusal in self.refusals if refusal.until > now]
        self.calls = [at for at in self.calls if now - CALL_WINDOW < at <= now]

    def ends_at(self, session_seconds: float) -> float:
        """Return when these tokens end: with the session or the refresh token (B2)."""
        return min(time.time() + session_seconds, self.refresh_expires_at or math.inf)

    def sealed(self) -> bytes:
        """Return these contents encrypted."""
        return crypto.seal(json.dumps({"format": _FORMAT, **asdict(self)}).encode())

    @classmethod
    def opened(cls, data: bytes, *, handle: str, provider: str) -> Self:
        """Return the contents of ``data``, which must belong to this token set.

        Raises ``CannotOpenError``, and nothing else, whatever ``data`` is.
        """
        try:
            contents = cls._from_json(json.loads(crypto.unseal(data)))
        except (crypto.CannotUnsealError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise CannotOpenError("the sealed part does not open") from error
        if not constant_time_compare(contents.handle, handle) or contents.provider != provider:
            raise CannotOpenError("the sealed part belongs to another token set")
        return contents

    @classmethod
    def _from_json(cls, data: dict[str, Any]) -> Self:
        if data.pop("format") != _FORMAT:
            raise ValueError("unknown format")
        data["access_tokens"] = [AccessToken._from_json(token) for token in data["access_tokens"]]
        data["refusals"] = [Refusal._from_json(refusal) for refusal in data["refusals"]]
        return cls(**data)
