"""Authlib's client, given the token that the session has: it knows when to renew it."""

import time
from typing import Any

from authlib.integrations.requests_client import OAuth2Session
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.cache import never_cache

from benchmarks.stored import RESPONSE, SECONDS


@never_cache
@login_required
def token(request: HttpRequest) -> JsonResponse:
    """Answer with a token that has not expired: renewed, where it has."""

    def keep_renewed(renewed: dict[str, Any], **old: str) -> None:
        request.session["token"] = renewed

    with OAuth2Session(
        settings.OIDC_RP_CLIENT_ID,
        settings.OIDC_RP_CLIENT_SECRET,
        token=request.session["token"],
        token_endpoint=settings.OIDC_OP_TOKEN_ENDPOINT,
        update_token=keep_renewed,
    ) as client:
        client.ensure_active_token(client.token)
        kept = {name: client.token[name] for name in ("access_token", "expires_at")}
    return JsonResponse(kept)


def keep(request: HttpRequest) -> None:
    """Do what Authlib's documentation tells to do at sign-in."""
    request.session["token"] = {**RESPONSE, "expires_at": int(time.time()) + SECONDS}


urlpatterns = [path("token", token)]
