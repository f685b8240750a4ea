"""The floor: a view that knows its answer, on a site without middleware."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.stored import ACCESS_TOKEN, SCOPE, SECONDS

ANSWER = {
    "access_token": ACCESS_TOKEN,
    "token_type": "Bearer",
    "expires_in": SECONDS,
    "scope": SCOPE,
}


def token(request: HttpRequest) -> JsonResponse:
    """Answer without looking at anything."""
    return JsonResponse(ANSWER)


def keep(request: HttpRequest) -> None:
    """Keep nothing: it is in the code."""


urlpatterns = [path("token", token)]
