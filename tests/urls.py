"""The paths of the tests' project."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def index(request: HttpRequest) -> HttpResponse:
    """Answer with a plain page."""
    return HttpResponse("a page")


urlpatterns = [
    path("", index),
    path("", include("django_tmibff.urls")),
    path("oidc/", include("mozilla_django_oidc.urls")),
    path("admin/", admin.site.urls),
]
