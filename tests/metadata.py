"""The metadata of a provider, sound unless a test changes it."""

import ast
import json
from typing import Any

import jwt
import requests_mock
from cryptography.hazmat.primitives.asymmetric import ec, rsa

ISSUER = "https://op.example"
OF_PROVIDER = f"{ISSUER}/.well-known/openid-configuration"
OF_SERVER = f"{ISSUER}/.well-known/oauth-authorization-server"
JWKS = f"{ISSUER}/jwks"
JSON = {"Content-Type": "application/json"}

SOUND: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "jwks_uri": JWKS,
    "revocation_endpoint": f"{ISSUER}/revoke",
    "end_session_endpoint": f"{ISSUER}/sign-out",
    "scopes_supported": ["openid", "email", "profile", "offline_access", "orders:read"],
    "response_types_supported": ["code", "id_token"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
    "id_token_signing_alg_values_supported": ["RS256", "ES256", "none"],
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    "code_challenge_methods_supported": ["plain", "S256"],
    "backchannel_logout_supported": True,
}
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_EC = ec.generate_private_key(ec.SECP256R1())


def changed(**members: Any) -> dict[str, Any]:
    """Return the metadata with other ``members``; ``...`` leaves one out."""
    merged = {**SOUND, **members}
    return {name: value for name, value in merged.items() if value is not ...}


def rsa_key(**members: Any) -> dict[str, Any]:
    """Return an RSA key as it is published."""
    return {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_RSA.public_key())), **members}


def ec_key(**members: Any) -> dict[str, Any]:
    """Return a key on P-256 as it is published."""
    return {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(_EC.public_key())), **members}


def settings_in(block: str) -> dict[str, Any]:
    """Return a block as Python reads it: assignments of constants, and nothing else."""
    return {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(block).body
        for [target] in [statement.targets]
    }


class Published:
    """What the provider publishes, at the wire."""

    def __init__(self, mocker: requests_mock.Mocker) -> None:
        """Publish sound metadata in the first of the two places, and an RSA key."""
        self.mocker = mocker
        self.says()
        self.server_metadata(status_code=404)
        self.keys(rsa_key(kid="k"))

    def metadata(self, **answer: Any) -> None:
        """Let this be the OpenID Provider's document, in the words of ``requests_mock``."""
        self.mocker.get(OF_PROVIDER, **_labelled(answer))

    def says(self, **members: Any) -> None:
        """Publish sound metadata but for these members."""
        self.metadata(json=changed(**members))

    def server_metadata(self, **answer: Any) -> None:
        """Let this be RFC 8414's document."""
        self.mocker.get(OF_SERVER, **_labelled(answer))

    def keys(self, *keys: Any) -> None:
        """Publish these keys."""
        self.key_set(json={"keys": keys})

    def key_set(self, **answer: Any) -> None:
        """Let this be what is at the key set's place."""
        self.mocker.get(JWKS, **answer)


def _labelled(answer: dict[str, Any]) -> dict[str, Any]:
    return answer if "exc" in answer else {"headers": JSON, **answer}
