"""The session and its cookie: who has them has the tokens (E9)."""

from typing import Any

from django.conf import settings as django_settings
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.core.checks import CheckMessage, Error, Info
from django.core.checks import Warning as CheckWarning

from .helpers import SECURITY, Checks, is_subclass


def check_session_cookie(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001: who has the session cookie can fetch the tokens (E9)."""
    unsafe = [name for name in _unsafe_cookie_settings() if name != "SESSION_COOKIE_SECURE"]
    return [_cookie_warning(name) for name in unsafe]


def check_session_cookie_secure(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001 for ``SESSION_COOKIE_SECURE``, which a developer's own machine may do without (E9)."""
    unsafe = [name for name in _unsafe_cookie_settings() if name == "SESSION_COOKIE_SECURE"]
    return [_cookie_warning(name) for name in unsafe]


def check_session_cookie_path(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E009: browsers do not send the session cookie to the endpoints (E1, E9)."""
    if django_settings.SESSION_COOKIE_PATH == "/":
        return []
    return [
        Error(
            f"SESSION_COOKIE_PATH is {django_settings.SESSION_COOKIE_PATH!r}, and the endpoints are"
            " at the site's root: they never see a session.",
            hint='Set SESSION_COOKIE_PATH = "/", or take it out of your settings.',
            id="django_tmibff.E009",
        )
    ]


def check_session_cookie_domain(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W013: other hosts get the session cookie (E9)."""
    if not django_settings.SESSION_COOKIE_DOMAIN:
        return []
    return [
        CheckWarning(
            "With SESSION_COOKIE_DOMAIN the session cookie goes to every subdomain, and who runs"
            " one of them can fetch the user's access tokens.",
            hint="Take SESSION_COOKIE_DOMAIN out of your settings.",
            id="django_tmibff.W013",
        )
    ]


def check_session_cookie_name(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """I001: a subdomain, or plain http, could plant a session cookie (E9)."""
    if django_settings.SESSION_COOKIE_NAME.startswith(("__Host-", "__Http-", "__Host-Http-")):
        return []
    return [
        Info(
            "Another host of the same site can give a user its own session cookie.",
            hint='Set SESSION_COOKIE_NAME = "__Host-sessionid": browsers then take it from this'
            " host over https only. Everybody has to sign in again.",
            id="django_tmibff.I001",
        )
    ]


def check_session_engine(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W006: the sessions cannot be ended from elsewhere."""
    if not is_subclass(f"{django_settings.SESSION_ENGINE}.SessionStore", SignedCookies):
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


def check_tokens_in_session(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W009: mozilla-django-oidc keeps tokens in the session too."""
    names = ("OIDC_STORE_ACCESS_TOKEN", "OIDC_STORE_ID_TOKEN")
    return [
        CheckWarning(
            f"With {name} the session holds a token as it is: in the clear, and never renewed.",
            hint=f"Take {name} out of your settings; django_tmibff.tokens.get() gives your code"
            " access tokens that work.",
            id="django_tmibff.W009",
        )
        for name in names
        if getattr(django_settings, name, False)
    ]


CHECKS: Checks = (
    (check_session_cookie, SECURITY),
    (check_session_cookie_secure, {**SECURITY, "deploy": True}),
    (check_session_cookie_path, {}),
    (check_session_cookie_domain, SECURITY),
    (check_session_cookie_name, {**SECURITY, "deploy": True}),
    (check_session_engine, SECURITY),
    (check_tokens_in_session, SECURITY),
)


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
        f"{name} is not {value}: who has the session cookie can fetch the user's access tokens.",
        hint=f"Add to your settings: {name} = {value}",
        id="django_tmibff.W001",
    )
