"""The endpoints: parse, call one verb, render. And the sign-in's callback."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.conf import settings as django_settings
from django.contrib import auth
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import resolve_url
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.module_loading import import_string
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from . import authorization, dpop, http, logout, policy, sessioninfo, sign_in, states, tokens
from .client_auth import Parameters
from .conf import DEFAULT_PROVIDER, Provider, settings
from .contents import AccessToken
from .exceptions import InvalidRequest, TokenError, forgets_locals

logger = logging.getLogger(__name__)

# What the settings may switch off for mozilla-django-oidc's own provider only.
_ALWAYS = ("OIDC_USE_PKCE", "OIDC_USE_NONCE")
_NEEDED = ("OIDC_OP_AUTHORIZATION_ENDPOINT", "OIDC_RP_CLIENT_ID")

# In seconds since the epoch: later than any session.
_NEVER = 2**40

FORM = "application/x-www-form-urlencoded"

_RELOAD_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signing in</title>'
    '<meta http-equiv="refresh" content="{}"></head><body></body></html>'
)
# The callback's query is in the page's address: the reload's referrer must not carry it.
_RELOAD_HEADERS = {
    "Cache-Control": "no-cache, no-store, private",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


@http.endpoint("GET", "POST")
def bff_token(request: HttpRequest) -> HttpResponse:
    """Answer with an access token: stored, or newly obtained with the refresh token (R1-R6)."""
    resources, scope = parameters_of(request)
    try:
        refused, proof = (http.header(request, name) for name in ("TMIBFF-Refused", dpop.HEADER))
        token = tokens.get(request, resources, scope, refused=refused, proof=proof)
    except TokenError as error:
        error.sign_in_parameters = authorization.for_token(resources, scope)
        raise
    return token_answer(token)


def token_answer(token: AccessToken) -> HttpResponse:
    """Return the answer that hands ``token`` out (R1-R5)."""
    data = {
        "access_token": token.value,
        "token_type": token.token_type,
        "expires_in": token.expires_in,
        "scope": token.scope,
        "origins": policy.origins(token.key) or None,
    }
    return http.answer({name: value for name, value in data.items() if value is not None})


@http.endpoint("GET")
def bff_sessioninfo(request: HttpRequest) -> HttpResponse:
    """Answer who is signed in (S1, S3)."""
    session_info = import_string(settings.session_info)
    return http.answer({**session_info(request), **sessioninfo.for_proofs(request)})


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
    """Sends the user to sign in: ``/bff/login``, and for ``OIDC_AUTHENTICATE_CLASS`` too.

    It is mozilla-django-oidc's authorization request, with what a page of ours asks for.
    """

    provider: Provider | None = None
    asked = authorization.SignInRequest()
    parameters: Mapping[str, Any] = MappingProxyType({})

    def get_settings(  # type: ignore[override]  # theirs knows no provider, and is static
        self, attr: str, *args: Any
    ) -> Any:
        """Return the setting; providers beside the default one always get PKCE and a nonce (B1)."""
        if attr in _ALWAYS and self.provider is not None and not self.provider.is_default:
            return True
        if attr in _NEEDED:
            args = (None,)  # A site without OpenID Connect has nothing here, and that is no error.
        return OIDCAuthenticationRequestView.get_settings(attr, *args)

    def get(self, request: HttpRequest) -> HttpResponse:
        return http.answered(self._begin, request)

    def get_extra_params(self, request: HttpRequest) -> Mapping[str, Any]:
        """Return what the request says beside what mozilla-django-oidc puts into it."""
        return self.parameters

    def _begin(self, request: HttpRequest) -> HttpResponse:
        http.check_not_speculative(request)
        http.check_navigation(request)
        self.asked = authorization.parse(request)
        if http.leaves_session_behind(request):
            # A new session's cookie would take the place of the one that was not sent.
            return _reload(authorization.from_our_own_site(request, self.asked))
        found = _provider(self.asked.provider)
        if (elsewhere := _own_sign_in(found, self.asked)) is not None:
            return elsewhere
        self.provider = provider = _for_sign_in(found)
        self.parameters, repeated = authorization.parameters(request, provider, self.asked)
        if not provider.is_default:
            self.OIDC_OP_AUTH_ENDPOINT = provider.authorization_endpoint
            self.OIDC_RP_CLIENT_ID = provider.client_id
            redirect_uri = sign_in.callback_url(request, provider)
            self.parameters = {**self.parameters, "redirect_uri": redirect_uri}
        states.make_room(request)
        response: HttpResponse = super().get(request)
        self._remember(request, response, provider, repeated)
        if repeated:
            # mozilla-django-oidc's own parameters cannot be repeated.
            response["Location"] += f"&{urlencode(repeated)}"
        return response

    def _remember(
        self,
        request: HttpRequest,
        response: HttpResponse,
        provider: Provider,
        repeated: Parameters,
    ) -> None:
        asked = self.asked
        request.session["oidc_login_next"] = asked.next or None
        [state] = parse_qs(urlsplit(response["Location"]).query)["state"]
        is_silent = "none" in str(self.parameters.get("prompt", "")).split()
        resources = tuple(value for name, value in repeated if name == "resource")
        begun = states.Begun(asked.next, asked.by_own_page, asked.max_age, is_silent, resources)
        states.keep(request, state, provider, begun)


@method_decorator(login_not_required, name="dispatch")
@method_decorator(http.outside_transactions, name="dispatch")
class OIDCCallbackView(OIDCAuthenticationCallbackView):
    """mozilla-django-oidc's callback, for ``OIDC_CALLBACK_CLASS``: strict cookies work (E9).

    With ``SESSION_COOKIE_SAMESITE = "Strict"`` the provider's redirect arrives without the
    session. A page that reloads itself from our own site brings it along. There is no loop: the
    reload is not cross-site any more.

    What the provider refuses is told to the page that has asked, and signs nobody out.
    """

    next: str | None = None

    @property
    def success_url(self) -> str:
        """Where to go after this very sign-in: the session may have begun others, or be new."""
        if self.next is None:
            return str(super().success_url)
        return self.next or resolve_url(django_settings.LOGIN_REDIRECT_URL)

    @forgets_locals
    def get(self, request: HttpRequest, provider: str = DEFAULT_PROVIDER) -> HttpResponse:
        try:
            return self._returned(request, provider)
        finally:
            sign_in.forget_code(request)

    def _returned(self, request: HttpRequest, provider: str) -> HttpResponse:
        found = _for_sign_in(_provider(provider))
        if not states.is_known(request, found):
            if http.header(request, "Sec-Fetch-Site") == "cross-site":
                return _reload()
            # Any site can send a browser here with an error: that must not sign anybody out.
            return self._failure()
        if not {"code", "error"} & set(request.GET):
            return self._failure()
        begun = states.begun(request, found)
        if begun is not None and "error" in request.GET:
            states.use_up(request, found)
            return self._refused(request, begun)
        self.next = None if begun is None else begun.next
        sign_in.begin(
            request,
            found,
            max_age=None if begun is None else begun.max_age,
            resources=() if begun is None else begun.resources,
            # SessionRefresh's own are silent too.
            lifts_pin=begun is not None and not begun.is_silent and http.is_top_level(request),
        )
        states.hand_over(request, found)
        response: HttpResponse = super().get(request)
        if not found.is_default and getattr(self, "user", None):
            # SessionRefresh would send them to the default provider, as whoever they are there.
            request.session["oidc_id_token_expiration"] = _NEVER
        return response

    def _refused(self, request: HttpRequest, begun: states.Begun) -> HttpResponse:
        error = authorization.error_of(request)
        logger.info("sign-in not granted: %s", error)
        if not (begun.next and begun.by_own_page):
            return self._failure()
        return HttpResponseRedirect(authorization.with_error(begun.next, error))

    def _failure(self) -> HttpResponse:
        failure: HttpResponse = self.login_failure()
        return failure


def _reload(path: str = "") -> HttpResponse:
    """Return a page that goes to ``path`` of our site, or to itself: strict cookies come along."""
    content = f"0; url={path}" if path else "0"
    return HttpResponse(format_html(_RELOAD_PAGE, content), headers=_RELOAD_HEADERS)


def _provider(name: str) -> Provider | None:
    is_named = name in (DEFAULT_PROVIDER, *settings.provider_names)
    return settings.find_provider(name) if is_named else None


def _own_sign_in(
    provider: Provider | None, asked: authorization.SignInRequest
) -> HttpResponse | None:
    """Return the way to the site's own sign-in, where there is none with OpenID Connect."""
    if provider is None or provider.authorization_endpoint:
        return None
    url = http.own_sign_in()
    if url is None:
        return None
    if not asked.next:
        return HttpResponseRedirect(url)
    if asked.prompt == "none":
        # It would ask the user.
        return HttpResponseRedirect(authorization.with_error(asked.next, "interaction_required"))
    return redirect_to_login(asked.next, url)


def _for_sign_in(provider: Provider | None) -> Provider:
    """Return the provider, where people can sign in; raises ``Http404`` where nobody can."""
    if provider is None:
        raise Http404("There is no such provider.")
    if provider.is_default and not provider.authorization_endpoint:
        raise Http404("This site has no sign-in with OpenID Connect.")
    if not provider.is_default and provider.missing_for_sign_in:
        missing = f"TMIBFF_PROVIDERS lacks its {', '.join(provider.missing_for_sign_in)}"
        logger.error("provider %s is not set up: %s", provider.name, missing)
        raise Http404("Nobody can sign in at this provider.")
    return provider


def _form(request: HttpRequest) -> QueryDict:
    # A POST without a body needs no media type.
    if request.content_type != FORM and (request.content_type or request.body):
        raise InvalidRequest(f"The request's media type must be {FORM}.")
    return request.POST


def parameters_of(request: HttpRequest) -> tuple[list[str], str]:
    """Return the resources and the scope that are asked for (T1-T4)."""
    sent = _form(request) if request.method == "POST" else request.GET
    scopes = list(filter(None, sent.getlist("scope")))
    if len(scopes) > 1:
        raise InvalidRequest("scope may be sent only once.")
    return list(filter(None, sent.getlist("resource"))), scopes[0] if scopes else ""
