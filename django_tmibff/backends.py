"""mozilla-django-oidc's authentication backend, which also keeps the tokens."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jwt
import requests
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from . import sign_in, tokens
from .conf import settings
from .exceptions import forget_locals

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10  # seconds


class SignInRefusedError(SuspiciousOperation):
    """The provider's answer cannot be trusted, or there was none; the text holds no secret."""


class OIDCAuthenticationBackend(MozillaBackend):
    """Signs a user in as mozilla-django-oidc does, and keeps the tokens for the page.

    Closes what mozilla-django-oidc leaves open: audience, issuer, the userinfo's subject,
    time-outs, deactivated users, and provider errors that would be a 500.
    """

    _token_response: Mapping[str, Any]
    _claims: dict[str, Any]
    _requested_at: float
    _issued: tuple[str, str] | None

    @staticmethod
    def get_settings(attr: str, *args: Any) -> Any:
        """Return the setting; ``OIDC_TIMEOUT`` is 10 seconds where mozilla-django-oidc has none."""
        if attr == "OIDC_TIMEOUT":
            args = (DEFAULT_TIMEOUT,)
        return MozillaBackend.get_settings(attr, *args)

    @sensitive_variables()
    def authenticate(  # type: ignore[override]  # a code instead of a password
        self, request: HttpRequest | None, **kwargs: Any
    ) -> Any:
        """Return the user whom the provider vouches for, or ``None``."""
        if request is None:
            return None
        self._token_response, self._claims, self._issued = {}, {}, None
        previous_handle = tokens.handle_of(request)
        try:
            self._check_issuer_parameter(request, settings.provider().issuer)
            user = super().authenticate(request, **kwargs)
        except SuspiciousOperation as error:
            logger.warning("sign-in refused: %s", error)
            return None
        except Exception as error:
            forget_locals(error)  # mozilla-django-oidc's frames hold the tokens.
            raise
        if user is None or not self.user_can_authenticate(user):
            return None
        if self._issued is not None:
            super().store_tokens(*self._issued)
        if self._token_response:
            self._keep(request, user, previous_handle)
        return user

    def get_user(self, user_id: Any) -> Any:
        """Return the user, unless deactivated (E3)."""
        user = super().get_user(user_id)
        return user if user is not None and self.user_can_authenticate(user) else None

    @sensitive_variables()
    def get_token(self, payload: dict[str, Any]) -> Mapping[str, Any]:
        """Return the token response, and remember it whole."""
        self._requested_at = time.time()
        with _refusing("the provider's token endpoint gave no tokens"):
            response = super().get_token(payload)
        if not isinstance(response, Mapping) or not (
            isinstance(response.get("access_token"), str)
            and isinstance(response.get("id_token"), str)
        ):
            raise SignInRefusedError("the provider's token response lacks a token")
        self._token_response = response
        return response

    @sensitive_variables()
    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        """Return the claims of a token that the provider signed; of an ID token, for us."""
        with _refusing("the provider's token does not verify"):
            claims: dict[str, Any] = super().verify_token(token, **kwargs)
        # Only for the ID token is there a nonce: userinfo may come as a JWT too.
        if "nonce" in kwargs:
            self._check_id_token(claims)
            self._claims = claims
        return claims

    @sensitive_variables()
    def get_userinfo(
        self, access_token: str, id_token: str, payload: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the userinfo, which must be about the ID token's subject (B6)."""
        with _refusing("the provider's userinfo endpoint gave no claims"):
            userinfo: dict[str, Any] = super().get_userinfo(access_token, id_token, payload)
        if not isinstance(userinfo, dict) or not _same(userinfo.get("sub"), payload["sub"]):
            raise SignInRefusedError("userinfo is about another subject than the ID token")
        self._claims = {**userinfo, **payload}
        return userinfo

    def store_tokens(self, access_token: str, id_token: str) -> None:
        """Put nothing into the session yet: the user may still be refused."""
        self._issued = (access_token, id_token)

    def _check_issuer_parameter(self, request: HttpRequest, issuer: str | None) -> None:
        """Refuse a callback that names another issuer (B6, RFC 9207 §2.4)."""
        named = request.GET.get("iss")
        if named is not None and issuer is not None and not _same(named, issuer):
            raise SignInRefusedError("the callback names another issuer")

    @sensitive_variables()
    def _check_id_token(self, claims: Mapping[str, Any]) -> None:
        """Refuse an ID token that is not for us (B6, OpenID Connect Core §3.1.3.7)."""
        issuer = settings.provider().issuer
        if not all(isinstance(claims.get(name), str) for name in ("iss", "sub")):
            raise SignInRefusedError("the ID token lacks its issuer or subject")
        if "exp" not in claims:
            raise SignInRefusedError("the ID token does not say when it expires")
        if issuer is not None and not _same(claims["iss"], issuer):
            raise SignInRefusedError("the ID token's issuer is not OIDC_OP_ISSUER")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(_same(one, self.OIDC_RP_CLIENT_ID) for one in audiences):
            raise SignInRefusedError("the ID token is for another client")
        self._check_issuer_parameter(self.request, claims["iss"])

    @sensitive_variables()
    def _keep(self, request: HttpRequest, user: Any, previous_handle: str | None) -> None:
        sign_in.keep(
            request,
            sign_in.SignIn(
                user=user,
                # No scope in the answer: the one that was asked for (RFC 6749 §5.1).
                token_response={"scope": settings.provider().scope, **self._token_response},
                claims=self._claims,
                requested_at=self._requested_at,
                previous_handle=previous_handle,
            ),
        )
        # Renewal by the same user: the callback view calls no login(), so no signal will come.
        if getattr(request, "user", None) == user:
            sign_in.complete(request, user, made_session=False)


@contextmanager
def _refusing(reason: str) -> Iterator[None]:
    """Turn whatever a provider's answer may cause into a refused sign-in."""
    try:
        yield
    except SuspiciousOperation:
        raise
    except (
        jwt.PyJWTError,
        requests.RequestException,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        forget_locals(error)
        raise SignInRefusedError(f"{reason} ({type(error).__name__})") from error


def _same(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and constant_time_compare(one, other)
