"""This app with its fast path, and nothing behind it that could answer in its place."""

from typing import NoReturn

from django.http import HttpRequest
from django.urls import include, path

from benchmarks.site.bff import keep, keep_more

__all__ = ["keep", "keep_more", "urlpatterns"]


def not_reached(request: HttpRequest) -> NoReturn:
    """Fail: the fast path has stepped aside."""
    raise RuntimeError("The fast path did not answer.")


urlpatterns = [
    path(".well-known/bff-token", not_reached, name="tmibff-token"),
    path("", include("django_tmibff.urls")),
]
