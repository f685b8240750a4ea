"""What a sign-in leaves on its request until Django has logged the user in.

``login()`` changes the session's key, or flushes the session when another user was signed in: only
after it is it clear where the tokens belong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from . import ending, oauth, tokens

_ATTRIBUTE = "_tmibff_sign_in"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The tokens of a sign-in, and the token set that the session had before it."""

    user: Any
    token_response: oauth.TokenResponse
    claims: Mapping[str, Any] = field(repr=False)
    previous_handle: str | None


def keep(request: HttpRequest, sign_in: SignIn) -> None:
    """Hold ``sign_in`` until its user is logged in; it goes with the request otherwise."""
    setattr(request, _ATTRIBUTE, sign_in)


def complete(request: HttpRequest, user: Any, *, made_session: bool) -> None:
    """Store the tokens of the sign-in of ``user``, if there was one on this request.

    ``made_session``: this sign-in made the session. A token set that the session lost by it ends.
    """
    sign_in: SignIn | None = request.__dict__.pop(_ATTRIBUTE, None)
    if sign_in is None or sign_in.user != user:
        return
    tokens.store(
        request,
        sign_in.token_response,
        claims=sign_in.claims,
        made_session=made_session,
    )
    if sign_in.previous_handle not in (None, tokens.handle_of(request)):
        ending.end(sign_in.previous_handle, "another sign-in")
