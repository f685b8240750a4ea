"""The sign-in with OpenID Connect, and what it brings (PROTOCOL B)."""

import inspect
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Info
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from ..backends import OIDCAuthenticationBackend
from ..conf import Provider, settings
from ..views import OIDCCallbackView
from .helpers import SECURITY, Checks, is_subclass, oidc_is_used, sign_in_providers

OIDC_NEEDED = (
    "OIDC_OP_AUTHORIZATION_ENDPOINT",
    "OIDC_OP_TOKEN_ENDPOINT",
    "OIDC_OP_USER_ENDPOINT",
    "OIDC_RP_CLIENT_ID",
)

# Hosts of providers that give a refresh token only for the scope offline_access: Entra ID (with
# External ID and B2C), Auth0, Okta, ZITADEL and Ory Network. See docs/providers.md.
_WANT_OFFLINE_ACCESS = re.compile(
    r"login\.microsoftonline\.(com|us)|login\.partner\.microsoftonline\.cn"
    r"|.+\.(ciamlogin|b2clogin|auth0|okta|oktapreview|okta-emea)\.com"
    r"|.+\.zitadel\.cloud|.+\.oryapis\.com"
)
_GOOGLE = "accounts.google.com"

# What makes a new user where the project has nothing of its own.
_USUAL = (MozillaBackend.create_user, OIDCAuthenticationBackend.create_user)

_WHERE_FROM = "manage.py tmibff_discover prints the settings for your provider."


def check_oidc(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E004, W005: a sign-in with OpenID Connect that would not work, or keep no tokens."""
    if not settings.uses_oidc:
        return []
    missing = [name for name in _oidc_needed() if not getattr(django_settings, name, None)]
    messages: list[CheckMessage] = [
        Error(f"{name} is not set.", hint=f"Set {name}. {_WHERE_FROM}", id="django_tmibff.E004")
        for name in (*missing, *_missing_of_providers())
    ]
    if not _has_backend(OIDCAuthenticationBackend):
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
    if not _has_backend(OIDCAuthenticationBackend):
        return []
    return [
        Error(
            f"{path} would be given authorization codes too, and knows nothing of our checks.",
            hint="Take it out of AUTHENTICATION_BACKENDS: ours does what it does.",
            id="django_tmibff.E006",
        )
        for path in django_settings.AUTHENTICATION_BACKENDS
        if is_subclass(path, MozillaBackend) and not is_subclass(path, OIDCAuthenticationBackend)
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
        for provider in sign_in_providers()
        if not re.fullmatch("(HS|RS|ES)(256|384|512)", provider.signing_alg)
    ]


def check_pkce(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W002: the sign-in is without PKCE (B1)."""
    if not oidc_is_used() or getattr(django_settings, "OIDC_USE_PKCE", False):
        return []
    return [
        CheckWarning(
            "The sign-in uses no PKCE.",
            hint="Add to your settings: OIDC_USE_PKCE = True",
            id="django_tmibff.W002",
        )
    ]


def check_pkce_method(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W014: who reads the authorization request can redeem the code (B1, RFC 7636 §7.2)."""
    method = getattr(django_settings, "OIDC_PKCE_CODE_CHALLENGE_METHOD", "S256")
    if not oidc_is_used() or method == "S256":
        return []
    return [
        CheckWarning(
            f"PKCE's method is {method!r}: the authorization request shows what is to be secret.",
            hint="Take OIDC_PKCE_CODE_CHALLENGE_METHOD out of your settings.",
            id="django_tmibff.W014",
        )
    ]


def check_issuer(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W004: the issuer of ID tokens is not checked (B6)."""
    if not oidc_is_used() or getattr(django_settings, "OIDC_OP_ISSUER", None):
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
    if not oidc_is_used():
        return []
    if is_subclass(getattr(django_settings, "OIDC_CALLBACK_CLASS", ""), OIDCCallbackView):
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


def check_refresh_tokens(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W015: this provider is known to give no refresh token for what the sign-in asks."""
    found = ((provider, _missing_for_refresh(provider)) for provider in sign_in_providers())
    return [
        CheckWarning(
            f"{_host(provider)} gives no refresh token for what the sign-in asks: when the first"
            " access token has expired, people have to sign in again.",
            hint=missing,
            id="django_tmibff.W015",
        )
        for provider, missing in found
        if missing
    ]


def check_timeout(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W017: a provider that hangs at sign-in would hold a worker for good."""
    waits = _has_backend(MozillaBackend) and not _has_backend(OIDCAuthenticationBackend)
    if not waits or getattr(django_settings, "OIDC_TIMEOUT", None) is not None:
        return []
    return [
        CheckWarning(
            "Without OIDC_TIMEOUT a sign-in waits for the provider as long as that takes.",
            hint="Set OIDC_TIMEOUT = 10, or use django_tmibff.backends.OIDCAuthenticationBackend.",
            id="django_tmibff.W017",
        )
    ]


def check_new_users(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W018: the user model has a manager that cannot make a user as mozilla-django-oidc does."""
    may_create = getattr(django_settings, "OIDC_CREATE_USER", True)
    if not (may_create and oidc_is_used()) or _makes_users(get_user_model()):
        return []
    return [
        CheckWarning(
            f"{django_settings.AUTH_USER_MODEL}'s manager takes no create_user(username, email=…):"
            f" whoever signs in with {path} for the first time gets an error page.",
            hint=f"Derive a backend from {path} with a create_user(self, claims) of your own, and"
            " name it in AUTHENTICATION_BACKENDS instead; or set OIDC_CREATE_USER = False.",
            id="django_tmibff.W018",
        )
        for path in django_settings.AUTHENTICATION_BACKENDS
        if is_subclass(path, MozillaBackend) and import_string(path).create_user in _USUAL
    ]


def check_revocation(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """I003: refresh tokens live on after a sign-out (B4)."""
    return [
        Info(
            f"At {_host(provider)} the refresh token lives on after a sign-out.",
            hint=f"Set {settings.name_of('revocation_endpoint', provider.name)} to the"
            " revocation_endpoint in the provider's metadata, where it has one.",
            id="django_tmibff.I003",
        )
        for provider in sign_in_providers()
        if not provider.revocation_endpoint
    ]


CHECKS: Checks = (
    (check_oidc, {}),
    (check_other_backends, SECURITY),
    (check_signing_algorithms, {}),
    (check_pkce, SECURITY),
    (check_pkce_method, SECURITY),
    (check_issuer, SECURITY),
    (check_callback, SECURITY),
    (check_refresh_tokens, {}),
    (check_timeout, {}),
    (check_new_users, {}),
    (check_revocation, {**SECURITY, "deploy": True}),
)


def _makes_users(model: Any) -> bool:
    """Return whether the manager can be called as mozilla-django-oidc calls it."""
    try:
        inspect.signature(model.objects.create_user).bind("name", email="address")
    except (AttributeError, TypeError):
        return False
    return True


def _uses_secret() -> bool:
    try:
        return settings.provider().uses_secret
    except ImproperlyConfigured:
        return False  # That is E002's.


def _missing_of_providers() -> Iterable[str]:
    for provider in sign_in_providers():
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


def _has_backend(base: type) -> bool:
    """Return whether an authentication backend is ``base``, or made of it."""
    return any(is_subclass(path, base) for path in django_settings.AUTHENTICATION_BACKENDS)


def _host(provider: Provider) -> str:
    return urlsplit(provider.authorization_endpoint or "").hostname or provider.name


def _missing_for_refresh(provider: Provider) -> str:
    """Return what the sign-in lacks for a refresh token from a provider that is known; or empty."""
    host = _host(provider)
    if host == _GOOGLE and provider.authorization_params.get("access_type") != "offline":
        name = settings.name_of("authorization_params", provider.name)
        return f'Add "access_type": "offline" to {name}.'
    if _WANT_OFFLINE_ACCESS.fullmatch(host) and "offline_access" not in provider.scope.split():
        return f"Add offline_access to {settings.name_of('scope', provider.name)}."
    return ""
