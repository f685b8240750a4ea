"""What people write by hand over mozilla-django-oidc, which keeps the token in the session."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache

from benchmarks.stored import ACCESS_TOKEN


@never_cache
@login_required
def token(request: HttpRequest) -> JsonResponse:
    """Answer with what the sign-in has left in the session."""
    return JsonResponse({"access_token": request.session["oidc_access_token"]})


def keep(request: HttpRequest) -> None:
    """Do what mozilla-django-oidc does at sign-in with ``OIDC_STORE_ACCESS_TOKEN``."""
    request.session["oidc_access_token"] = ACCESS_TOKEN


urlpatterns = [path("token", token)]
