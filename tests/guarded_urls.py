"""The tests' paths, with something of the site's own around the token endpoint."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.urls import urlpatterns as usual


def guarded(request: HttpRequest, *args: Any) -> HttpResponse:
    """Let nobody through."""
    return HttpResponse(status=403)


urlpatterns = [path(".well-known/bff-token", guarded, name="tmibff-token"), *usual]
