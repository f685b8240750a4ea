"""The paths of the test project, and a page with nothing but tmibff.js in it: ``/harness``."""

from django.contrib.staticfiles.views import serve
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

PAGE = '<!doctype html><title>A page</title><script type="module" src="/harness.js"></script>'
SCRIPT = 'import * as tmibff from "/static/django_tmibff/tmibff.js"; window.tmibff = tmibff;'


def page(request: HttpRequest) -> HttpResponse:
    """Answer with the page."""
    return HttpResponse(PAGE)


def script(request: HttpRequest) -> HttpResponse:
    """Answer with its script, which lets tests call the module."""
    return HttpResponse(SCRIPT, content_type="text/javascript")


urlpatterns = [
    path("harness", page),
    path("harness.js", script),
    path("static/<path:path>", serve),
    path("", include("testproject.urls")),
]
