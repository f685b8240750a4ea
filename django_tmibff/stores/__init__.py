"""Where the sealed parts of token sets live; ``TMIBFF_STORE`` names one of these modules."""

from functools import lru_cache
from importlib import import_module

from django.core.exceptions import ImproperlyConfigured

from ..conf import settings
from .base import BaseStore, Stored

__all__ = ["BaseStore", "Stored", "current"]


def current() -> BaseStore:
    """Return the store that the site chose.

    Raises ``ImproperlyConfigured`` when ``TMIBFF_STORE`` names no store.
    """
    return _store(settings.store)


@lru_cache(maxsize=4)
def _store(path: str) -> BaseStore:
    try:
        store = import_module(path).TokenStore()
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"TMIBFF_STORE must name a module with a class TokenStore; {path!r} does not."
        ) from error
    if not isinstance(store, BaseStore):
        raise ImproperlyConfigured(f"{path}.TokenStore must be a BaseStore.")
    return store
