"""The demo's page, and its way out at the provider."""

from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache


@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Answer with the single page."""
    return render(request, "testproject/index.html", {"api": settings.DEMO_API})


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
