"""The paths of a site that signs people in by itself."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def who(request: HttpRequest) -> HttpResponse:
    """Answer with the page where they do so."""
    return HttpResponse("Who are you?")


urlpatterns = [path("", include("django_tmibff.urls")), path("who/", who, name="who")]
