"""What checks of several topics need."""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import stores
from ..conf import Provider, settings

Check = Callable[..., list[CheckMessage]]
#: The checks of a topic, each with its ``tags`` and whether it is to ``deploy`` only.
Checks = Iterable[tuple[Check, dict[str, Any]]]

SECURITY = {"tags": (Tags.security,)}


def is_subclass(path: str, base: type) -> bool:
    """Return whether that dotted path leads to ``base``, or a class that is made of it."""
    try:
        found = import_string(path)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, base)


def oidc_is_used() -> bool:
    """Return whether people sign in with mozilla-django-oidc's own settings."""
    return hasattr(django_settings, "OIDC_OP_AUTHORIZATION_ENDPOINT")


def sign_in_providers() -> list[Provider]:
    """Return the providers where people sign in."""
    return [provider for provider in settings.providers if provider.authorization_endpoint]


def store_uses_cache(*, unless_known: bool) -> bool:
    """Return whether the store has a cache; ``unless_known`` where there is no such store."""
    try:
        return stores.current().uses_cache
    except ImproperlyConfigured:
        return unless_known  # That is E002's.
