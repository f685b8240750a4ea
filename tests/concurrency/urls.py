"""The app's endpoints, and a sign-in that takes the tokens from the request."""

import json
import secrets

from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from django_tmibff import tokens


@csrf_exempt
def sign_in(request: HttpRequest) -> JsonResponse:
    """Keep the tokens in the body for this session's user, a new one if there is none."""
    if not request.user.is_authenticated:
        user = get_user_model().objects.create_user(f"user-{secrets.token_hex(8)}")
        login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    token_set = tokens.store(request, json.loads(request.body), made_session=True)
    return JsonResponse({"handle": token_set.handle})


def ready(request: HttpRequest) -> HttpResponse:
    """Answer without looking at anything."""
    return HttpResponse("ready")


urlpatterns = [
    path("", ready),
    path("sign-in", sign_in),
    path("", include("django_tmibff.urls")),
]
