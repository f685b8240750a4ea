"""What a page may ask for, and which stored token fits: no I/O, no clock of its own."""

import re
from collections.abc import Collection
from itertools import chain
from urllib.parse import urlsplit

from .conf import NarrowerScope, settings
from .contents import AccessToken, Contents, Refusal, TokenKey
from .dpop import is_bound
from .exceptions import InvalidScope, InvalidTarget
from .hosts import browser_origin

# RFC 6749 §3.3.
_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+(?: [\x21\x23-\x5B\x5D-\x7E]+)*")
# RFC 3986 §4.3: a scheme and something behind it, only characters that a URI has, no fragment.
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")


def check_resources(resources: Collection[str]) -> None:
    """Raise ``InvalidTarget`` unless all are absolute URIs without a fragment (T2, RFC 8707 §2)."""
    if not all(_is_absolute_uri(resource) for resource in resources):
        raise InvalidTarget("A resource must be an absolute URI without a fragment.")


def split_scope(scope: str) -> list[str]:
    """Return the values of ``scope`` (T3); raises ``InvalidScope`` when it is malformed."""
    if not scope:
        return []
    if not _SCOPE.fullmatch(scope):
        raise InvalidScope("A scope is a list of values with one space between them.")
    return scope.split(" ")


def wanted(
    resources: Collection[str],
    scopes: Collection[str],
    contents: Contents,
    now: float,
    *,
    jkt: str | None = None,
) -> TokenKey:
    """Return the key of the token that this request is for (T4, R7, R8).

    ``jkt``: the thumbprint of the DPoP key that the token is to be bound to, if it is.
    Raises ``InvalidTarget`` and ``InvalidScope`` for what the site does not allow (T5), and
    ``ImproperlyConfigured`` before a refresh token could be lost by it.
    """
    choice = settings.narrower_scope
    default = default_key(jkt)
    if not resources and not scopes:
        return default
    check_listed(resources, scopes, (contents.granted or "").split())
    key = TokenKey.of(resources, scopes, jkt)
    if not resources and set(scopes) == _values(contents.granted):
        return TokenKey(jkt=jkt)
    if choice in ("ask", "ask-strict") or key == default:
        return key
    return _without_asking_for_less(key, contents, choice, now)


def default_key(jkt: str | None = None) -> TokenKey:
    """Return the key of the token that is meant where nothing is asked for (T4)."""
    resources = [settings.default_resource] if settings.default_resource else []
    return TokenKey.of(resources, split_scope(settings.default_scope or ""), jkt)


def check_listed(
    resources: Collection[str], scopes: Collection[str], granted: Collection[str]
) -> None:
    """Raise ``InvalidTarget`` or ``InvalidScope`` for what the site does not allow (T5).

    ``granted``: the scopes that are allowed beside those that the settings list.
    """
    if not set(resources) <= set(settings.resources):
        raise InvalidTarget
    if not set(scopes) <= settings.scopes | set(granted) | scopes_of(resources):
        raise InvalidScope


def origins(key: TokenKey) -> list[str]:
    """Return where a page may send this token: to its resources, and where the site says."""
    if not key.resources:
        return list(settings.origins)
    own = filter(None, map(browser_origin, key.resources))
    listed = settings.resources
    named = chain.from_iterable(listed.get(uri, {}).get("origins", ()) for uri in key.resources)
    return list(dict.fromkeys([*own, *named]))


def scopes_of(resources: Collection[str]) -> frozenset[str]:
    """Return the scopes that the site names for these resources."""
    listed = settings.resources
    named = (listed.get(resource, {}).get("scope", "") for resource in resources)
    return frozenset(" ".join(named).split())


def requested_scope(key: TokenKey) -> str:
    """Return the ``scope`` to send to the authorization server; empty when it is to decide."""
    if key.scopes:
        return " ".join(key.scopes)
    return " ".join(sorted(scopes_of(key.resources)))


def fitting(contents: Contents, key: TokenKey, now: float) -> AccessToken | None:
    """Return the stored token that fits ``key`` and has not expired (R7, R8, R9)."""
    alive = _alive(contents, now)
    same_key = (token for token in alive if token.key == key and not refusal_of_wider(token))
    exact = (token for token in alive if _is_exactly(token, key))
    return next(chain(same_key, exact), None)


def is_due(token: AccessToken, now: float) -> bool:
    """Return whether ``token`` is about to expire (R9)."""
    if token.expires_at is None:
        return False
    lifetime = token.expires_at - token.issued_at
    return token.seconds_left(now) <= min(settings.refresh_margin, lifetime / 2)


def refusal(contents: Contents, key: TokenKey, now: float) -> Refusal | None:
    """Return what the authorization server refused for ``key`` a moment ago (X7)."""
    # What lasts longer than that was stamped by a host whose clock is ahead.
    latest = now + settings.refusal_seconds
    return next((r for r in contents.refusals if r.key == key and now < r.until <= latest), None)


def refusal_of_wider(token: AccessToken) -> InvalidScope | None:
    """Return why a strict site does not hand out ``token``: it is wider than asked (R7)."""
    strict = settings.narrower_scope in ("ask-strict", "refuse")
    if not strict or not _is_wider(token, token.key):
        return None
    return InvalidScope("The authorization server gives only a wider scope than this.")


def is_narrower(scope: str | None, granted: str | None) -> bool:
    """Return whether ``scope`` lacks some of what was ``granted``."""
    return bool(scope and granted) and not _values(scope) >= _values(granted)


def _is_absolute_uri(resource: str) -> bool:
    if not _ABSOLUTE_URI.fullmatch(resource):
        return False
    try:
        parts = urlsplit(resource)
    except ValueError:
        return False
    return bool(parts.netloc or not resource[len(parts.scheme) + 1 :].startswith("//"))


def _without_asking_for_less(
    key: TokenKey, contents: Contents, choice: NarrowerScope, now: float
) -> TokenKey:
    """Return ``key``, or where there is only a wider token, that one's key (R7)."""
    alive = [token for token in _alive(contents, now) if token.key.jkt == key.jkt]
    if any(_is_exactly(token, key) for token in alive):
        return key
    wider = _wider_key(key, contents, alive)
    if wider is None:
        return key
    if choice == "refuse":
        raise InvalidScope("This site does not hand out tokens of a narrower scope.")
    return wider


def _wider_key(key: TokenKey, contents: Contents, alive: list[AccessToken]) -> TokenKey | None:
    for token in alive:
        if token.key.resources == key.resources and _is_wider(token, key):
            return token.key
    # Nothing wider is stored: would the default request for these resources bring it?
    default = TokenKey.of(key.resources, jkt=key.jkt)
    usual = scopes_of(key.resources) if key.resources else _values(contents.granted)
    default_is_stored = any(token.key == default for token in alive)
    return default if usual > set(key.scopes) and not default_is_stored else None


def _alive(contents: Contents, now: float) -> list[AccessToken]:
    alive = (token for token in contents.access_tokens if token.seconds_left(now) >= 1)
    return [token for token in alive if not _is_bearer_in_disguise(token)]


def _is_bearer_in_disguise(token: AccessToken) -> bool:
    """Return whether ``token`` came for a proof, unbound, while that was let through."""
    is_disguised = token.key.jkt is not None and not is_bound(token.token_type)
    return is_disguised and settings.dpop == "required"


def _is_wider(token: AccessToken, key: TokenKey) -> bool:
    return bool(key.scopes) and _values(token.scope) > set(key.scopes)


def _is_exactly(token: AccessToken, key: TokenKey) -> bool:
    return (
        bool(key.scopes)
        and token.key.resources == key.resources
        and token.key.jkt == key.jkt
        and _values(token.scope) == set(key.scopes)
    )


def _values(scope: str | None) -> frozenset[str]:
    return frozenset((scope or "").split())
