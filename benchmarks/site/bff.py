"""This app."""

import time

from django.http import HttpRequest
from django.urls import include, path

from benchmarks.proofs import JWK
from benchmarks.stored import ACCESS_TOKEN, CLAIMS, RESPONSE, SCOPE, SECONDS, letters
from django_tmibff import dpop, tokens, vault
from django_tmibff.conf import settings
from django_tmibff.contents import AccessToken, Contents, TokenKey


def keep(request: HttpRequest) -> None:
    """Do what the sign-in does."""
    tokens.store(request, RESPONSE, claims=CLAIMS, made_session=True)
    if settings.dpop == "required":
        _bind(request)


def _bind(request: HttpRequest) -> None:
    """Let the session have a token that is bound to a key, as a page's first proof does it."""
    contents = vault.read(tokens.handle_of(request) or "")
    now = time.time()
    contents.jkt = dpop.thumbprint(JWK)
    key = TokenKey(jkt=contents.jkt)
    contents.put(AccessToken(key, ACCESS_TOKEN, "DPoP", SCOPE, now, now + SECONDS))
    _save(contents)


def keep_more(request: HttpRequest, number: int) -> None:
    """Let the session have ``number`` tokens in all, each for a resource of its own."""
    contents = vault.read(tokens.handle_of(request) or "")
    now = time.time()
    for seed in range(1, number):
        key = TokenKey.of([f"https://api.example/{seed}"])
        value = letters(1200, 100 + seed)
        contents.put(AccessToken(key, value, "Bearer", "read", now, now + SECONDS))
    _save(contents)


def _save(contents: Contents) -> None:
    if not vault.save(contents, owner=""):
        raise RuntimeError("Somebody is using the session.")


urlpatterns = [path("", include("django_tmibff.urls"))]
