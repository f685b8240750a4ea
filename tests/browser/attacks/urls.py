"""The site's endpoints, a page that lets itself be framed, and a redirect to any of its paths."""

import json
import secrets
from pathlib import Path

from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import include, path
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

import django_tmibff
from django_tmibff import tokens

WORKER = Path(__file__).with_name("worker.js")
PROOFS = Path(django_tmibff.__file__).parent / "static/django_tmibff/tmibff-dpop.js"


@xframe_options_exempt
def page(request: HttpRequest) -> HttpResponse:
    """Answer with a page."""
    return HttpResponse("<!doctype html><title>A page of the site</title><body>")


def go(request: HttpRequest) -> HttpResponse:
    """Redirect to wherever the query says."""
    return HttpResponseRedirect(request.GET["to"])


def script(request: HttpRequest, file: Path) -> HttpResponse:
    """Answer with that script."""
    return HttpResponse(file.read_text(), content_type="text/javascript")


@csrf_exempt
def sign_in(request: HttpRequest) -> JsonResponse:
    """Sign a new user in, with the tokens and claims in the body."""
    user = get_user_model().objects.create_user(f"canary-user-{secrets.token_hex(8)}")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    given = json.loads(request.body)
    tokens.store(request, given["tokens"], claims=given["claims"], made_session=True)
    return JsonResponse({})


urlpatterns = [
    path("page", page),
    path("go", go),
    path("worker.js", script, {"file": WORKER}),
    path("proofs.js", script, {"file": PROOFS}),
    path("sign-in", sign_in),
    path("", include("django_tmibff.urls")),
    path("oidc/", include("mozilla_django_oidc.urls")),
]
