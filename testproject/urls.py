"""The project's paths."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def index(request: HttpRequest) -> HttpResponse:
    """Answer with a plain page that says whether somebody is signed in."""
    return HttpResponse("signed in" if request.user.is_authenticated else "signed out")


urlpatterns = [
    path("", index, name="index"),
    path("", include("django_tmibff.urls")),
    path("oidc/", include("mozilla_django_oidc.urls")),
    path("admin/", admin.site.urls),
]
