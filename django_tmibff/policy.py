"""What a page may ask for, and which stored token fits: no I/O, no clock of its own."""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from .conf import settings
from .contents import AccessToken, Contents, Refusal, TokenKey
from .exceptions import InvalidScope, InvalidTarget

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


def wanted(resources: Collection[str], scopes: Collection[str], contents: Contents) -> TokenKey:
    """Return the key of the token that this request is for (T4, R7, R8).

    Raises ``InvalidTarget`` and ``InvalidScope`` for what the site does not allow (T5).
    """
    if not resources and not scopes:
        return _default_key()
    _check_listed(resources, scopes, contents)
    key = TokenKey.of(resources, scopes)
    if not resources and set(scopes) == _values(contents.granted):
        return TokenKey()
    return _without_narrowing(key, contents)


def requested_scope(key: TokenKey) -> str:
    """Return the ``scope`` to send to the authorization server; empty when it is to decide."""
    if key.scopes:
        return " ".join(key.scopes)
    return " ".join(sorted(_scopes_of(key.resources)))


def fitting(contents: Contents, key: TokenKey, now: float) -> AccessToken | None:
    """Return the stored token that fits ``key`` and has not expired (R7, R8, R9)."""
    alive = [token for token in contents.access_tokens if token.seconds_left(now) >= 1]
    for token in alive:
        if token.key == key and not (_is_wider(token, key) and settings.narrower_scope != "ask"):
            return token
    return next((token for token in alive if _is_exactly(token, key)), None)


def is_due(token: AccessToken, now: float) -> bool:
    """Return whether ``token`` is about to expire (R9)."""
    if token.expires_at is None:
        return False
    lifetime = token.expires_at - token.issued_at
    return token.seconds_left(now) <= min(settings.refresh_margin, lifetime / 2)


def refusal(contents: Contents, key: TokenKey, now: float) -> Refusal | None:
    """Return what the authorization server refused for ``key`` a moment ago (X7)."""
    return next((r for r in contents.refusals if r.key == key and r.until > now), None)


def refusal_of_wider(token: AccessToken) -> InvalidScope | None:
    """Return why a strict site does not hand out ``token``: it is wider than asked (R7)."""
    if settings.narrower_scope != "ask-strict" or not _is_wider(token, token.key):
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


def _default_key() -> TokenKey:
    resource = settings.default_resource
    return TokenKey.of([resource] if resource else [], split_scope(settings.default_scope or ""))


def _check_listed(resources: Collection[str], scopes: Collection[str], contents: Contents) -> None:
    if not set(resources) <= set(settings.resources):
        raise InvalidTarget
    allowed = settings.scopes | _values(contents.granted) | _scopes_of(resources)
    if not set(scopes) <= allowed:
        raise InvalidScope


def _without_narrowing(key: TokenKey, contents: Contents) -> TokenKey:
    """Return ``key``, or where the site does not ask for narrower scopes, the wider one's (R7)."""
    choice = settings.narrower_scope
    if choice in ("ask", "ask-strict"):
        return key
    wider = _wider_key(key, contents)
    if wider is None:
        return key
    if choice == "refuse":
        raise InvalidScope("This site does not hand out tokens of a narrower scope.")
    return wider


def _wider_key(key: TokenKey, contents: Contents) -> TokenKey | None:
    if not key.resources and _values(contents.granted) > set(key.scopes):
        return TokenKey()
    same_resources = (t for t in contents.access_tokens if t.key.resources == key.resources)
    return next((token.key for token in same_resources if _is_wider(token, key)), None)


def _is_wider(token: AccessToken, key: TokenKey) -> bool:
    return bool(key.scopes) and _values(token.scope) > set(key.scopes)


def _is_exactly(token: AccessToken, key: TokenKey) -> bool:
    return (
        bool(key.scopes)
        and token.key.resources == key.resources
        and token.key.jkt == key.jkt
        and _values(token.scope) == set(key.scopes)
    )


def _scopes_of(resources: Collection[str]) -> frozenset[str]:
    """Return the scopes that the site names for these resources."""
    listed = settings.resources
    named = (listed.get(resource, {}).get("scope", "") for resource in resources)
    return frozenset(" ".join(named).split())


def _values(scope: str | None) -> frozenset[str]:
    return frozenset((scope or "").split())
