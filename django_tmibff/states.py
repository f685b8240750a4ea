"""Running sign-ins: what is remembered of each between its beginning and its callback.

mozilla-django-oidc keeps its states in the session, and its callback takes any of them. Those of
the default provider stay there, with a word of ours; those of other providers are kept apart, and
come in at their own provider's callback only, so that none can pass its code off as another's
(RFC 9700 §4.4).
"""

from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.http import HttpRequest

from .conf import Provider

# Another site can begin any number of sign-ins: beyond these its own oldest one goes.
MOST_OF_OTHER_SITES = 10
# In a cookie of 4096 bytes, which browsers do not take larger, there must be room for the user's.
_MOST_IN_COOKIE = 2

_KEY = "_tmibff_states"
_MOZILLAS_KEY = "oidc_states"
_OURS = "tmibff"

States = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Begun:
    """How a sign-in began.

    ``next``: where to go then, a path of this site, or nothing. ``by_own_page``: one of our pages
    has asked for it, and wants to hear what comes of it. ``max_age``: how old the user's
    authentication at the provider may be, in seconds. ``is_silent``: nobody is asked there.
    ``resources``: those that the authorization request names.
    """

    next: str = ""
    by_own_page: bool = False
    max_age: int | None = None
    is_silent: bool = False
    resources: tuple[str, ...] = ()


def make_room(request: HttpRequest) -> None:
    """Let the next sign-in push out another site's, rather than one that the user has begun."""
    states = _states(request, _MOZILLAS_KEY)
    request.session[_MOZILLAS_KEY] = _without_surplus(request, states, room=1)


def keep(request: HttpRequest, state: str, provider: Provider, begun: Begun) -> None:
    """Remember of ``state``, which mozilla-django-oidc has just made, how it began and where."""
    mozillas = _states(request, _MOZILLAS_KEY)
    entry = {**mozillas.pop(state), _OURS: asdict(begun), "provider": provider.name}
    if provider.is_default:
        request.session[_MOZILLAS_KEY] = {**mozillas, state: entry}
        return
    request.session[_MOZILLAS_KEY] = mozillas
    states = _without_surplus(request, {**_states(request, _KEY), state: entry})
    request.session[_KEY] = dict(_by_age(states)[-_most() :])


def is_known(request: HttpRequest, provider: Provider) -> bool:
    """Return whether the callback's state is one of this session and that provider."""
    entry = _states(request, _key(provider)).get(_state(request))
    return entry is not None and entry.get("provider", provider.name) == provider.name


def begun(request: HttpRequest, provider: Provider) -> Begun | None:
    """Return how the callback's sign-in began; ``None`` where it was not by our view."""
    entry = _states(request, _key(provider)).get(_state(request), {})
    return Begun(**entry[_OURS]) if _OURS in entry else None


def use_up(request: HttpRequest, provider: Provider) -> None:
    """Forget the callback's state: it is good once."""
    _pop(request, provider)


def hand_over(request: HttpRequest, provider: Provider) -> None:
    """Let mozilla-django-oidc, which checks and uses it up, have the callback's state."""
    entry = _pop(request, provider)
    mozillas = _states(request, _MOZILLAS_KEY)
    request.session[_MOZILLAS_KEY] = {**mozillas, _state(request): entry}


def _pop(request: HttpRequest, provider: Provider) -> dict[str, Any]:
    states = _states(request, _key(provider))
    entry = states.pop(_state(request))
    request.session[_key(provider)] = states
    return entry


def _key(provider: Provider) -> str:
    return _MOZILLAS_KEY if provider.is_default else _KEY


def _state(request: HttpRequest) -> str:
    return request.GET.get("state", "")


def _states(request: HttpRequest, key: str) -> States:
    return dict(request.session.get(key) or {})


def _without_surplus(request: HttpRequest, states: States, *, room: int = 0) -> States:
    foreign = [state for state, entry in _by_age(states) if _is_of_another_site(entry)]
    surplus = foreign[: max(0, len(foreign) + room - _most_of_other_sites(request))]
    return {state: entry for state, entry in states.items() if state not in surplus}


def _most_of_other_sites(request: HttpRequest) -> int:
    in_cookie = isinstance(request.session, SignedCookies)
    return min(_MOST_IN_COOKIE if in_cookie else MOST_OF_OTHER_SITES, _most() // 2)


def _most() -> int:
    most: int = getattr(django_settings, "OIDC_MAX_STATES", 50)
    return most


def _by_age(states: States) -> list[tuple[str, dict[str, Any]]]:
    return sorted(states.items(), key=lambda item: float(item[1]["added_on"]))


def _is_of_another_site(entry: dict[str, Any]) -> bool:
    # SessionRefresh begins sign-ins too, wherever a request comes from.
    return _OURS not in entry or not entry[_OURS]["by_own_page"]
