"""An OpenID Provider at the wire: signs ID tokens, and lies where a test wants it to."""

import base64
import hmac
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.http import HttpResponse

from tests.addresses import ISSUER
from tests.authorization_server import AuthorizationServer
from tests.page import Page

__all__ = ["ISSUER", "OpenIDProvider"]

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def signed_with_nothing(claims: dict[str, Any]) -> str:
    """Return a JWT that anybody can make: its HS256 key is empty."""
    header = {"alg": "HS256", "typ": "JWT"}
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
    signature = hmac.digest(b"", signed.encode(), "sha256")
    return f"{signed}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class OpenIDProvider:
    """Signs ``subject`` in; ``id_token``, ``userinfo`` and ``tokens`` change what it says.

    ``name``: what ``TMIBFF_PROVIDERS`` calls it, where it is not the default one.
    """

    def __init__(
        self, server: AuthorizationServer, *, name: str = "", client_id: str = "", key: Any = _KEY
    ) -> None:
        self.server = server
        self.name = name
        self.client_id = client_id
        self.key = key
        self.subject = "alice"
        self.id_token: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.tokens: dict[str, Any] = {}
        self.callback: dict[str, str] = {}
        self.kid = "k"
        self.publishes(self.jwk())
        server.mocker.get(f"{server.issuer}/userinfo", json=self._userinfo)

    def jwk(self, key: Any = None) -> dict[str, Any]:
        """Return a key's public half as the provider publishes it."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk((key or self.key).public_key()))
        return {**public, "kid": self.kid, "alg": "RS256"}

    def publishes(self, *keys: Any) -> None:
        """Let these be the provider's key set."""
        self.server.mocker.get(f"{self.server.issuer}/jwks", json={"keys": keys})

    def change_key(self, kid: str) -> None:
        """Let the provider's key have another name from now on."""
        self.kid = kid
        self.publishes(self.jwk())

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        """Return a JWT of the provider's; ``None`` leaves a member of its header out."""
        named = {"kid": self.kid, **header}
        kept = {name: value for name, value in named.items() if value is not None}
        return jwt.encode(claims, self.key, algorithm="RS256", headers=kept)

    def sign_in(self, page: Page) -> HttpResponse:
        """Take the page's browser through the authorization code flow; return the callback."""
        asked = self.authorization_request(page)
        self.server.gives(**self._token_response(asked["nonce"]))
        query = {"code": "canary-code", "state": asked["state"], **self.callback}
        callback = f"/bff/callback/{self.name}" if self.name else "/oidc/callback/"
        return page.get(callback, query, secure=True)

    def authorization_request(self, page: Page) -> dict[str, str]:
        """Start a sign-in; return what the app asks the provider for."""
        begin = f"/bff/login?provider={self.name}" if self.name else "/oidc/authenticate/"
        redirect = page.navigate(begin)
        return {k: v[0] for k, v in parse_qs(urlsplit(redirect["Location"]).query).items()}

    def _token_response(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.server.issuer,
            "sub": self.subject,
            "aud": self.client_id or settings.OIDC_RP_CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            "sid": "sid-1",
            "nonce": nonce,
            **self.id_token,
        }
        kept = {name: value for name, value in claims.items() if value is not ...}
        response = {
            "access_token": f"canary-access-of-{self.subject}",
            "refresh_token": f"canary-refresh-of-{self.subject}",
            "id_token": self.signed(kept),
            "token_type": "Bearer",
            "expires_in": 3600,
            **self.tokens,
        }
        return {name: value for name, value in response.items() if value is not ...}

    def _userinfo(self, request: Any, context: Any) -> Any:
        known = {"sub": self.subject, "email": f"{self.subject}@op.example", "name": self.subject}
        return {**known, **self.userinfo}
