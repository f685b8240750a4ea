"""The anchor: Django itself, session and user, and an answer as long as a token's."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.site.floor import ANSWER, keep

__all__ = ["keep", "urlpatterns"]


@login_required
def token(request: HttpRequest) -> JsonResponse:
    """Answer whoever is signed in."""
    return JsonResponse(ANSWER)


urlpatterns = [path("token", token)]
