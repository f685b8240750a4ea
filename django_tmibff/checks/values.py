"""Settings whose value cannot be used, does not fit others, or that there are not."""

import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from functools import partial
from itertools import chain
from typing import Any

from django.conf import settings as django_settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.checks import CheckMessage, Error, Info
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .. import client_auth, crypto, policy, stores
from ..conf import DEFAULT_PROVIDER, DEFAULTS, settings
from ..exceptions import InvalidScope, InvalidTarget
from .helpers import SECURITY, Checks, store_uses_cache

NUMBERS = [name for name, default in DEFAULTS.items() if type(default) is int]
_FLAGS = [name for name, default in DEFAULTS.items() if type(default) is bool]
_ALL_SETTINGS = "docs/settings.md has all settings and their types."
_OF_CACHES = ("TMIBFF_CACHE_ALIAS", "TMIBFF_CACHE_SECONDS")

# Files are shared on one host only, and their add() lets two be the first.
_NOT_SHARED = (LocMemCache, DummyCache, FileBasedCache)

# RFC 9110 §5.1, without what no page would choose.
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")


def check_settings_usable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E002: a setting whose value cannot be used."""
    uses: tuple[Callable[[], object], ...] = (
        stores.current,
        _use_providers,
        _use_resources,
        _use_scopes,
        _use_default_scope,
        _use_origins,
        _use_required_header,
        partial(_texts, "TMIBFF_SESSION_INFO_CLAIMS"),
        partial(_texts, "TMIBFF_WARM_SKIPS"),
        _use_session_info,
        lambda: crypto.seal(b""),
        lambda: settings.narrower_scope,
        _use_dpop,
        *(partial(_use_flag, name) for name in _FLAGS),
        *(partial(_use_number, name) for name in NUMBERS),
    )
    return [
        Error(
            problem,
            hint=_ALL_SETTINGS,
            id="django_tmibff.E002",
        )
        for problem in filter(None, map(_problem, uses))
    ]


def check_cache(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E003: the store's cache does not exist, or not all processes share it."""
    problem = _cache_problem()
    if problem is None:
        return []
    return [
        Error(
            f"TMIBFF_STORE uses the cache {settings.cache_alias!r}, {problem}.",
            hint="Let TMIBFF_CACHE_ALIAS name an entry of CACHES with Redis or memcached.",
            id="django_tmibff.E003",
        )
    ]


def check_store_fits_cache(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W016: the store and the cache do not fit each other."""
    return [
        CheckWarning(problem, hint=hint, id="django_tmibff.W016")
        for problem, hint in (_cache_without_store(), _cache_that_loses())
        if problem
    ]


def check_setting_names(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W003: a ``TMIBFF_*`` setting that does not exist."""
    unknown = [n for n in dir(django_settings) if n.startswith("TMIBFF_") and n not in DEFAULTS]
    return [
        CheckWarning(
            f"There is no setting {name}.", hint=_did_you_mean(name), id="django_tmibff.W003"
        )
        for name in unknown
    ]


def check_encryption_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """I002: what seals the tokens is made of ``SECRET_KEY``."""
    if settings.encryption_keys and settings.encryption_keys[0] != crypto.OF_SECRET_KEY:
        return []
    return [
        Info(
            "The tokens are sealed with keys made of SECRET_KEY: who has the one has the other, and"
            " a new SECRET_KEY without the old one in SECRET_KEY_FALLBACKS loses all tokens.",
            hint="Set TMIBFF_ENCRYPTION_KEYS to a list of one key, from Fernet.generate_key();"
            " docs/keys.md says how not to lose the tokens that are stored already.",
            id="django_tmibff.I002",
        )
    ]


CHECKS: Checks = (
    (check_settings_usable, SECURITY),
    (check_cache, SECURITY),
    (check_store_fits_cache, {}),
    (check_setting_names, {}),
    (check_encryption_keys, {**SECURITY, "deploy": True}),
)


def _use_providers() -> None:
    for name in (DEFAULT_PROVIDER, *settings.provider_names):
        client_auth.credentials(settings.provider(name))


def _use_resources() -> None:
    try:
        policy.check_resources(list(settings.resources))
    except InvalidTarget:
        raise ImproperlyConfigured(
            "TMIBFF_RESOURCES must list absolute URIs without a fragment."
        ) from None


def _use_scopes() -> None:
    try:
        alone = all(len(policy.split_scope(scope)) == 1 for scope in _texts("TMIBFF_SCOPES"))
    except InvalidScope:
        alone = False
    if not alone:
        raise ImproperlyConfigured("TMIBFF_SCOPES must list scopes, each of them a string.")


def _use_default_scope() -> None:
    try:
        policy.split_scope(settings.default_scope or "")
    except (InvalidScope, TypeError):
        raise ImproperlyConfigured(
            "TMIBFF_DEFAULT_SCOPE must be a text of scopes with one space between them."
        ) from None


def _use_required_header() -> None:
    name = settings.required_header
    if name is not None and not (isinstance(name, str) and _HEADER.fullmatch(name)):
        raise ImproperlyConfigured("TMIBFF_REQUIRED_HEADER must be the name of a header.")


def _use_flag(name: str) -> None:
    if not isinstance(getattr(django_settings, name, DEFAULTS[name]), bool):
        raise ImproperlyConfigured(f"{name} must be True or False.")


def _texts(name: str) -> list[str]:
    """Return the strings of that setting; a single one would be taken for its letters."""
    value = getattr(django_settings, name, DEFAULTS[name])
    is_list = isinstance(value, Collection) and not isinstance(value, str)
    if not is_list or not all(isinstance(text, str) for text in value):
        raise ImproperlyConfigured(f"{name} must be a list of strings.")
    return list(value)


def _use_dpop() -> None:
    if settings.dpop != "off":
        return
    for provider in settings.providers:
        if provider.dpop_bound_access_tokens:
            name = settings.name_of("dpop_bound_access_tokens", provider.name)
            raise ImproperlyConfigured(f"{name} needs TMIBFF_DPOP.")


def _use_origins() -> None:
    listed = settings.resources.values()
    named = [*settings.origins, *chain.from_iterable(one.get("origins", ()) for one in listed)]
    if not all(isinstance(origin, str) and _ORIGIN.fullmatch(origin) for origin in named):
        raise ImproperlyConfigured(
            "TMIBFF_ORIGINS, and origins in TMIBFF_RESOURCES, must list origins:"
            " https://host, with a port or not, and nothing behind it."
        )


def _use_session_info() -> None:
    try:
        import_string(settings.session_info)
    except ImportError as error:
        raise ImproperlyConfigured(f"TMIBFF_SESSION_INFO: {error}") from error


def _use_number(name: str) -> None:
    value = getattr(django_settings, name, DEFAULTS[name])
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ImproperlyConfigured(f"{name} must be a number, not less than 0.")


def _problem(use: Callable[[], object]) -> str | None:
    try:
        use()
    except ImproperlyConfigured as error:
        return str(error)
    return None


def _cache_problem() -> str | None:
    try:
        if not stores.current().uses_cache:
            return None
        cache = caches[settings.cache_alias]
    except InvalidCacheBackendError:
        return "which does not exist"
    except ImproperlyConfigured:
        return None  # That is E002's.
    return "which not all processes share" if isinstance(cache, _NOT_SHARED) else None


def _cache_without_store() -> tuple[str, str]:
    """Return what is said of a cache that the settings choose and the store does not use."""
    chosen = [name for name in _OF_CACHES if hasattr(django_settings, name)]
    if not chosen or store_uses_cache(unless_known=True):
        return "", ""
    return (
        f"{settings.store} uses no cache, so {' and '.join(chosen)} mean nothing.",
        'Set TMIBFF_STORE to "django_tmibff.stores.cached_db", or take them out.',
    )


def _cache_that_loses() -> tuple[str, str]:
    """Return what is said of a cache that may lose what is nowhere else."""
    if settings.store != "django_tmibff.stores.cache" or _cache_problem() is not None:
        return "", ""
    cache = caches[settings.cache_alias]
    if isinstance(cache, BaseMemcachedCache):
        problem = "memcached evicts what is still needed"
    elif _hides_failures(cache):
        problem = "django-redis hides its failures, and what could not be written is lost unseen"
    else:
        return "", ""
    return (
        f"All tokens are in the cache {settings.cache_alias!r}, and {problem}.",
        "Let TMIBFF_CACHE_ALIAS name a Redis without IGNORE_EXCEPTIONS, or set TMIBFF_STORE to"
        ' "django_tmibff.stores.cached_db".',
    )


def _hides_failures(cache: BaseCache) -> bool:
    # django-redis has worked out its own options and those of all its caches.
    return bool(getattr(cache, "_ignore_exceptions", False))


def _did_you_mean(name: str) -> str:
    [close] = get_close_matches(name, DEFAULTS, n=1) or [""]
    return f"Did you mean {close}?" if close else _ALL_SETTINGS
