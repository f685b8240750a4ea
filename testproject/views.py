"""The demo's page, and its way out at the provider."""

from pathlib import Path
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.test.utils import override_settings
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST


@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Answer with the single page."""
    return render(
        request,
        "testproject/index.html",
        {
            "api": settings.DEMO_API,
            "can_stop_provider": bool(settings.DEMO_PROVIDER_STOPPED),
            "more_scopes": " ".join(settings.TMIBFF_SCOPES),
            "thief": settings.DEMO_THIEF,
            "tokens_are_bound": settings.TMIBFF_DPOP == "required",
            "resources": settings.TMIBFF_RESOURCES,
        },
    )


@require_POST
def provider(request: HttpRequest) -> HttpResponse:
    """Let the launcher stop the OpenID Provider, or start it again."""
    if not settings.DEMO_PROVIDER_STOPPED:
        raise Http404
    switch = Path(settings.DEMO_PROVIDER_STOPPED)
    is_stopped = request.POST.get("stopped") == "yes"
    switch.touch() if is_stopped else switch.unlink(missing_ok=True)
    return JsonResponse({"stopped": is_stopped})


@require_POST
def dpop(request: HttpRequest) -> HttpResponse:
    """Bind tokens to a key of the page's from now on, or do not: the demo's app is one process."""
    if not settings.DEMO_THIEF:
        raise Http404
    is_required = request.POST.get("required") == "yes"
    # As tests change settings: this one is looked up at each use, and remembered until it changes.
    override_settings(TMIBFF_DPOP="required" if is_required else "off").enable()
    return JsonResponse({"required": is_required})


@never_cache
def thief(request: HttpRequest) -> HttpResponse:
    """Answer with the page of somebody who has got hold of a token."""
    if f"{request.scheme}://{request.get_host()}" != settings.DEMO_THIEF:
        raise Http404
    return render(request, "testproject/thief.html", {"api": settings.DEMO_API})


def username(email: str, claims: dict[str, str]) -> str:
    """Return what an operator knows somebody by, rather than a hash of the e-mail address."""
    return claims.get("preferred_username", email)


def end_session_url(request: HttpRequest) -> str:
    """Return where to sign out at the provider too (OpenID Connect RP-Initiated Logout 1.0)."""
    parameters = {
        "client_id": settings.OIDC_RP_CLIENT_ID,
        "post_logout_redirect_uri": request.build_absolute_uri("/"),
    }
    return f"{settings.OIDC_OP_END_SESSION_ENDPOINT}?{urlencode(parameters)}"
