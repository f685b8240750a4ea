"""This app with its fast path, and nothing behind it that could answer in its place."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from benchmarks.site.bff import keep, keep_more, urlpatterns

__all__ = ["NotReached", "keep", "keep_more", "urlpatterns"]


class NotReached:
    """A middleware that fails: the fast path has stepped aside."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Have nobody to ask."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Fail for our path; all else, as the bench asks whether the site is up, is not there."""
        if request.path_info.endswith("/bff-token"):
            raise RuntimeError("The fast path did not answer.")
        return HttpResponse(status=404)
