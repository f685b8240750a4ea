"""Providers' public keys: fetched once for all processes, and again when a new one appears.

They are kept sealed: whoever can write to a shared cache would sign for a provider otherwise.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import jwt
from django.utils.crypto import salted_hmac

from . import crypto, oauth, stores
from .conf import Provider
from .exceptions import TokenError

# How long a key set is used before it is fetched again.
_KEPT_SECONDS = 3600.0
# Anybody can name a key that does not exist: that must not become load on the provider.
_REFETCH_SECONDS = 30.0
_MAX_KEYS = 20


def signing_keys(provider: Provider, *, kid: str | None, alg: str) -> list[jwt.PyJWK]:
    """Return the provider's keys of that ``kid``, or all when it is ``None``, that fit ``alg``."""
    return fitting(_kept(provider), alg, kid=kid) or fitting(_fetched(provider), alg, kid=kid)


def fitting(keys: Iterable[Any], alg: str, *, kid: str | None = None) -> list[jwt.PyJWK]:
    """Return those of the published ``keys`` that can verify ``alg``; of that ``kid``, or all."""
    found = []
    for key in keys:
        with suppress(jwt.PyJWTError, AttributeError, TypeError, ValueError):
            if _may_sign(key, kid, alg):
                found.append(jwt.PyJWK(key, alg))
    return found


def _kept(provider: Provider) -> list[Any]:
    """Return the keys that are remembered; what does not open, or is another's, is not there."""
    fact = _fact(provider)
    sealed = stores.current().recall(fact)
    with suppress(crypto.CannotUnsealError, AttributeError, ValueError):
        match json.loads(crypto.unseal(sealed.encode())):
            case [str(name), list(keys)] if name == fact:
                return keys
    return []


def _fetched(provider: Provider) -> list[Any]:
    """Return the keys as they are now; none when they were fetched a moment ago, or cannot be."""
    fact, store = _fact(provider), stores.current()
    if not store.once(f"{fact}:fetched", _REFETCH_SECONDS):
        return []
    with suppress(TokenError):
        keys = oauth.key_set(provider)[:_MAX_KEYS]
        sealed = crypto.seal(json.dumps([fact, keys]).encode())
        store.remember(fact, sealed.decode(), _KEPT_SECONDS)
        return keys
    return []


def _may_sign(key: dict[str, Any], kid: str | None, alg: str) -> bool:
    return (
        key.get("use", "sig") == "sig"
        and key.get("alg", alg) == alg
        and kid in (None, key.get("kid"))
    )


def _fact(provider: Provider) -> str:
    """Return a name of this site's own for that server's keys: another may use the same cache."""
    served_at = json.dumps([provider.issuer, provider.jwks_endpoint])
    return f"jwks:{salted_hmac(__name__, served_at, algorithm='sha256').hexdigest()}"
