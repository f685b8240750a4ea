"""Whose request it is, and whether they may: RFC 6750, with the provider's word (RFC 7662)."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

_BEARER = re.compile(r"Bearer +(?P<token>[A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


class ProviderUnavailable(Exception):
    """The OpenID Provider gave no answer that says anything about the token."""


@dataclass(frozen=True)
class Caller:
    """Who the token is from, and what it allows."""

    username: str
    scope: frozenset[str]
    signed_in_at: float
    audience: frozenset[str]

    def may_be_at(self, path: str) -> bool:
        """Return whether the token works there: one for no resource works anywhere (RFC 8707)."""
        # Not the address that was asked for: whoever sends a token chooses the Host header too.
        return not self.audience or f"{settings.DEMO_API}{path}" in self.audience


def requires(
    scope: str, *, max_age: int | None = None
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Let only those call the view who have a token with that scope; it gets the ``Caller``.

    ``max_age``: how old their sign-in at the provider may be, in seconds (RFC 9470).
    """

    def decorate(
        view: Callable[[HttpRequest, Caller], HttpResponse],
    ) -> Callable[..., HttpResponse]:
        @wraps(view)
        def guarded(request: HttpRequest) -> HttpResponse:
            header = request.headers.get("Authorization")
            if header is None:
                return _refused(401)
            found = _BEARER.fullmatch(header)
            try:
                caller = _introspect(found["token"]) if found else None
            except ProviderUnavailable:
                return _unavailable()
            if caller is None or not caller.may_be_at(request.path):
                return _token_is_invalid(caller)
            if scope not in caller.scope:
                return _refused(403, "insufficient_scope", f"This needs {scope}.", scope)
            if max_age is not None and time.time() - caller.signed_in_at > max_age:
                return _sign_in_is_too_old(max_age)
            return view(request, caller)

        return guarded

    return decorate


def _introspect(token: str) -> Caller | None:
    """Return who the token is from, ``None`` if it is not good; asks anew for every call."""
    known = _ask_provider(token)
    if known.get("active") is not True:
        return None
    return Caller(
        username=str(known.get("username", "")),
        scope=frozenset(str(known.get("scope", "")).split()),
        signed_in_at=float(known.get("auth_time", 0)),
        audience=_audience(known.get("aud") or []),
    )


def _audience(found: str | list[str]) -> frozenset[str]:
    """Return the resources that a token is for: one may come without a list (RFC 7662 §2.2)."""
    return frozenset([found] if isinstance(found, str) else found)


def _ask_provider(token: str) -> dict[str, Any]:
    try:
        with requests.Session() as session:
            answer = session.post(
                settings.INTROSPECTION_ENDPOINT,
                data={"token": token, "token_type_hint": "access_token"},
                auth=settings.INTROSPECTION_CLIENT,
                timeout=settings.INTROSPECTION_TIMEOUT,
                allow_redirects=False,
            )
        answer.raise_for_status()
        known = answer.json()
    except requests.RequestException as error:
        raise ProviderUnavailable from error
    if not isinstance(known, dict):
        raise ProviderUnavailable
    return known


def _token_is_invalid(caller: Caller | None) -> HttpResponse:
    unknown, elsewhere = "unknown, expired or revoked", "for another resource"
    description = f"The token is {unknown if caller is None else elsewhere}."
    return _refused(401, "invalid_token", description)


def _sign_in_is_too_old(max_age: int) -> HttpResponse:
    description = f"This needs a sign-in that is not older than {max_age} seconds."
    error = "insufficient_user_authentication"
    return _refused(401, error, description, max_age=str(max_age))


def _refused(
    status: int, error: str = "", description: str = "", scope: str = "", **more: str
) -> HttpResponse:
    """Return the refusal; without an error where no token was sent (RFC 6750 §3.1)."""
    said = {"error": error, "error_description": description, "scope": scope, **more}
    parameters = {name: value for name, value in said.items() if value}
    challenge = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
    return JsonResponse(
        parameters or {"error_description": "Send an access token."},
        status=status,
        headers={"WWW-Authenticate": f"Bearer {challenge}" if challenge else "Bearer"},
    )


def _unavailable() -> HttpResponse:
    data = {
        "error": "temporarily_unavailable",
        "error_description": "The OpenID Provider does not answer, so the token cannot be checked.",
    }
    return JsonResponse(data, status=503, headers={"Retry-After": "5"})
