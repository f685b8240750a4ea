"""A page of ours in a browser: Django's test client, sending what a page's fetch() sends."""

import json
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.test import Client

from django_tmibff.models import TokenSet
from django_tmibff.testing import FETCH, keep_tokens
from tests.proofs import PageKey

TOKEN = "/.well-known/bff-token"
SESSION_INFO = "/.well-known/bff-sessioninfo"
HOST = "app.example"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"

NAVIGATION = {**FETCH, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

# A sign-in's token response, unless a test says otherwise.
SIGN_IN: dict[str, Any] = {
    "access_token": "canary-access-token",
    "refresh_token": "canary-refresh-token",
    "token_type": "Bearer",
    "expires_in": 3600,
    "scope": "openid email",
}


class Page(Client):
    """A browser with one page of ours open; ``fetch`` is what its script calls."""

    def __init__(self) -> None:
        super().__init__(headers={"host": HOST})

    def fetch(
        self,
        path: str = TOKEN,
        query: Any = None,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> HttpResponse:
        """Return the answer to the page's own ``fetch(path)``."""
        if query:
            path = f"{path}?{query if isinstance(query, str) else urlencode(query, doseq=True)}"
        sent = {**FETCH, **(headers or {})}
        return self.generic(method, path, headers=sent, secure=True, **options)

    def navigate(self, path: str, query: Any = None) -> HttpResponse:
        """Return the answer when one of our own pages sends the browser there."""
        return self.get(path, query, headers=NAVIGATION, secure=True)

    def elsewhere(self) -> "Page":
        """Return the same browser's page, for a server whose middleware has changed."""
        page = Page()
        page.cookies = self.cookies
        return page

    def token(self, **query: Any) -> dict[str, Any]:
        """Return the token answer, which must be a success."""
        answer = self.fetch(TOKEN, query)
        assert answer.status_code == 200, answer.content
        return json.loads(answer.content)

    def refusal(self, **query: Any) -> dict[str, Any]:
        """Return the error answer, which must be one of PROTOCOL X1's."""
        answer = self.fetch(TOKEN, query)
        assert answer.status_code == 400, answer.content
        return json.loads(answer.content)

    def sign_in(self, user: Any) -> None:
        """Sign ``user`` in with Django alone: no tokens."""
        self.force_login(user, backend=MODEL_BACKEND)

    def request_of(self, user: Any) -> HttpRequest:
        """Return a request of this browser's session."""
        request = HttpRequest()
        request.session = self.session
        request.user = user
        return request

    def store(self, token_response: dict[str, Any] | None = None, **options: Any) -> TokenSet:
        """Keep a sign-in's tokens for this browser's session; ``None`` leaves a member out."""
        merged = {**SIGN_IN, **(token_response or {})}
        sent = {name: value for name, value in merged.items() if value is not ...}
        return keep_tokens(self, sent, **options)


class ProvingPage(Page):
    """A page that makes a proof for each token that it asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.key = PageKey()

    def fetch(
        self,
        path: str = TOKEN,
        query: Any = None,
        *,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> HttpResponse:
        proof = {"DPoP": self.key.proof()} if path == TOKEN else {}
        return super().fetch(path, query, headers={**proof, **(headers or {})}, **options)
