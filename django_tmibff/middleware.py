"""The fast path: stored tokens are handed out in front of all other middleware."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.module_loading import import_string

from . import dpop, http, tokens, views, warm
from .conf import settings
from .exceptions import TokenError, forgets_locals

logger = logging.getLogger(__name__)

PATH = "django_tmibff.middleware.WarmTokenMiddleware"

# They change nothing about who may have a token, and neither do Django's own but for the last two.
_HARMLESS = (
    "corsheaders.middleware.CorsMiddleware",
    "mozilla_django_oidc.middleware.SessionRefresh",
    "whitenoise.middleware.WhiteNoiseMiddleware",
)
_NEEDED = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
_SIGNS_IN_ITSELF = (
    "django.contrib.auth.middleware.RemoteUserMiddleware",
    "django.contrib.auth.middleware.PersistentRemoteUserMiddleware",
)


class WarmTokenMiddleware:
    """Answers a page that asks for a stored token which works; lets everything else through.

    To be the first in ``MIDDLEWARE``. It makes every check that the view makes, and answers as the
    view would. Where it could not know that, it steps aside: see ``obstacles``.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.is_active = not any(obstacles())
        self.path = reverse("tmibff-token") if self.is_active else ""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = None
        if self.is_active and request.path_info == self.path and request.method == "GET":
            # Who has chosen other paths for this request has other views too.
            answer = None if getattr(request, "urlconf", None) else _answer(request)
        return self.get_response(request) if answer is None else answer


def obstacles() -> Iterator[str]:
    """Yield why the fast path steps aside for all requests, each in a sentence."""
    before, behind = _around()
    allowed = {*_HARMLESS, *settings.warm_skips}
    for path in (*filter(_looks_at_views, before), *behind):
        is_djangos = path.startswith("django.") and path not in _SIGNS_IN_ITSELF
        if not is_djangos and path not in allowed:
            yield f"{path} would be skipped: name it in TMIBFF_WARM_SKIPS if that does no harm."
    for path in _NEEDED:
        if path not in behind:
            yield f"{path} is not behind it in MIDDLEWARE."
    if django_settings.DISALLOWED_USER_AGENTS:
        yield "DISALLOWED_USER_AGENTS wants some browsers refused."
    if not _leads_to_our_view():
        yield "At the path of tmibff-token is not django_tmibff's own view."
    yield from warm.obstacles()


def _leads_to_our_view() -> bool:
    """Return whether nothing of the site's own stands around the view."""
    try:
        return resolve(reverse("tmibff-token")).func is views.bff_token
    except (NoReverseMatch, Resolver404):
        return False


def _around() -> tuple[list[str], list[str]]:
    """Return the middlewares behind which we answer, and those in front of which we do."""
    configured = list(django_settings.MIDDLEWARE)
    place = configured.index(PATH) if PATH in configured else len(configured)
    return configured[:place], configured[place + 1 :]


def _looks_at_views(path: str) -> bool:
    """Return whether that middleware is asked before a view is called, which we do without."""
    with suppress(ImportError):  # Django's to report.
        return hasattr(import_string(path), "process_view")
    return False


@forgets_locals
def _answer(request: HttpRequest) -> HttpResponse | None:
    try:
        token = _token(request)
    except TokenError:
        token = None  # The view says why.
    except Exception as error:  # From a cookie that no database takes to a cache that is down.
        logger.warning("fast path not taken: %s", type(error).__name__)
        token = None
    if token is None:
        request.__dict__.pop("session", None)
        return None
    return views.token_answer(token)


def _token(request: HttpRequest) -> tokens.AccessToken | None:
    if http.header(request, "TMIBFF-Refused") is not None:
        return None
    http.check_request(request)
    contents = warm.contents_of(request)
    if contents is None:
        return None
    resources, scope = views.parameters_of(request)
    proof = http.header(request, dpop.HEADER)
    return tokens.ready(request, contents, tuple(resources), scope, proof)
