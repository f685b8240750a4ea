"""Whose request it is, and whether they may: RFC 6750, with the provider's word (RFC 7662).

And RFC 9449 §7: a token that is bound to a key comes with a proof of that key.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from testproject import proofs

_TOKEN = re.compile(r"(?P<scheme>Bearer|DPoP) +(?P<token>[A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)


class ProviderUnavailable(Exception):
    """The OpenID Provider gave no answer that says anything about the token."""


class TokenRefused(Exception):
    """The token does not say who calls; the text says why."""


@dataclass(frozen=True)
class Caller:
    """Who the token is from, and what it allows."""

    username: str
    scope: frozenset[str]
    signed_in_at: float
    jkt: str | None
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
            try:
                caller = _caller(request, header)
            except ProviderUnavailable:
                return _unavailable()
            except TokenRefused as refused:
                return _refused(401, "invalid_token", str(refused))
            if scope not in caller.scope:
                return _refused(403, "insufficient_scope", f"This needs {scope}.", scope)
            if max_age is not None and time.time() - caller.signed_in_at > max_age:
                return _sign_in_is_too_old(max_age)
            return view(request, caller)

        return guarded

    return decorate


def _caller(request: HttpRequest, header: str) -> Caller:
    """Return who calls with that ``Authorization``; raises ``TokenRefused``."""
    found = _TOKEN.fullmatch(header)
    caller = _introspect(found["token"]) if found else None
    if caller is None or found is None:
        raise TokenRefused("The token is unknown, expired or revoked.")
    if not caller.may_be_at(request.path):
        raise TokenRefused("The token is for another resource.")
    if not _proves(request, caller, **found.groupdict()):
        bound = "no key" if caller.jkt is None else "a key of its page's"
        raise TokenRefused(f"The token is bound to {bound}.")
    return caller


def _proves(request: HttpRequest, caller: Caller, scheme: str, token: str) -> bool:
    """Return whether whoever has sent the token has its key, if it has one."""
    if caller.jkt is None or scheme.lower() != "dpop":
        return caller.jkt is None and scheme.lower() == "bearer"
    try:
        return proofs.verified(request, settings.DEMO_API, access_token=token) == caller.jkt
    except proofs.ProofRefused:
        return False


def _introspect(token: str) -> Caller | None:
    """Return who the token is from, ``None`` if it is not good; asks anew for every call."""
    known = _ask_provider(token)
    if known.get("active") is not True:
        return None
    return Caller(
        username=str(known.get("username", "")),
        scope=frozenset(str(known.get("scope", "")).split()),
        signed_in_at=float(known.get("auth_time", 0)),
        jkt=known.get("cnf", {}).get("jkt"),
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
