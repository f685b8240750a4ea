"""The demo's page, and its way out at the provider."""

from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache


@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Answer with the single page."""
    response = render(request, "testproject/index.html", {"api": settings.DEMO_API})
    response["Content-Security-Policy"] = _content_security_policy()
    return response


def end_session_url(request: HttpRequest) -> str:
    """Return where to sign out at the provider too (OpenID Connect RP-Initiated Logout 1.0)."""
    parameters = {
        "client_id": settings.OIDC_RP_CLIENT_ID,
        "post_logout_redirect_uri": request.build_absolute_uri("/"),
    }
    return f"{settings.OIDC_OP_END_SESSION_ENDPOINT}?{urlencode(parameters)}"


def _content_security_policy() -> str:
    # The sign-out form's answer leads on to the provider, and form-action covers redirects.
    provider = settings.OIDC_OP_END_SESSION_ENDPOINT or ""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {settings.DEMO_API}",
            f"form-action 'self' {provider}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )
