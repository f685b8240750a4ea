"""Whether the endpoints are where pages look for them, and nothing stands before them (E)."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils.translation import override
from mozilla_django_oidc.middleware import SessionRefresh

from .. import middleware
from ..conf import settings
from .helpers import SECURITY, Checks, is_subclass, oidc_is_used, store_uses_cache

PATHS = {
    "tmibff-token": "/.well-known/bff-token",
    "tmibff-sessioninfo": "/.well-known/bff-sessioninfo",
}
_CALLBACK = "oidc_authentication_callback"
_CORS = "corsheaders.middleware.CorsMiddleware"


def check_session_refresh(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001: ``SessionRefresh`` answers before any view, with a redirect (E11)."""
    if not any(is_subclass(path, SessionRefresh) for path in django_settings.MIDDLEWARE):
        return []
    missing = [name for name in PATHS if not _is_exempt(name)]
    if not missing:
        return []
    return [
        Error(
            f"SessionRefresh would redirect a page's calls to {' and '.join(missing)}.",
            hint=f"Add to your settings: OIDC_EXEMPT_URLS = {list(PATHS)!r}",
            id="django_tmibff.E001",
        )
    ]


def check_paths(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E007, E008, W011: something else, or nothing, is where pages look for the endpoints (E1)."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return []
    problems = (_path_problem(name, path) for name, path in PATHS.items())
    return [problem for problem in (*problems, _callback_problem()) if problem is not None]


def check_callback_language(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W019: the sign-in's callback has another path for each language (B1)."""
    paths = _callbacks_of_languages() if oidc_is_used() else set()
    if len(paths) < 2:
        return []
    return [
        CheckWarning(
            "The sign-in's callback has another path for each language, such as"
            f" {' and '.join(sorted(paths))}: a provider sends nobody to one that is not"
            " registered there.",
            hint="Include mozilla_django_oidc.urls outside of i18n_patterns.",
            id="django_tmibff.W019",
        )
    ]


def check_script_name(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W012: the site is not at its host's root, and the endpoints have to be (E1)."""
    prefix = (django_settings.FORCE_SCRIPT_NAME or "").rstrip("/")
    if not prefix:
        return []
    return [
        CheckWarning(
            f"FORCE_SCRIPT_NAME puts this site below {prefix}, and pages look for the endpoints at"
            " the host's root.",
            hint=f"Let the proxy hand {' and '.join(PATHS.values())} over to this site too: see"
            " docs/deployment.md. Then silence this check.",
            id="django_tmibff.W012",
        )
    ]


def check_cors(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W010: django-cors-headers answers preflights of the endpoints (E4)."""
    if _CORS not in django_settings.MIDDLEWARE:
        return []
    pattern = getattr(django_settings, "CORS_URLS_REGEX", r"^.*$")
    with suppress(re.error, TypeError):  # Those are corsheaders' own to report.
        if not any(re.match(pattern, path) for path in PATHS.values()):
            return []
    return [
        CheckWarning(
            "django-cors-headers tells other origins that they may call the endpoints, which then"
            " refuse them.",
            hint='Let CORS_URLS_REGEX match your API alone, such as r"^/api/".',
            id="django_tmibff.W010",
        )
    ]


def check_fast_path(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W008: ``WarmTokenMiddleware`` is there, and steps aside; or a setting of it is in vain."""
    if middleware.PATH not in django_settings.MIDDLEWARE:
        return []
    problems = [
        (
            f"The fast path is not taken: {sentence}",
            "See docs/fast-path.md, or take WarmTokenMiddleware out of MIDDLEWARE.",
        )
        for sentence in _obstacles_of_fast_path()
    ]
    if settings.user_check_seconds and not store_uses_cache(unless_known=True):
        problems.append(
            (
                "TMIBFF_USER_CHECK_SECONDS means nothing: it needs a store with a cache.",
                'Set TMIBFF_STORE to "django_tmibff.stores.cached_db", or take it out.',
            )
        )
    return [CheckWarning(said, hint=hint, id="django_tmibff.W008") for said, hint in problems]


CHECKS: Checks = (
    (check_session_refresh, {}),
    (check_paths, {}),
    (check_callback_language, {}),
    (check_script_name, {}),
    (check_cors, SECURITY),
    (check_fast_path, {}),
)


def _obstacles_of_fast_path() -> Iterable[str]:
    # Anything else is E002's, and nothing that could be looked through.
    return middleware.obstacles() if isinstance(settings.warm_skips, Iterable) else []


def _is_exempt(name: str) -> bool:
    exempt = getattr(django_settings, "OIDC_EXEMPT_URLS", [])
    try:
        path = reverse(name)
    except NoReverseMatch:
        return False
    patterns = (url for url in exempt if isinstance(url, re.Pattern))
    return name in exempt or path in exempt or any(p.match(path) for p in patterns)


def _path_problem(name: str, path: str) -> CheckMessage | None:
    try:
        found = reverse(name)
    except NoReverseMatch:
        return _unnamed(name, 'path("", include("django_tmibff.urls"))')
    at_root = "/" + found.removeprefix(get_script_prefix())
    if at_root != path:
        return Error(
            f"Pages look for {name} at {path}, and it is at {at_root}.",
            hint='Include it at the root, outside of i18n_patterns: path("",'
            ' include("django_tmibff.urls"))',
            id="django_tmibff.E007",
        )
    if _answers(path) != name:
        return _hidden(f"{path}, before the endpoint does", "django_tmibff.urls")
    return None


def _callback_problem() -> CheckMessage | None:
    """Return why nobody comes back from the provider, if something else is there, or nothing."""
    if not oidc_is_used():
        return None
    name = _callback_name()
    try:
        path = reverse(name)
    except NoReverseMatch:
        return _unnamed(name, 'path("oidc/", include("mozilla_django_oidc.urls"))')
    if _answers("/" + path.removeprefix(get_script_prefix())) == name:
        return None
    return _hidden(f"{path}, before the sign-in's callback does", "mozilla_django_oidc.urls")


def _callback_name() -> str:
    return getattr(django_settings, "OIDC_AUTHENTICATION_CALLBACK_URL", _CALLBACK)


def _callbacks_of_languages() -> set[str]:
    paths = set()
    for code, _ in django_settings.LANGUAGES[:2]:  # At most one of two goes without a prefix.
        with override(code), suppress(NoReverseMatch):  # That is W011's.
            paths.add(reverse(_callback_name()))
    return paths


def _unnamed(name: str, urls: str) -> CheckMessage:
    return CheckWarning(
        f"No path of this site is named {name}.",
        hint=f"Add to your paths, at the root: {urls}",
        id="django_tmibff.W011",
    )


def _hidden(what: str, urls: str) -> CheckMessage:
    return Error(
        f"Another route answers at {what}.",
        hint=f"Let {urls} come before routes that take every path.",
        id="django_tmibff.E008",
    )


def _answers(path: str) -> str | None:
    try:
        return resolve(path).view_name
    except Resolver404:
        return None
