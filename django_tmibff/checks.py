"""System checks: what a site's settings would break, said before a user finds out."""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import partial
from itertools import chain
from typing import Any

from django.conf import settings as django_settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend
from mozilla_django_oidc.middleware import SessionRefresh

from . import client_auth, crypto, middleware, policy, stores
from .backends import OIDCAuthenticationBackend
from .conf import DEFAULT_PROVIDER, DEFAULTS, Provider, settings
from .exceptions import InvalidTarget
from .views import OIDCCallbackView

NUMBERS = [name for name, default in DEFAULTS.items() if type(default) is int]
OIDC_NEEDED = (
    "OIDC_OP_AUTHORIZATION_ENDPOINT",
    "OIDC_OP_TOKEN_ENDPOINT",
    "OIDC_OP_USER_ENDPOINT",
    "OIDC_RP_CLIENT_ID",
)
URL_NAMES = ("tmibff-token", "tmibff-sessioninfo")

# Files are shared on one host only, and their add() lets two be the first.
_NOT_SHARED = (LocMemCache, DummyCache, FileBasedCache)

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]+)?|https?://\[[0-9a-f:.]+\](:[0-9]+)?")

Check = Callable[..., list[CheckMessage]]


def check_session_refresh(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001: ``SessionRefresh`` answers before any view, with a redirect (E11)."""
    if not any(_is_subclass(path, SessionRefresh) for path in django_settings.MIDDLEWARE):
        return []
    missing = [name for name in URL_NAMES if not _is_exempt(name)]
    if not missing:
        return []
    return [
        Error(
            f"SessionRefresh would redirect a page's calls to {' and '.join(missing)}.",
            hint=f"Add to your settings: OIDC_EXEMPT_URLS = {list(URL_NAMES)!r}",
            id="django_tmibff.E001",
        )
    ]


def check_settings_usable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E002: a setting whose value cannot be used."""
    uses: tuple[Callable[[], object], ...] = (
        stores.current,
        _use_providers,
        _use_resources,
        _use_origins,
        _use_session_info,
        lambda: crypto.seal(b""),
        lambda: settings.narrower_scope,
        _use_dpop,
        *(partial(_use_number, name) for name in NUMBERS),
    )
    return [
        Error(problem, hint="See Settings in the README.", id="django_tmibff.E002")
        for problem in filter(None, map(_problem, uses))
    ]


def check_oidc(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E004, W005: a sign-in with OpenID Connect that would not work, or keep no tokens."""
    if not settings.uses_oidc:
        return []
    missing = [name for name in _oidc_needed() if not getattr(django_settings, name, None)]
    messages: list[CheckMessage] = [
        Error(f"{name} is not set.", hint=f"Set {name}.", id="django_tmibff.E004")
        for name in (*missing, *_missing_of_providers())
    ]
    backends = django_settings.AUTHENTICATION_BACKENDS
    if not any(_is_subclass(path, OIDCAuthenticationBackend) for path in backends):
        messages.append(
            CheckWarning(
                "No authentication backend keeps the tokens of a sign-in.",
                hint="Add django_tmibff.backends.OIDCAuthenticationBackend to"
                " AUTHENTICATION_BACKENDS, or call tokens.store() yourself.",
                id="django_tmibff.W005",
            )
        )
    return messages


def check_other_backends(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E006: a backend that would redeem a code which ours has refused, or another provider's."""
    return [
        Error(
            f"{path} would be given authorization codes too, and knows nothing of our checks.",
            hint="Take it out of AUTHENTICATION_BACKENDS: ours does what it does.",
            id="django_tmibff.E006",
        )
        for path in django_settings.AUTHENTICATION_BACKENDS
        if _is_subclass(path, MozillaBackend) and not _is_subclass(path, OIDCAuthenticationBackend)
        if any(
            _is_subclass(other, OIDCAuthenticationBackend)
            for other in django_settings.AUTHENTICATION_BACKENDS
        )
    ]


def check_signing_algorithms(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E005: a provider signs its ID tokens in a way that mozilla-django-oidc cannot verify."""
    return [
        Error(
            f"mozilla-django-oidc cannot verify ID tokens signed with {provider.signing_alg!r}.",
            hint="Let the provider sign with RS256 or ES256, and say so in"
            f" {settings.name_of('signing_alg', provider.name)}.",
            id="django_tmibff.E005",
        )
        for provider in _sign_in_providers()
        if not re.fullmatch("(HS|RS|ES)(256|384|512)", provider.signing_alg)
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


def check_session_cookie(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001: who has the session cookie can fetch the tokens (E9)."""
    unsafe = [name for name in _unsafe_cookie_settings() if name != "SESSION_COOKIE_SECURE"]
    return [_cookie_warning(name) for name in unsafe]


def check_session_cookie_secure(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001 for ``SESSION_COOKIE_SECURE``, which a developer's own machine may do without (E9)."""
    unsafe = [name for name in _unsafe_cookie_settings() if name == "SESSION_COOKIE_SECURE"]
    return [_cookie_warning(name) for name in unsafe]


def check_pkce(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W002: the sign-in is without PKCE (B1)."""
    oidc_is_used = hasattr(django_settings, "OIDC_OP_AUTHORIZATION_ENDPOINT")
    if not oidc_is_used or getattr(django_settings, "OIDC_USE_PKCE", False):
        return []
    return [
        CheckWarning(
            "The sign-in uses no PKCE.",
            hint="Add to your settings: OIDC_USE_PKCE = True",
            id="django_tmibff.W002",
        )
    ]


def check_issuer(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W004: the issuer of ID tokens is not checked (B6)."""
    oidc_is_used = hasattr(django_settings, "OIDC_OP_AUTHORIZATION_ENDPOINT")
    if not oidc_is_used or getattr(django_settings, "OIDC_OP_ISSUER", None):
        return []
    return [
        CheckWarning(
            "Nothing says who may issue ID tokens, so their issuer is not checked.",
            hint="Set OIDC_OP_ISSUER to the issuer in the provider's metadata.",
            id="django_tmibff.W004",
        )
    ]


def check_callback(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W007: a callback that signs users out whenever another site sends them there (E9)."""
    if not hasattr(django_settings, "OIDC_OP_AUTHORIZATION_ENDPOINT"):
        return []
    if _is_subclass(getattr(django_settings, "OIDC_CALLBACK_CLASS", ""), OIDCCallbackView):
        return []
    return [
        CheckWarning(
            "mozilla-django-oidc's callback signs users out whenever a provider refuses, or"
            " another site sends them there, and fails with SESSION_COOKIE_SAMESITE = 'Strict'.",
            hint="Add to your settings:"
            ' OIDC_CALLBACK_CLASS = "django_tmibff.views.OIDCCallbackView"',
            id="django_tmibff.W007",
        )
    ]


def check_fast_path(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W008: ``WarmTokenMiddleware`` is there, and steps aside."""
    if middleware.PATH not in django_settings.MIDDLEWARE:
        return []
    sentences = list(middleware.obstacles())
    if settings.user_check_seconds and not _store_uses_cache():
        sentences.append("TMIBFF_USER_CHECK_SECONDS needs a store with a cache.")
    return [
        CheckWarning(
            f"The fast path is not taken: {sentence}",
            hint="See docs/fast-path.md, or take WarmTokenMiddleware out of MIDDLEWARE.",
            id="django_tmibff.W008",
        )
        for sentence in sentences
    ]


def check_session_engine(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W006: the sessions cannot be ended from elsewhere."""
    if django_settings.SESSION_ENGINE != "django.contrib.sessions.backends.signed_cookies":
        return []
    return [
        CheckWarning(
            "A session that lives in its cookie cannot be ended from elsewhere: after a logout at"
            " the provider the page gets no more tokens, but the user stays signed in here.",
            hint='Set SESSION_ENGINE to "django.contrib.sessions.backends.db", or to another one'
            " that keeps sessions on the server.",
            id="django_tmibff.W006",
        )
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


CHECKS: Iterable[tuple[Check, dict[str, Any]]] = (
    (check_session_refresh, {}),
    (check_settings_usable, {}),
    (check_oidc, {}),
    (check_other_backends, {}),
    (check_signing_algorithms, {}),
    (check_cache, {}),
    (check_session_cookie, {}),
    (check_session_cookie_secure, {"deploy": True}),
    (check_pkce, {}),
    (check_issuer, {}),
    (check_callback, {}),
    (check_fast_path, {}),
    (check_session_engine, {}),
    (check_setting_names, {}),
)


def _is_subclass(path: str, base: type) -> bool:
    """Return whether that dotted path leads to ``base``, or a class that is made of it."""
    try:
        found = import_string(path)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, base)


def _is_exempt(name: str) -> bool:
    exempt = getattr(django_settings, "OIDC_EXEMPT_URLS", [])
    try:
        path = reverse(name)
    except NoReverseMatch:
        return False
    patterns = (url for url in exempt if isinstance(url, re.Pattern))
    return name in exempt or path in exempt or any(p.match(path) for p in patterns)


def _uses_secret() -> bool:
    try:
        return settings.provider().uses_secret
    except ImproperlyConfigured:
        return False  # That is E002's.


def _sign_in_providers() -> Iterable[Provider]:
    return [provider for provider in settings.providers if provider.authorization_endpoint]


def _missing_of_providers() -> Iterable[str]:
    for provider in _sign_in_providers():
        if not provider.is_default:
            for member in provider.missing_for_sign_in:
                yield settings.name_of(member, provider.name)


def _oidc_needed() -> Iterable[str]:
    """Return the settings without which mozilla-django-oidc raises, or signs nobody in."""
    yield from OIDC_NEEDED
    if _uses_secret():
        yield "OIDC_RP_CLIENT_SECRET"
    by_key = getattr(django_settings, "OIDC_RP_SIGN_ALGO", "HS256").startswith(("RS", "ES"))
    if by_key and getattr(django_settings, "OIDC_RP_IDP_SIGN_KEY", None) is None:
        yield "OIDC_OP_JWKS_ENDPOINT"


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


def _store_uses_cache() -> bool:
    try:
        return stores.current().uses_cache
    except ImproperlyConfigured:
        return True  # That is E002's.


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


def _unsafe_cookie_settings() -> list[str]:
    names = []
    if not django_settings.SESSION_COOKIE_SECURE:
        names.append("SESSION_COOKIE_SECURE")
    if not django_settings.SESSION_COOKIE_HTTPONLY:
        names.append("SESSION_COOKIE_HTTPONLY")
    if django_settings.SESSION_COOKIE_SAMESITE not in ("Lax", "Strict"):
        names.append("SESSION_COOKIE_SAMESITE")
    return names


def _cookie_warning(name: str) -> CheckWarning:
    value = '"Lax" or "Strict"' if name.endswith("SAMESITE") else "True"
    return CheckWarning(
        f"{name} leaves the session cookie open: who has it can fetch the user's access tokens.",
        hint=f"Add to your settings: {name} = {value}",
        id="django_tmibff.W001",
    )


def _did_you_mean(name: str) -> str:
    [close] = get_close_matches(name, DEFAULTS, n=1) or [""]
    return f"Did you mean {close}?" if close else "See Settings in the README."
