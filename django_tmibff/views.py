"""The endpoints: parse, call one verb, render. And the sign-in's callback."""

import logging
from urllib.parse import urlencode

from django.conf import settings as django_settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.module_loading import import_string
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from . import http, logout, resource_requests, tokens
from .conf import settings
from .exceptions import InvalidRequest

logger = logging.getLogger(__name__)

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


class OIDCRequestView(OIDCAuthenticationRequestView):
    """mozilla-django-oidc's authorization request, for ``OIDC_AUTHENTICATE_CLASS``.

    It names the resources too, where the provider is to hear of them at sign-in.
    """

    def get(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = super().get(request)
        resources = resource_requests.at_sign_in(settings.provider())
        if resources:
            # mozilla-django-oidc's own parameters cannot be repeated.
            response["Location"] += f"&{urlencode(resources)}"
        return response


class OIDCCallbackView(OIDCAuthenticationCallbackView):
    """mozilla-django-oidc's callback, for ``OIDC_CALLBACK_CLASS``: strict cookies work (E9).

    With ``SESSION_COOKIE_SAMESITE = "Strict"`` the provider's redirect arrives without the
    session. A page that reloads itself from our own site brings it along. There is no loop: the
    reload is not cross-site any more.
    """

    def get(self, request: HttpRequest) -> HttpResponse:
        if _arrived_without_session(request):
            return HttpResponse(_RELOAD_PAGE, headers=_RELOAD_HEADERS)
        # Any site can send a browser here with an error: that must not sign anybody out.
        if not _state_is_known(request):
            failure: HttpResponse = self.login_failure()
            return failure
        response: HttpResponse = super().get(request)
        return response


def _arrived_without_session(request: HttpRequest) -> bool:
    cross_site = request.headers.get("Sec-Fetch-Site") == "cross-site"
    return cross_site and not _state_is_known(request)


def _state_is_known(request: HttpRequest) -> bool:
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
