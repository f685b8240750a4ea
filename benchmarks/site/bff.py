"""This app."""

import time

from django.http import HttpRequest
from django.urls import include, path

from benchmarks.stored import CLAIMS, RESPONSE, SECONDS, letters
from django_tmibff import tokens, vault
from django_tmibff.contents import AccessToken, TokenKey


def keep(request: HttpRequest) -> None:
    """Do what the sign-in does."""
    tokens.store(request, RESPONSE, claims=CLAIMS, made_session=True)


def keep_more(request: HttpRequest, number: int) -> None:
    """Let the session have ``number`` tokens in all, each for a resource of its own."""
    contents = vault.read(tokens.handle_of(request) or "")
    now = time.time()
    for seed in range(1, number):
        key = TokenKey.of([f"https://api.example/{seed}"])
        value = letters(1200, 100 + seed)
        contents.put(AccessToken(key, value, "Bearer", "read", now, now + SECONDS))
    if not vault.save(contents, owner=""):
        raise RuntimeError("Somebody is using the session.")


urlpatterns = [path("", include("django_tmibff.urls"))]
