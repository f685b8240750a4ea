"""Errors that carry what they are called on the wire (PROTOCOL X)."""

import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ClassVar, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# An authorization server may say as much as an answer can hold.
_LONGEST_RECORDED = 100


class TokenError(Exception):
    """Why there is no access token: the base of all errors that the endpoints answer with.

    ``error`` and ``description`` go to the page and hold no secret. ``sign_in_helps`` says
    whether asking the user could mend it (X8), ``passing`` whether trying again later could (R10).
    ``sign_in_parameters``: what a sign-in has to ask for, so that the refused request succeeds.
    ``dpop_nonce``: what the next DPoP proof has to repeat; ``wants_nonce``: that one would have
    succeeded with it (RFC 9449 §8).
    """

    error: str = "server_error"
    status: ClassVar[int] = 400
    default_description: ClassVar[str] = ""
    sign_in_helps: bool = False
    passing: bool = False
    retry_after: int | None = None
    sign_in_parameters: Sequence[tuple[str, str]] = ()
    dpop_nonce: str | None = None
    wants_nonce: bool = False

    def __init__(self, description: str | None = None) -> None:
        self.description = self.default_description if description is None else description
        super().__init__(f"{self.error}: {self.description}" if self.description else self.error)

    @property
    def recorded(self) -> str:
        """``error`` as logs and the column ``last_error`` take it."""
        return self.error[:_LONGEST_RECORDED]


class CrossSiteRequest(TokenError):
    """The request may come from another site (E5)."""

    error = "invalid_request"
    status = 403
    default_description = (
        "This endpoint answers only its own site's pages: call it with fetch() from one."
    )


class InvalidRequest(TokenError):
    """The request cannot be read (E12, T1, T3)."""

    error = "invalid_request"
    default_description = "The request could not be read."


class InvalidTarget(TokenError):
    """``resource`` is malformed, or not one that the site lists (T2, T5)."""

    error = "invalid_target"
    default_description = "This resource is not one that this site lists."


class InvalidScope(TokenError):
    """``scope`` is malformed, not one that the site allows, or cannot be narrowed (T3, T5, R7)."""

    error = "invalid_scope"
    default_description = "This scope is not one that this site allows."


class InvalidSession(TokenError):
    """There is no valid, authenticated session (X2)."""

    error = "invalid_session"
    default_description = "Nobody is signed in."
    sign_in_helps = True


class InvalidDpopProof(TokenError):
    """The request's DPoP proof is missing, or proves nothing (RFC 9449 §5, §7.1).

    ``sign_in_helps``: the proof is sound, and its key another than the sign-in's first one.
    """

    error = "invalid_dpop_proof"
    default_description = (
        "This site hands out tokens that are bound to a key (TMIBFF_DPOP): send a proof in the"
        " request header DPoP."
    )

    def __init__(self, description: str | None = None, *, sign_in_helps: bool = False) -> None:
        super().__init__(description)
        self.sign_in_helps = sign_in_helps


class BearerRefused(TokenError):
    """The authorization server has ignored a DPoP proof, and the site wants bound tokens only."""

    default_description = (
        "The authorization server gave a bearer token in place of one that is bound to a key."
    )


class SessionLeft(TokenError):
    """A token set has ended, but the Django session behind it could not be found."""

    default_description = (
        "The tokens have ended, but a session may live on: its key was lost with them."
    )


class BackendNotReady(TokenError):
    """A session, but nothing to get the token with short of asking the user (X3)."""

    error = "backend_not_ready"
    default_description = "There is no refresh token for this session."
    sign_in_helps = True


class TemporarilyUnavailable(TokenError):
    """The authorization server gave no OAuth answer (X5), or was asked often enough (T7).

    ``retry_after``: seconds until it is worth trying again. ``no_connection``: nobody was there.
    """

    error = "temporarily_unavailable"
    default_description = "The authorization server did not answer."
    passing = True

    def __init__(
        self,
        description: str | None = None,
        *,
        retry_after: int = 1,
        no_connection: bool = False,
    ) -> None:
        super().__init__(description)
        self.retry_after = retry_after
        self.no_connection = no_connection


class AuthorizationServerRefused(TokenError):
    """The authorization server answered with an OAuth error (X4, RFC 6749 §5.2)."""

    # The site's configuration is at fault here, and a sign-in would end the same way (X8).
    _SIGN_IN_CANNOT_HELP = frozenset(
        {
            "invalid_client",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_dpop_proof",
            "use_dpop_nonce",
        }
    )
    # These two are ours to say; from an authorization server they mean nothing we know (X4).
    _OURS = frozenset({"invalid_session", "backend_not_ready"})

    def __init__(self, error: str, description: str = "") -> None:
        self.error = "server_error" if error in self._OURS else error
        self.sign_in_helps = self.error not in self._SIGN_IN_CANNOT_HELP
        self.wants_nonce = self.error == "use_dpop_nonce"
        super().__init__(description)


def forgets_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Clear the local variables of ``function`` and below, before an exception leaves it (X9).

    Error trackers and debug pages show them, and ours and the libraries' hold tokens. Unlike
    Django's ``sensitive_variables`` this also works with ``DEBUG`` on, in frames that are not ours,
    and for trackers other than Django's. The lines of the traceback stay.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # SystemExit too: it ends a worker whose time is over.
            forget_locals(error)
            del args, kwargs  # This frame is on the traceback too.
            raise

    return wrapper


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of the finished frames of ``error`` and all that led to it."""
    seen: set[int] = set()
    to_do: list[BaseException | None] = [error]
    while to_do:
        one = to_do.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        to_do += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
