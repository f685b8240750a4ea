"""How this site proves to an authorization server that it is its client (PROTOCOL B3).

RFC 6749 §2.3.1, RFC 7523 with OpenID Connect Core §9, RFC 8705. One small function for each method.
"""

import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import jwt
from django.core.exceptions import ImproperlyConfigured
from requests.auth import AuthBase, HTTPBasicAuth

from . import transport
from .conf import Provider

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60

Parameters = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What goes into a request: a header, form parameters, a certificate for the connection."""

    parameters: Parameters = field(default_factory=list, repr=False)
    auth: AuthBase = field(default_factory=transport.NoAuth, repr=False)
    certificate: transport.Certificate | None = None


def credentials(provider: Provider) -> Credentials:
    """Return what authenticates this site's client at ``provider``.

    Raises ``ImproperlyConfigured`` when its key cannot be used.
    """
    return _METHODS[provider.client_auth.method](provider)


def _basic(provider: Provider) -> Credentials:
    # Both halves are form-encoded before they are joined with a colon.
    user, password = quote_plus(provider.client_id), quote_plus(provider.client_secret)
    return Credentials(auth=HTTPBasicAuth(user, password))


def _post(provider: Provider) -> Credentials:
    return Credentials([*_client_id(provider), ("client_secret", provider.client_secret)])


def _secret_jwt(provider: Provider) -> Credentials:
    alg = provider.client_auth.alg or "HS256"
    return Credentials(_assertion(provider, provider.client_secret, alg))


def _private_key_jwt(provider: Provider) -> Credentials:
    key = provider.client_auth.key
    alg = provider.client_auth.alg or (key.get("alg") if isinstance(key, Mapping) else None)
    return Credentials(_assertion(provider, key, alg or "RS256"))


def _mutual_tls(provider: Provider) -> Credentials:
    certificate = provider.client_auth.certificate or ""
    _check_loads(certificate)
    return Credentials(_client_id(provider), certificate=certificate)


_METHODS: dict[str, Callable[[Provider], Credentials]] = {
    "client_secret_basic": _basic,
    "client_secret_post": _post,
    "client_secret_jwt": _secret_jwt,
    "private_key_jwt": _private_key_jwt,
    "tls_client_auth": _mutual_tls,
    "self_signed_tls_client_auth": _mutual_tls,
}


def _client_id(provider: Provider) -> Parameters:
    return [("client_id", provider.client_id)]


def _assertion(provider: Provider, key: Any, alg: str) -> Parameters:
    """Return a signed statement that we are the client (RFC 7523 §2.2, §3)."""
    now = int(time.time())
    claims = {
        "iss": provider.client_id,
        "sub": provider.client_id,
        "aud": provider.client_auth.aud or provider.issuer or provider.token_endpoint,
        "jti": secrets.token_urlsafe(24),
        "iat": now,
        "exp": now + _ASSERTION_SECONDS,
    }
    signed = _signed(claims, key, alg, provider.client_auth.kid)
    return [
        *_client_id(provider),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", signed),
    ]


def _signed(claims: dict[str, Any], key: Any, alg: str, kid: str | None) -> str:
    try:
        if isinstance(key, Mapping):
            kid, key = kid or key.get("kid"), jwt.PyJWK(dict(key), alg)
        return jwt.encode(claims, key, algorithm=alg, headers={"kid": kid} if kid else None)
    except (jwt.PyJWTError, NotImplementedError, TypeError, ValueError) as error:
        # Not chained: such an error may quote the key.
        raise ImproperlyConfigured(
            f"The key in TMIBFF_CLIENT_AUTH cannot sign with {alg} ({type(error).__name__})."
        ) from None


def _check_loads(certificate: transport.Certificate) -> None:
    """Raise unless TLS can use it: a connection would only say that it cannot be made."""
    file, key = (certificate, None) if isinstance(certificate, str) else certificate
    try:
        # Without a password OpenSSL would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(file, key, password=b"")
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(
            f"The certificate in TMIBFF_CLIENT_AUTH cannot be used ({error})."
        ) from error
