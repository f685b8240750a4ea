"""The only room that talks to the authorization server: refresh and revocation."""

import logging
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import quote_plus

import requests
from django.core.exceptions import ImproperlyConfigured
from django.utils.http import parse_http_date_safe
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from . import client_auth, discovery, strict_json, transport
from .client_auth import Parameters
from .conf import Provider, settings
from .contents import AccessToken, TokenKey
from .exceptions import (
    AuthorizationServerRefused,
    BackendNotReady,
    TemporarilyUnavailable,
    TokenError,
)

logger = logging.getLogger(__name__)

# RFC 6749 appendix A: what a token, and what an error and its description, may hold.
_TOKEN = re.compile(r"[\x20-\x7E]+")
_ERROR = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")
_SCOPE = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]*")
# RFC 9449 §8.1; a few hundred bytes are many.
_NONCE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]{1,512}")

# RFC 6749 §5.2: a client secret may be a word of one of them.
_REGISTERED_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)

# Ten years: what is said beyond that is a way of saying "never", and must not overflow a date.
_LONGEST_LIFETIME = 10 * 365 * 24 * 3600
_LONGEST_RETRY_AFTER = 3600


@dataclass(frozen=True, slots=True)
class TokenResponse:
    """A token response (RFC 6749 §5.1) whose members were checked.

    ``requested_at``: when the request for it was about to be sent, in seconds since the epoch;
    lifetimes (seconds) count from there. What the server did not say, or not legibly, is ``None``.
    ``dpop_nonce``: what it wants the next DPoP proof to repeat.
    """

    access_token: str = field(repr=False)
    token_type: str | None
    expires_in: int | None
    scope: str | None
    refresh_token: str | None = field(repr=False)
    refresh_expires_in: int | None
    id_token: str | None = field(repr=False)
    requested_at: float
    dpop_nonce: str | None = None

    def with_default_scope(self, scope: str) -> Self:
        """Return this response, with ``scope`` where it says none (RFC 6749 §5.1)."""
        return self if self.scope is not None else replace(self, scope=scope)

    @property
    def expires_at(self) -> float | None:
        """When the access token ends, in seconds since the epoch."""
        return None if self.expires_in is None else self.requested_at + self.expires_in

    @property
    def refresh_expires_at(self) -> float | None:
        """When the refresh token ends, in seconds since the epoch."""
        # 0 means "never" to the servers that send these members.
        return self.requested_at + self.refresh_expires_in if self.refresh_expires_in else None

    def token(self, key: TokenKey, *, default_scope: str | None) -> AccessToken:
        """Return the access token, to be kept under ``key``."""
        return AccessToken(
            key=key,
            value=self.access_token,
            token_type=self.token_type,
            scope=default_scope if self.scope is None else self.scope,
            issued_at=self.requested_at,
            expires_at=self.expires_at,
        )

    @classmethod
    def parse(cls, data: object, *, requested_at: float) -> Self:
        """Return the token response that ``data`` is; raises ``ValueError``."""
        if not isinstance(data, Mapping):
            raise ValueError("a token response is a JSON object")  # noqa: TRY004  # from outside
        access_token = _matching(_TOKEN, data.get("access_token"))
        if access_token is None:
            raise ValueError("a token response has an access_token")
        return cls(
            access_token=access_token,
            token_type=_matching(_ERROR, data.get("token_type")),
            expires_in=_seconds(data.get("expires_in")),
            scope=_scope(data.get("scope")),
            refresh_token=_matching(_TOKEN, data.get("refresh_token")),
            refresh_expires_in=_seconds(
                data.get("refresh_expires_in", data.get("refresh_token_expires_in"))
            ),
            id_token=_matching(_TOKEN, data.get("id_token")),
            requested_at=requested_at,
        )


def provider(name: str, *, issuer: str | None = None) -> Provider:
    """Return the provider of that name.

    ``issuer``: whose tokens it is to be sent. Raises ``BackendNotReady`` where it is not set up, or
    its settings name another issuer by now.
    """
    found = settings.find_provider(name)
    if found is None:
        raise BackendNotReady("This site's authorization server is not set up.")
    if not found.may_be(issuer):
        setting = settings.name_of("issuer", name)
        logger.warning("provider %s gets no token of another issuer than %s", name, setting)
        raise BackendNotReady("This sign-in was at another authorization server than the site's.")
    return found


def exchange_code(
    provider: Provider,
    parameters: Mapping[str, str],
    *,
    seconds: float,
    proof: str | None = None,
) -> TokenResponse:
    """Return what an authorization code gives (RFC 6749 §4.1.3), within ``seconds``.

    ``parameters``: the code, ``redirect_uri``, and PKCE's ``code_verifier``; ``proof``: DPoP's.
    Raises what ``refresh`` does.
    """
    sent = [("grant_type", "authorization_code"), *parameters.items()]
    secrets = [parameters.get("code", ""), parameters.get("code_verifier", "")]
    return _tokens(provider, sent, secrets=secrets, seconds=seconds, proof=proof)


def refresh(
    provider: Provider,
    refresh_token: str,
    parameters: Iterable[tuple[str, str]] = (),
    *,
    proof: str | None = None,
) -> TokenResponse:
    """Return what the refresh token gives (RFC 6749 §6).

    ``parameters`` come on top: ``scope``, ``resource`` and the like. ``proof``: of the key that the
    access token is to be bound to (RFC 9449 §5). Raises
    ``AuthorizationServerRefused``; ``TemporarilyUnavailable`` when there was no OAuth answer;
    ``BackendNotReady`` when it refused without an OAuth error (X4, X5).
    """
    sent = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), *parameters]
    return _tokens(
        provider, sent, secrets=[refresh_token], seconds=settings.as_timeout, proof=proof
    )


def exchange_token(
    provider: Provider, parameters: Parameters, *, secret: str, proof: str | None = None
) -> TokenResponse:
    """Return what a token exchange gives (RFC 8693 §2); raises what ``refresh`` does.

    ``secret``: what must not come back in an error, the subject token.
    """
    return _tokens(provider, parameters, secrets=[secret], seconds=settings.as_timeout, proof=proof)


def _tokens(
    provider: Provider,
    parameters: Parameters,
    *,
    secrets: list[str],
    seconds: float,
    proof: str | None,
) -> TokenResponse:
    if not provider.token_endpoint:
        raise BackendNotReady("This site does not know the authorization server's token endpoint.")
    requested_at = time.time()
    answer = _post(provider, provider.token_endpoint, parameters, seconds, proof)
    if not 200 <= answer.status < 300:
        raise _failure(answer, secrets=[*secrets, provider.client_secret])
    response = _token_response(answer, requested_at)
    if response is None:
        raise TemporarilyUnavailable("The authorization server's answer was not a token response.")
    return response


def _token_response(answer: transport.Answer, requested_at: float) -> TokenResponse | None:
    try:
        response = TokenResponse.parse(strict_json.loads(answer.body), requested_at=requested_at)
    except ValueError:
        return None  # Not chained: such an error carries what it could not read.
    nonce = _dpop_nonce(answer)
    return response if nonce is None else replace(response, dpop_nonce=nonce)


def revoke(provider: Provider, refresh_token: str) -> None:
    """Revoke a refresh token (RFC 7009); raises what ``refresh`` does.

    Does nothing where the provider has no revocation endpoint.
    """
    if not provider.revocation_endpoint:
        return
    parameters = [("token", refresh_token), ("token_type_hint", "refresh_token")]
    answer = _post(provider, provider.revocation_endpoint, parameters, settings.as_timeout)
    if not 200 <= answer.status < 300:
        raise _failure(answer, secrets=(refresh_token, provider.client_secret))


def key_set(provider: Provider) -> list[Any]:
    """Return the provider's public keys (RFC 7517 §5).

    Raises ``TemporarilyUnavailable``, and ``BackendNotReady`` where the endpoint is not known.
    """
    if not provider.jwks_endpoint:
        raise BackendNotReady("This site does not know the authorization server's JWKS endpoint.")
    try:
        return discovery.key_set(
            provider.jwks_endpoint, verify=provider.verify, proxies=provider.proxies
        )
    except discovery.MetadataRefused as error:
        raise TemporarilyUnavailable("The authorization server gave no key set.") from error


def _post(
    provider: Provider, url: str, parameters: Parameters, seconds: float, proof: str | None = None
) -> transport.Answer:
    sent = _credentials(provider)
    with _unavailable_for_any_failure():
        return transport.post(
            url,
            [*parameters, *sent.parameters],
            auth=sent.auth,
            certificate=sent.certificate,
            headers=None if proof is None else {"DPoP": proof},
            seconds=seconds,
            verify=provider.verify,
            proxies=provider.proxies,
        )


def _credentials(provider: Provider) -> client_auth.Credentials:
    try:
        return client_auth.credentials(provider)
    except ImproperlyConfigured as error:
        logger.error("provider %s is not set up: %s", provider.name, error)  # noqa: TRY400  # its text says it all
        raise BackendNotReady("This site's client cannot authenticate.") from None


@contextmanager
def _unavailable_for_any_failure() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # requests lets many kinds through; whatever it is, there was no OAuth answer.
        raise TemporarilyUnavailable(no_connection=_is_no_connection(error)) from error


def _is_no_connection(error: Exception) -> bool:
    """Return whether nobody was there, rather than somebody who took the request and fell silent.

    The latter may be one broken resource; requests calls both a ``ConnectionError``.
    """
    causes = (ProtocolError, ReadTimeoutError)
    fell_silent = any(isinstance(cause, causes) for cause in error.args)
    return isinstance(error, requests.ConnectionError) and not fell_silent


def _failure(answer: transport.Answer, *, secrets: Iterable[str]) -> TokenError:
    """Return the error that an answer other than success stands for (X4, X5).

    What repeats one of the ``secrets`` that were sent is not passed on (X9).
    """
    if answer.status == 429 or not 400 <= answer.status < 500:
        return TemporarilyUnavailable(
            f"The authorization server answered with status {answer.status}.",
            retry_after=_retry_after(answer.headers.get("Retry-After", "")),
        )
    data = _parsed(answer.body)
    # JSON is read whatever its label: some send it as text/html.
    said = data if isinstance(data, dict) else {}
    error = _matching(_ERROR, said.get("error"))
    description = _matching(_ERROR, said.get("error_description")) or ""
    if error is not None and _quotes(error, secrets):
        error = "server_error"
    if _quotes(description, secrets):
        description = ""
    if error is None:
        return BackendNotReady("The authorization server refused without saying why.")
    if error == TemporarilyUnavailable.error:
        return TemporarilyUnavailable("The authorization server is temporarily unavailable.")
    refusal = AuthorizationServerRefused(error, description)
    refusal.dpop_nonce = _dpop_nonce(answer)
    return refusal


def _dpop_nonce(answer: transport.Answer) -> str | None:
    return _matching(_NONCE, answer.headers.get("DPoP-Nonce"))


def _quotes(text: str, secrets: Iterable[str]) -> bool:
    """Return whether ``text`` repeats one of the secrets, as it is or form-encoded."""
    if text in _REGISTERED_ERRORS:
        return False
    return any(s and (s in text or quote_plus(s) in text) for s in secrets)


def _parsed(body: bytes) -> Any:
    """Return the body's JSON, or ``None`` where it is none."""
    try:
        return strict_json.loads(body)
    except ValueError:
        return None


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _scope(value: object) -> str | None:
    """Return the scope with single spaces; empty is what some say of a token without any."""
    scope = _matching(_SCOPE, value)
    return None if scope is None else " ".join(scope.split())


def _seconds(value: object) -> int | None:
    """Return a lifetime in whole seconds, whether it came as number or text; else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return _LONGEST_LIFETIME if isinstance(value, int) and value > 0 else None
    if math.isnan(seconds):
        return None
    return math.floor(min(max(seconds, 0), _LONGEST_LIFETIME))


def _retry_after(value: str) -> int:
    """Return the seconds that a ``Retry-After`` header asks for, within reason (RFC 9110)."""
    if value.isdecimal() and len(value) < 10:
        seconds = int(value)
    else:
        seconds = (parse_http_date_safe(value) or 0) - math.ceil(time.time())
    return min(max(seconds, 1), _LONGEST_RETRY_AFTER)
