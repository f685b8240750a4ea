"""Running sign-ins at providers beside the default one, kept apart from mozilla-django-oidc's.

Its callback takes any state of the session's: one that is kept here comes in at the callback URL of
its own provider only, so that no provider can pass its code off as another's (RFC 9700 §4.4).
"""

from typing import Any

from django.conf import settings as django_settings
from django.http import HttpRequest

_KEY = "_tmibff_states"
_MOZILLAS_KEY = "oidc_states"


def keep(request: HttpRequest, state: str, provider: str) -> None:
    """Take ``state``, which mozilla-django-oidc has just made, for that provider alone."""
    entry = request.session[_MOZILLAS_KEY].pop(state)
    states = {**_kept(request), state: {**entry, "provider": provider}}
    by_age = sorted(states.items(), key=lambda item: float(item[1]["added_on"]))
    most = getattr(django_settings, "OIDC_MAX_STATES", 50)
    request.session[_KEY] = dict(by_age[-most:])


def is_known(request: HttpRequest, provider: str) -> bool:
    """Return whether the callback's state is one of this session and that provider."""
    entry = _kept(request).get(_state(request))
    return entry is not None and entry["provider"] == provider


def give_back(request: HttpRequest) -> None:
    """Let mozilla-django-oidc, which checks and uses it up, have the callback's state."""
    states = _kept(request)
    entry = states.pop(_state(request))
    request.session[_KEY] = states
    mozillas = request.session.get(_MOZILLAS_KEY) or {}
    request.session[_MOZILLAS_KEY] = {**mozillas, _state(request): entry}


def _state(request: HttpRequest) -> str:
    return request.GET.get("state", "")


def _kept(request: HttpRequest) -> dict[str, dict[str, Any]]:
    return dict(request.session.get(_KEY) or {})
