"""What a sign-in leaves on its request until Django has logged the user in.

``login()`` changes the session's key, or flushes the session when another user was signed in: only
after it is it clear where the tokens belong.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest, QueryDict
from django.urls import reverse

from . import ending, oauth, tokens
from .conf import DEFAULT_PROVIDER, Provider, settings

_ATTRIBUTE = "_tmibff_sign_in"
_PROVIDER_ATTRIBUTE = "_tmibff_provider"
_MAX_AGE_ATTRIBUTE = "_tmibff_max_age"
_LIFTS_PIN_ATTRIBUTE = "_tmibff_lifts_pin"
_RESOURCES_ATTRIBUTE = "_tmibff_resources"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The tokens of a sign-in, and the token set that the session had before it."""

    user: Any
    provider: str
    token_response: oauth.TokenResponse
    claims: Mapping[str, Any] = field(repr=False)
    previous_handle: str | None


def begin(
    request: HttpRequest,
    provider: Provider,
    *,
    max_age: int | None = None,
    lifts_pin: bool = False,
    resources: Collection[str] = (),
) -> None:
    """Say which provider this callback comes from: its own URL and the state have shown it.

    ``max_age``: how old the user's authentication there may be, in seconds, where that was asked.
    ``lifts_pin``: the user sees what happens, so that the page may use another DPoP key afterwards.
    ``resources``: those that the authorization request has named.
    """
    setattr(request, _PROVIDER_ATTRIBUTE, provider.name)
    setattr(request, _MAX_AGE_ATTRIBUTE, max_age)
    setattr(request, _LIFTS_PIN_ATTRIBUTE, lifts_pin)
    setattr(request, _RESOURCES_ATTRIBUTE, resources)


def provider_of(request: HttpRequest) -> Provider:
    """Return the provider whose callback this request is."""
    return settings.provider(getattr(request, _PROVIDER_ATTRIBUTE, DEFAULT_PROVIDER))


def max_age_of(request: HttpRequest) -> int | None:
    """Return how old, in seconds, the user's authentication may be; ``None`` for any age."""
    age: int | None = getattr(request, _MAX_AGE_ATTRIBUTE, None)
    return age


def callback_url(request: HttpRequest, provider: Provider) -> str:
    """Return where ``provider`` sends the user back to: each has a URL of its own (RFC 9700 §4.4).

    For those beside the default one, whose URL is mozilla-django-oidc's.
    """
    return request.build_absolute_uri(reverse("tmibff-callback", args=[provider.name]))


def forget_code(request: HttpRequest) -> None:
    """Take the authorization code out of what error reports and logs show of ``request`` (X9)."""
    kept = request.GET.copy()
    kept.pop("code", None)
    query = kept.urlencode()
    request.GET = QueryDict(query)
    request.META["QUERY_STRING"] = query
    for name in ("RAW_URI", "REQUEST_URI"):
        if name in request.META:  # gunicorn writes its access log by it.
            path = request.META[name].partition("?")[0]
            request.META[name] = f"{path}?{query}"
    if (scope := getattr(request, "scope", None)) is not None:  # ASGI's servers log by that.
        scope["query_string"] = query.encode()


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
        provider=sign_in.provider,
        made_session=made_session,
        lifts_pin=getattr(request, _LIFTS_PIN_ATTRIBUTE, False),
        resources=getattr(request, _RESOURCES_ATTRIBUTE, ()),
    )
    if sign_in.previous_handle not in (None, tokens.handle_of(request)):
        ending.end(sign_in.previous_handle, "another sign-in")
