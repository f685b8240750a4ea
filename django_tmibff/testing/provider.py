"""An OpenID Provider on a port, at which whoever comes is signed in without being asked."""

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from .live import CLIENT_ID, Answer, Form, LiveAuthorizationServer

_ALG = "ES256"
_ID_TOKEN_SECONDS = 300


class LiveOpenIDProvider(LiveAuthorizationServer):
    """A ``LiveAuthorizationServer`` with a sign-in: authorization code, PKCE (S256), ID token.

    ``claims`` are those of whoever signs in; ``error``: what a sign-in is refused with, if it is;
    ``access_token_ttl``: how many seconds the access tokens of the next sign-ins live.
    """

    def __init__(self, port: int | None = None) -> None:
        """Take that port of 127.0.0.1, or choose a free one."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._codes: dict[str, Form] = {}
        self._signed_in: dict[str, dict[str, Any]] = {}  # by access token
        super().__init__(port)

    def reset(self) -> None:
        """Let the next one who signs in be alice, beside what ``LiveAuthorizationServer`` does."""
        super().reset()
        self.claims: dict[str, Any] = {"sub": "alice", "email": "alice@op.example"}
        self.error = ""
        self.access_token_ttl = 3600.0

    def django_settings(self) -> dict[str, Any]:
        """Return the settings with which a project's users sign in here."""
        return {
            **super().django_settings(),
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{self.issuer}/authorize",
            "OIDC_OP_USER_ENDPOINT": f"{self.issuer}/userinfo",
            "OIDC_OP_JWKS_ENDPOINT": f"{self.issuer}/jwks",
            "OIDC_RP_SIGN_ALGO": _ALG,
            "OIDC_USE_PKCE": True,
        }

    def _page(self, path: str, authorization: str, query: Form) -> Answer:
        if path == "/authorize":
            return self._authorize(query)
        if path == "/jwks":
            public = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
            return 200, {"keys": [{**public, "kid": "key", "alg": _ALG}]}
        if path == "/userinfo":
            claims = self._signed_in.get(authorization.removeprefix("Bearer "))
            return (401, {}) if claims is None else (200, claims)
        return 404, {}

    def _authorize(self, query: Form) -> Answer:
        if query.get("code_challenge_method") != "S256" or "redirect_uri" not in query:
            return 400, {"error": "invalid_request"}
        code = secrets.token_urlsafe()
        self._codes[code] = query
        said = {"error": self.error} if self.error else {"code": code}
        answer = urlencode({**said, "state": query.get("state", ""), "iss": self.issuer})
        return 302, {"location": f"{query['redirect_uri']}?{answer}"}

    def _token(self, form: Form) -> Answer:
        if form.get("grant_type") != "authorization_code":
            return super()._token(form)
        asked = self._codes.pop(form.get("code", ""), None)
        if asked is None or not _is_who_asked(form, asked):
            return 400, {"error": "invalid_grant"}
        response = self._new_family(self.access_token_ttl)
        self._signed_in[response["access_token"]] = self.claims
        return 200, {**response, "id_token": self._id_token(asked.get("nonce"))}

    def _id_token(self, nonce: str | None) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + _ID_TOKEN_SECONDS,
            "auth_time": now,
            **self.claims,
        }
        given = {**claims, "nonce": nonce} if nonce else claims
        return jwt.encode(given, self._key, algorithm=_ALG, headers={"kid": "key"})


def _is_who_asked(form: Form, asked: Form) -> bool:
    """Return whether a code is redeemed by whoever asked for it (RFC 7636 §4.6)."""
    hashed = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
    is_same = hmac.compare_digest(challenge, asked.get("code_challenge", ""))
    return is_same and form.get("redirect_uri") == asked["redirect_uri"]
