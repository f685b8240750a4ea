"""Who may ask, and what every answer carries (PROTOCOL E)."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from django.conf import settings as django_settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import (
    BadRequest,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
    ValidationError,
)
from django.db import DataError, connections, transaction
from django.db import Error as DatabaseFails
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.request import HttpHeaders, split_domain_port
from django.http.response import ResponseHeaders
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.views.decorators.csrf import csrf_exempt

from . import tokens
from .conf import DEFAULT_PROVIDER, settings
from .exceptions import (
    CrossSiteRequest,
    InvalidRequest,
    InvalidSession,
    TemporarilyUnavailable,
    TokenError,
    forgets_locals,
)
from .hosts import is_loopback

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], HttpResponse]
V = TypeVar("V", bound=Callable[..., Any])

# What a page's own fetch() sends; each is judged only when it is sent (E5).
_FETCH_METADATA = {
    "Sec-Fetch-Site": {"same-origin"},
    "Sec-Fetch-Mode": {"cors", "same-origin"},
    "Sec-Fetch-Dest": {"empty"},
}
_SPECULATION = ("Sec-Purpose", "Purpose")
_JUDGED = ("Cookie", *_FETCH_METADATA, *_SPECULATION, "Origin")

_HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-cache, no-store, private",
    "Pragma": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

# The paths that begin a sign-in with OpenID Connect.
_OIDC_SIGN_INS = ("tmibff-login", "oidc_authentication_init")

# What Django raises itself while a request is read (E12); DisallowedHost stays Django's.
_UNREADABLE = (
    BadRequest,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
    UnreadablePostError,
)


def endpoint(*methods: str) -> Callable[[View], View]:
    """Make a view of a function that answers a signed-in page's request, or raises ``TokenError``.

    Adds the guard, the session check and the headers of every answer; takes the view out of
    Django's CSRF check (E5 stands in its place), ``LoginRequiredMiddleware`` (E11) and
    ``ATOMIC_REQUESTS`` (a rollback would lose a rotated refresh token).
    """

    def decorate(function: View) -> View:
        @wraps(function)
        def guarded(request: HttpRequest) -> HttpResponse:
            check_request(request)
            _check_session(request)
            return function(request)

        return from_elsewhere(*methods)(guarded)

    return decorate


def from_elsewhere(*methods: str) -> Callable[[View], View]:
    """Make a view as ``endpoint`` does, without guard and session check: for other servers."""

    def decorate(function: View) -> View:
        @wraps(function)
        def view(request: HttpRequest) -> HttpResponse:
            if request.method not in methods:
                refusal = InvalidRequest("This endpoint does not know this method.")
                allow = {"Allow": ", ".join(methods)}
                return _error(request, refusal, status=405, headers=allow)
            return answered(function, request)

        return outside_transactions(csrf_exempt(login_not_required(view)))

    return decorate


def outside_transactions(view: V) -> V:
    """Take ``view`` out of ``ATOMIC_REQUESTS``: who calls a server must hold no lock meanwhile."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def answer(data: Mapping[str, Any]) -> HttpResponse:
    """Return ``data`` as a successful answer."""
    return _response(data, status=200, headers={})


@forgets_locals
def answered(function: View, request: HttpRequest) -> HttpResponse:
    """Return the view's answer, or the error's that it raises."""
    try:
        return function(request)
    except TokenError as error:
        return _error(request, error)
    except _UNREADABLE as error:
        logger.warning("request not readable: %s", type(error).__name__)
        return _error(request, InvalidRequest())
    except DatabaseFails:
        logger.exception("the database fails")
        failure = TemporarilyUnavailable("This site cannot reach its database.")
        return _error(request, failure)


def check_request(request: HttpRequest) -> None:
    """Raise ``TokenError`` unless one of our own pages may have sent this, over https (E2, E5)."""
    _check_site(request)
    _check_transport(request)


def check_not_speculative(request: HttpRequest) -> None:
    """Raise ``CrossSiteRequest`` for what a browser loads before anybody wants it (E5)."""
    if _is_speculative(request):
        raise CrossSiteRequest("This endpoint does not answer speculative requests.")


def check_navigation(request: HttpRequest) -> None:
    """Raise ``CrossSiteRequest`` for what is loaded to no window or frame (E5).

    An image or a script would only fill the session with sign-ins that nobody sees.
    """
    if header(request, "Sec-Fetch-Mode") not in (None, "navigate"):
        raise CrossSiteRequest("Navigate to this address: it answers no other requests.")


def is_from_own_page(request: HttpRequest) -> bool:
    """Return whether one of our own pages has sent this; a browser that does not say has not."""
    return header(request, "Sec-Fetch-Site") == "same-origin"


def is_top_level(request: HttpRequest) -> bool:
    """Return whether a window of its own shows the answer; a browser that does not say shows none.

    Script can load what it likes in a frame, in the background, or in advance, unseen.
    """
    return header(request, "Sec-Fetch-Dest") == "document" and not _is_speculative(request)


def leaves_session_behind(request: HttpRequest) -> bool:
    """Return whether the browser may have a strict session cookie that it did not send (E9)."""
    return (
        django_settings.SESSION_COOKIE_SAMESITE == "Strict"
        and django_settings.SESSION_COOKIE_NAME not in request.COOKIES
        and header(request, "Sec-Fetch-Site") == "cross-site"
    )


def own_sign_in() -> str | None:
    """Return the page where the site signs people in by itself: Django's ``LOGIN_URL``.

    ``None`` where there is no such page, or it begins a sign-in with OpenID Connect.
    """
    with suppress(NoReverseMatch, Resolver404):
        url = resolve_url(django_settings.LOGIN_URL)
        parts = urlsplit(url)
        if not parts.netloc and not begins_oidc_sign_in(parts.path):
            return url
    return None


def begins_oidc_sign_in(path: str) -> bool:
    """Return whether a sign-in with OpenID Connect begins at that path; raises ``Resolver404``."""
    prefix = get_script_prefix()
    # A proxy may hand over the endpoints at the root too, where the site itself is below a path.
    within = path[len(prefix) - 1 :] if path.startswith(prefix) else path
    return resolve(within).url_name in _OIDC_SIGN_INS


def header(request: HttpRequest, name: str) -> str | None:
    """Return that request header: ``request.headers`` would rewrite them all for it."""
    found: str | None = request.META.get(_wsgi_name(name))
    return found


@lru_cache
def _wsgi_name(name: str) -> str:
    return str(HttpHeaders.to_wsgi_name(name))


def _is_speculative(request: HttpRequest) -> bool:
    return any(header(request, name) is not None for name in _SPECULATION)


def _check_site(request: HttpRequest) -> None:
    """Raise ``CrossSiteRequest`` unless one of our own pages may have sent this (E5)."""
    for name, allowed in _FETCH_METADATA.items():
        if header(request, name) not in (None, *allowed):
            raise CrossSiteRequest
    check_not_speculative(request)
    origin = header(request, "Origin")
    if origin is not None and origin.lower() != _own_origin(request):
        raise CrossSiteRequest
    if request.method == "POST" and origin is None and header(request, "Sec-Fetch-Site") is None:
        raise CrossSiteRequest("A POST must say where it comes from.")
    if settings.required_header and header(request, settings.required_header) is None:
        raise CrossSiteRequest(f"The request header {settings.required_header} is missing.")


def _own_origin(request: HttpRequest) -> str:
    return f"{request.scheme}://{request.get_host()}".lower()


def _check_transport(request: HttpRequest) -> None:
    """Raise ``InvalidSession`` for plain http, but for a developer's own machine (E2)."""
    host, _port = split_domain_port(request.get_host())
    if not request.is_secure() and not (django_settings.DEBUG and is_loopback(host)):
        raise InvalidSession("This endpoint answers over https only.")


def _check_session(request: HttpRequest) -> None:
    """Raise ``InvalidSession`` unless somebody is signed in (E3)."""
    try:
        tokens.user_of(request)
    except (DataError, ValidationError, ValueError) as error:
        # A session cookie that the database refuses to look up, with a NUL in it for example.
        raise InvalidSession from error


def _error(
    request: HttpRequest,
    error: TokenError,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    data = {"error": error.error}
    if error.description:
        data["error_description"] = error.description
    if error.sign_in_helps and (url := _login_url(request, error)):
        data["login_url"] = url
    extra = dict(headers or {})
    if error.wants_nonce and error.dpop_nonce is not None:
        extra["DPoP-Nonce"] = error.dpop_nonce
    if error.retry_after is not None:
        extra["Retry-After"] = str(error.retry_after)
    return _response(data, status=status or error.status, headers=extra)


def _login_url(request: HttpRequest, error: TokenError) -> str | None:
    """Return where to get the token interactively, if people can sign in here (X8).

    That is at the provider where this session signed in, and for what was refused.
    """
    with suppress(NoReverseMatch):
        if own_sign_in() is None:
            reverse("oidc_authentication_init")
        provider = tokens.provider_of(request)
        named = [] if provider == DEFAULT_PROVIDER else [("provider", provider)]
        query = urlencode([*named, *error.sign_in_parameters])
        return reverse("tmibff-login") + (f"?{query}" if query else "")
    return None


def _response(data: Mapping[str, Any], *, status: int, headers: Mapping[str, str]) -> HttpResponse:
    response = JsonResponse(data, status=status)
    response.headers = _FixedHeaders(headers)
    return response


class _FixedHeaders(ResponseHeaders):
    """Headers that no middleware on the way may weaken (E8), nor open to other origins (E4)."""

    def __init__(self, data: Mapping[str, str]) -> None:
        super().__init__(data)
        self._store |= _checked_headers(settings.required_header)

    def __setitem__(self, key: str, value: str | bytes | int) -> None:
        if key.lower() == "vary":
            value = _vary(
                value.decode() if isinstance(value, bytes) else str(value),
                settings.required_header,
            )
        elif (key in self and _is_fixed(key)) or key.lower().startswith("access-control-"):
            return
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        if not _is_fixed(key):
            super().__delitem__(key)

    def pop(self, key: str, *args: Any) -> Any:
        return self.get(key, *args) if _is_fixed(key) else super().pop(key, *args)


_FIXED = {name.lower() for name in (*_HEADERS, "Vary")}


def _is_fixed(key: str) -> bool:
    return key.lower() in _FIXED


@lru_cache
def _checked_headers(required_header: str | None) -> dict[str, tuple[str, str]]:
    """Return what every answer carries, as Django keeps it: it checks each text anew."""
    headers = ResponseHeaders({**_HEADERS, "Vary": _vary("", required_header)})
    checked: dict[str, tuple[str, str]] = headers._store
    return checked


@lru_cache
def _vary(value: str, required_header: str | None) -> str:
    """Return ``value`` with the names of all headers that were judged."""
    judged = [*_JUDGED, *filter(None, [required_header])]
    named = [name.strip() for name in value.split(",") if name.strip()]
    present = {name.lower() for name in named}
    return ", ".join([*named, *(name for name in judged if name.lower() not in present)])
