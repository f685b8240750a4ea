"""What every page of the app forbids the browser, those of the admin too."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Allow only our own scripts, styles and images, and calls to our own API."""
    policy = _policy()

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", policy)
        return response

    return middleware


def _policy() -> str:
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
