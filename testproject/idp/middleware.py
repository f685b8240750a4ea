"""What every page of the OpenID Provider forbids the browser."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Allow only our own style sheet, and forms that lead here or back to the app."""
    policy = "; ".join(
        [
            "default-src 'none'",
            "style-src 'self'",
            "img-src data:",
            # Browsers hold the redirects after a form against form-action too.
            f"form-action 'self' {settings.DEMO_APP}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers["Content-Security-Policy"] = policy
        return response

    return middleware
