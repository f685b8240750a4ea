"""The endpoints: parse, call one verb, render. And the sign-in's callback."""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.utils.decorators import method_decorator
from django.utils.module_loading import import_string
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from . import http, logout, resource_requests, sign_in, states, tokens
from .conf import DEFAULT_PROVIDER, Provider, settings
from .exceptions import InvalidRequest

logger = logging.getLogger(__name__)

# What the settings may switch off for mozilla-django-oidc's own provider only.
_ALWAYS = ("OIDC_USE_PKCE", "OIDC_USE_NONCE")

FORM = "application/x-www-form-urlencoded"

# Reloads itself: nothing in it comes from the query, and the reload's referrer must not carry it.
_RELOAD_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signing in</title>'
    '<meta http-equiv="refresh" content="0"></head><body></body></html>'
)
_RELOAD_HEADERS = {
    "Cache-Control": "no-cache, no-store, private",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@http.endpoint("GET", "POST")
def bff_token(request: HttpRequest) -> HttpResponse:
    """Answer with an access token: stored, or newly obtained with the refresh token (R1-R6)."""
    resources, scope = _parameters(request)
    token = tokens.get(request, resources, scope, refused=request.headers.get("TMIBFF-Refused"))
    data = {
        "access_token": token.value,
        "token_type": token.token_type,
        "expires_in": token.expires_in,
        "scope": token.scope,
    }
    return http.answer({name: value for name, value in data.items() if value is not None})


@http.endpoint("GET")
def bff_sessioninfo(request: HttpRequest) -> HttpResponse:
    """Answer who is signed in (S1, S3)."""
    session_info = import_string(settings.session_info)
    return http.answer(session_info(request))


@http.endpoint("POST")
def bff_logout(request: HttpRequest) -> HttpResponse:
    """End the session, and answer where to navigate to sign out at the provider too (B5)."""
    chosen = getattr(django_settings, "OIDC_OP_LOGOUT_URL_METHOD", None)
    end_session_url = import_string(chosen) if chosen else logout.end_session_url
    url = end_session_url(request)
    auth.logout(request)
    return http.answer({"logout_url": url})


@http.from_elsewhere("POST")
def backchannel_logout(request: HttpRequest) -> HttpResponse:
    """End the sessions that the provider's logout token names (Back-Channel Logout 1.0 §2.8)."""
    try:
        logout.back_channel(_form(request).get("logout_token", ""))
    except logout.LogoutTokenRefused as refused:
        logger.warning("logout token refused: %s", refused)
        raise InvalidRequest(f"The logout token was refused: {refused}.") from refused
    return http.answer({})


@method_decorator(login_not_required, name="dispatch")
class OIDCRequestView(OIDCAuthenticationRequestView):
    """mozilla-django-oidc's authorization request, for ``OIDC_AUTHENTICATE_CLASS`` too.

    ``?provider=name`` signs in at one of ``TMIBFF_PROVIDERS``. It names the resources where the
    provider is to hear of them at sign-in.
    """

    provider: Provider | None = None

    def get_settings(  # type: ignore[override]  # theirs knows no provider, and is static
        self, attr: str, *args: Any
    ) -> Any:
        """Return the setting; providers beside the default one always get PKCE and a nonce (B1)."""
        if attr in _ALWAYS and self.provider is not None and not self.provider.is_default:
            return True
        return OIDCAuthenticationRequestView.get_settings(attr, *args)

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        """Find the provider; raises ``Http404`` where there is none."""
        super().setup(request, *args, **kwargs)
        self.provider = _sign_in_provider(request.GET.get("provider", DEFAULT_PROVIDER))
        if not self.provider.is_default:
            self.OIDC_OP_AUTH_ENDPOINT = self.provider.authorization_endpoint
            self.OIDC_RP_CLIENT_ID = self.provider.client_id

    def get_extra_params(self, request: HttpRequest) -> Mapping[str, Any]:
        """Return what the request says beside what mozilla-django-oidc puts into it."""
        if self.provider is None or self.provider.is_default:
            extra: Mapping[str, Any] = super().get_extra_params(request)
            return extra
        return {
            "scope": self.provider.scope,
            **self.provider.authorization_params,
            "redirect_uri": sign_in.callback_url(request, self.provider),
        }

    def get(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = super().get(request)
        provider = self.provider or settings.provider()
        if not provider.is_default:
            [state] = parse_qs(urlsplit(response["Location"]).query)["state"]
            states.keep(request, state, provider.name)
        resources = resource_requests.at_sign_in(provider)
        if resources:
            # mozilla-django-oidc's own parameters cannot be repeated.
            response["Location"] += f"&{urlencode(resources)}"
        return response


@method_decorator(login_not_required, name="dispatch")
class OIDCCallbackView(OIDCAuthenticationCallbackView):
    """mozilla-django-oidc's callback, for ``OIDC_CALLBACK_CLASS``: strict cookies work (E9).

    With ``SESSION_COOKIE_SAMESITE = "Strict"`` the provider's redirect arrives without the
    session. A page that reloads itself from our own site brings it along. There is no loop: the
    reload is not cross-site any more.
    """

    def get(self, request: HttpRequest, provider: str = DEFAULT_PROVIDER) -> HttpResponse:
        found = _sign_in_provider(provider)
        if not _state_is_known(request, found):
            if request.headers.get("Sec-Fetch-Site") == "cross-site":
                return HttpResponse(_RELOAD_PAGE, headers=_RELOAD_HEADERS)
            # Any site can send a browser here with an error: that must not sign anybody out.
            return self._failure()
        if not {"code", "error"} & set(request.GET):
            return self._failure()
        sign_in.begin(request, found)
        if not found.is_default:
            states.give_back(request)
        response: HttpResponse = super().get(request)
        return response

    def _failure(self) -> HttpResponse:
        failure: HttpResponse = self.login_failure()
        return failure


def _sign_in_provider(name: str) -> Provider:
    """Return the provider where somebody signs in; raises ``Http404`` where nobody can."""
    is_named = name in (DEFAULT_PROVIDER, *settings.provider_names)
    provider = settings.find_provider(name) if is_named else None
    if provider is None:
        raise Http404("There is no such provider.")
    if not provider.is_default and provider.missing_for_sign_in:
        missing = f"TMIBFF_PROVIDERS lacks its {', '.join(provider.missing_for_sign_in)}"
        logger.error("provider %s is not set up: %s", name, missing)
        raise Http404("Nobody can sign in at this provider.")
    return provider


def _state_is_known(request: HttpRequest, provider: Provider) -> bool:
    if not provider.is_default:
        return states.is_known(request, provider.name)
    return request.GET.get("state") in (request.session.get("oidc_states") or {})


def _form(request: HttpRequest) -> QueryDict:
    # A POST without a body needs no media type.
    if request.content_type != FORM and (request.content_type or request.body):
        raise InvalidRequest(f"The request's media type must be {FORM}.")
    return request.POST


def _parameters(request: HttpRequest) -> tuple[list[str], str]:
    """Return the resources and the scope that are asked for (T1-T4)."""
    sent = _form(request) if request.method == "POST" else request.GET
    scopes = list(filter(None, sent.getlist("scope")))
    if len(scopes) > 1:
        raise InvalidRequest("scope may be sent only once.")
    return list(filter(None, sent.getlist("resource"))), scopes[0] if scopes else ""
