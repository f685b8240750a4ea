"""mozilla-django-oidc's authentication backend, which also keeps the tokens."""

import json
import logging
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import jwt
import requests
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError, router, transaction
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from . import discovery, dpop, oauth, sign_in, strict_json, tokens, transport
from .conf import LEEWAY_SECONDS, Provider, settings
from .exceptions import AuthorizationServerRefused, TokenError, forgets_locals
from .models import Identity, identity_key
from .own_key import OwnKey

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = 10  # seconds

# Where mozilla-django-oidc has none, or wants one. A client with a key has no secret.
_DEFAULTS: dict[str, Any] = {"OIDC_TIMEOUT": DEFAULT_TIMEOUT, "OIDC_RP_CLIENT_SECRET": ""}

# What a provider says in it has no end of its own.
_LONGEST_REASON = 500

_OF_THE_CODE = ("code", "redirect_uri", "code_verifier")

# What the settings may loosen for mozilla-django-oidc's own provider only.
_STRICTER = {"OIDC_ALLOW_UNSECURED_JWT": False}

# What mozilla-django-oidc reads from its settings, by the provider's own names.
_OF_PROVIDER = {
    "OIDC_OP_TOKEN_ENDPOINT": "token_endpoint",
    "OIDC_OP_USER_ENDPOINT": "userinfo_endpoint",
    "OIDC_OP_JWKS_ENDPOINT": "jwks_endpoint",
    "OIDC_RP_CLIENT_ID": "client_id",
    "OIDC_RP_CLIENT_SECRET": "client_secret",
    "OIDC_RP_SIGN_ALGO": "signing_alg",
    "OIDC_RP_IDP_SIGN_KEY": "signing_key",
    "OIDC_RP_SCOPES": "scope",
    "OIDC_VERIFY_SSL": "verify",
    "OIDC_PROXY": "proxies",
}


# As mozilla-django-oidc asks: keys and claims have media types of their own.
_ANY_TYPE = {"Accept": "*/*"}

_NO_CLAIMS = "the provider's userinfo endpoint gave no claims"

_UNVERIFIED = (
    "the provider says that this user's e-mail address is not verified (email_verified), and users"
    " are found by it: whoever enters somebody else's address there would be them here. Have it"
    " verified there; set TMIBFF_ACCEPT_UNVERIFIED_EMAIL = True only if nobody can choose an"
    " address at your provider"
)

_TAKEN = (
    "the database has no room for a new user: another one has that name or e-mail address, or one"
    " that it takes for the same"
)


class SignInRefusedError(SuspiciousOperation):
    """The provider's answer cannot be trusted, or there was none; the text holds no secret."""


class OIDCAuthenticationBackend(MozillaBackend):
    """Signs a user in as mozilla-django-oidc does, and keeps the tokens for the page.

    Closes what mozilla-django-oidc leaves open: audience, issuer, the userinfo's subject,
    time-outs, deactivated users, and provider errors that would be a 500.

    ``provider``: whom the user signs in at. At one of ``TMIBFF_PROVIDERS`` a user is who has signed
    in there before, by (``iss``, ``sub``), and never by e-mail address: another provider's word
    for it is no proof.
    """

    provider: Provider | None = None
    _token_response: oauth.TokenResponse | None = None
    _claims: Mapping[str, Any] = MappingProxyType({})
    _issued: tuple[str, str] | None
    _key: OwnKey | None = None

    def get_settings(  # type: ignore[override]  # theirs knows no provider, and is static
        self, attr: str, *args: Any
    ) -> Any:
        """Return the setting, or what it is at the provider that the user signs in at.

        ``OIDC_TIMEOUT`` is 10 seconds where it is not set, or ``None``.
        """
        if self.provider is not None and not self.provider.is_default:
            if attr in _OF_PROVIDER:
                return getattr(self.provider, _OF_PROVIDER[attr])
            if attr in _STRICTER:
                return _STRICTER[attr]
        if attr in _DEFAULTS:
            found = MozillaBackend.get_settings(attr, None)
            return _DEFAULTS[attr] if found is None else found
        return MozillaBackend.get_settings(attr, *args)

    @forgets_locals
    def authenticate(  # type: ignore[override]  # a code instead of a password
        self, request: HttpRequest | None, **kwargs: Any
    ) -> Any:
        """Return the user whom the provider vouches for; ``None`` for what is no callback.

        Raises ``PermissionDenied`` for one that is refused: no other backend may try its code.
        """
        # Django asks every backend whenever somebody signs in: only the callback view, which has
        # checked the state, passes a nonce.
        if request is None or "nonce" not in kwargs:
            return None
        self._token_response, self._claims, self._issued = None, {}, None
        try:
            user = self._authenticated(request, **kwargs)
        finally:
            sign_in.forget_code(request)
        if user is None:
            raise PermissionDenied("The sign-in was refused.")
        return user

    async def aauthenticate(  # type: ignore[override]  # a code instead of a password
        self, request: HttpRequest | None, **kwargs: Any
    ) -> Any:
        """Return what ``authenticate`` does: the one of ``ModelBackend`` looks at passwords."""
        return await sync_to_async(self.authenticate)(request, **kwargs)

    def _authenticated(self, request: HttpRequest, **kwargs: Any) -> Any:
        previous_handle = tokens.handle_of(request)
        try:
            provider = self._use_provider(sign_in.provider_of(request))
            self._check_issuer_parameter(request, provider.issuer)
            user = super().authenticate(request, **kwargs)
        except SuspiciousOperation as error:
            logger.warning("sign-in refused: %s", str(error)[:_LONGEST_REASON])
            return None
        if user is None or not self.user_can_authenticate(user):
            return None
        if self._issued is not None:
            super().store_tokens(*self._issued)
        if self._token_response is not None:
            self._keep(request, user, self._token_response, previous_handle)
        return user

    def _use_provider(self, provider: Provider) -> Provider:
        self.provider = provider
        if not provider.is_default:
            for name in vars(self).keys() & _OF_PROVIDER:
                setattr(self, name, self.get_settings(name))
        return provider

    def get_user(self, user_id: Any) -> Any:
        """Return the user, unless deactivated (E3)."""
        user = super().get_user(user_id)
        return user if user is not None and self.user_can_authenticate(user) else None

    async def aget_user(self, user_id: Any) -> Any:
        """Return whom ``get_user`` does, also where a site has written that anew."""
        return await sync_to_async(self.get_user)(user_id)

    def get_token(self, payload: dict[str, Any]) -> Mapping[str, Any]:
        """Return what an authorization code gives, and remember it whole.

        Our own request: it authenticates as ``TMIBFF_CLIENT_AUTH`` says, and has a total deadline.
        """
        provider = sign_in.provider_of(self.request)
        parameters = {name: payload[name] for name in payload if name in _OF_THE_CODE}
        if not provider.is_default:
            parameters["redirect_uri"] = sign_in.callback_url(self.request, provider)
        try:
            response = self._exchanged(provider, parameters)
        except TokenError as error:
            raise SignInRefusedError(
                f"the provider's token endpoint gave no tokens ({error})"
            ) from error
        if response.id_token is None:
            raise SignInRefusedError("the provider's token response lacks an ID token")
        self._token_response = response.with_default_scope(provider.scope)
        return {"access_token": response.access_token, "id_token": response.id_token}

    def _exchanged(self, provider: Provider, parameters: Mapping[str, str]) -> oauth.TokenResponse:
        """Return what the code gives; what must be bound to a key, to one of ours.

        The page's key is not known yet: this access token is for userinfo alone.
        """
        if settings.dpop == "off" or not provider.dpop_bound_access_tokens:
            self._key = None
            return oauth.exchange_code(provider, parameters, seconds=self._seconds())
        self._key = OwnKey()
        try:
            return self._exchanged_with_proof(provider, parameters, self._key)
        except AuthorizationServerRefused as refused:
            if not refused.wants_nonce:
                raise
            dpop.remember_nonce(provider.name, refused.dpop_nonce)
            return self._exchanged_with_proof(provider, parameters, self._key)

    def _exchanged_with_proof(
        self, provider: Provider, parameters: Mapping[str, str], key: OwnKey
    ) -> oauth.TokenResponse:
        nonce = dpop.recall_nonce(provider.name)
        proof = key.proof("POST", provider.token_endpoint or "", nonce=nonce)
        seconds = self._seconds()
        response = oauth.exchange_code(provider, parameters, seconds=seconds, proof=proof)
        dpop.remember_nonce(provider.name, response.dpop_nonce)
        return response

    def _seconds(self) -> float:
        """Return how long a call at sign-in may take; requests takes a pair too."""
        timeout = self.get_settings("OIDC_TIMEOUT")
        return float(sum(timeout) if isinstance(timeout, tuple) else timeout)

    def _how_to_call(self) -> dict[str, Any]:
        """Return how a call at sign-in is made: by ``OIDC_TIMEOUT`` and the like."""
        return {
            "limit": discovery.Limit(self._seconds(), "OIDC_TIMEOUT"),
            "verify": self.get_settings("OIDC_VERIFY_SSL", True),
            "proxies": self.get_settings("OIDC_PROXY", None),
        }

    def retrieve_matching_jwk(self, token: str) -> jwt.PyJWK:
        """Return the provider's key for ``token``: mozilla-django-oidc's choice, by a call of ours.

        Its own follows redirects, has no total deadline, and reads an answer whatever its size.
        """
        header = jwt.get_unverified_header(token)
        keys = discovery.key_set(
            self.OIDC_OP_JWKS_ENDPOINT, headers=_ANY_TYPE, **self._how_to_call()
        )
        fitting = [key for key in keys if self._is_of(key, header)]
        if not fitting:
            raise SignInRefusedError("the provider has published no key that fits its token")
        return jwt.PyJWK(fitting[-1])

    def _is_of(self, key: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
        """Return whether ``key`` may have signed; raises ``KeyError`` where names are missing."""
        if self.get_settings("OIDC_VERIFY_KID", True) and key["kid"] != header["kid"]:
            return False
        return "alg" not in key or bool(key["alg"] == header["alg"])

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        """Return the claims of a token that the provider signed; of an ID token, for us."""
        # Anybody can sign with an empty key.
        if self.OIDC_RP_SIGN_ALGO.startswith("HS") and not self.OIDC_RP_CLIENT_SECRET:
            raise SignInRefusedError("OIDC_RP_CLIENT_SECRET, to verify ID tokens with, is not set")
        with _refusing("the provider's token does not verify"):
            claims: dict[str, Any] = super().verify_token(token, **kwargs)
            _check_claims(claims)
        # Only for the ID token is there a nonce: userinfo may come as a JWT too.
        if "nonce" in kwargs:
            self._check_id_token(claims, kwargs["nonce"])
            self._claims = claims
        return claims

    def _verify_jws(self, payload: str, key: Any) -> dict[str, Any]:
        """Return the claims of a JWT signed with ``key``; the provider's clock may be a minute off.

        mozilla-django-oidc's own allows it not a second. The audience is ``_check_id_token``'s.
        """
        return jwt.decode(
            payload,
            key,
            algorithms=[self.OIDC_RP_SIGN_ALGO],
            leeway=LEEWAY_SECONDS,
            options={"verify_aud": False},
        )

    def get_userinfo(
        self, access_token: str, id_token: str, payload: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the userinfo, which must be about the ID token's subject (B6)."""
        with _refusing(_NO_CLAIMS):
            userinfo = self._userinfo(access_token)
            _check_claims(userinfo)
        if not _same(userinfo.get("sub"), payload["sub"]):
            raise SignInRefusedError("userinfo is about another subject than the ID token")
        self._claims = {**userinfo, **payload}
        return userinfo

    def _userinfo(self, access_token: str) -> dict[str, Any]:
        answer = self._userinfo_answer(access_token)
        nonce = answer.headers.get("DPoP-Nonce")
        if answer.status == 401 and nonce and self._key_of_token is not None:
            answer = self._userinfo_answer(access_token, nonce)
        if answer.status != 200:
            raise SignInRefusedError(f"{_NO_CLAIMS} (status {answer.status}{_moved(answer)})")
        if answer.headers.get("Content-Type", "").lower().startswith("application/jwt"):
            return self.verify_token(answer.body.decode())
        claims: dict[str, Any] = strict_json.loads(answer.body)
        return claims

    def _userinfo_answer(self, access_token: str, nonce: str | None = None) -> transport.Answer:
        """Return the answer to whoever shows the token, with a proof if it is bound to a key."""
        url, key = self.OIDC_OP_USER_ENDPOINT, self._key_of_token
        headers = {**_ANY_TYPE, "Authorization": f"Bearer {access_token}"}
        if key is not None:  # RFC 9449 §7.1
            proof = key.proof("GET", url, nonce=nonce, access_token=access_token)
            headers |= {"Authorization": f"DPoP {access_token}", dpop.HEADER: proof}
        return discovery.answer_of(url, headers=headers, **self._how_to_call())

    @property
    def _key_of_token(self) -> OwnKey | None:
        """The key that the access token is bound to, where it is bound to one of ours."""
        response = self._token_response
        return self._key if response is not None and dpop.is_bound(response.token_type) else None

    def get_or_create_user(
        self, access_token: str, id_token: str, payload: Mapping[str, Any]
    ) -> Any:
        """Return whom the provider vouches for; ``None`` where nobody new may come in."""
        if self.provider is None or self.provider.is_default:
            return super().get_or_create_user(access_token, id_token, payload)
        claims = self.get_userinfo(access_token, id_token, payload)
        if not self.verify_claims(claims):
            raise SignInRefusedError("the site does not accept these claims")
        user = Identity.objects.user_of(payload["iss"], payload["sub"])
        if user is not None:
            return user
        return self._new_user(claims, payload) if self._may_create() else None

    def filter_users_by_claims(self, claims: Mapping[str, Any]) -> Any:
        """Return the users with the claims' e-mail address, which the provider must not disown.

        Nor may the address be one that only the database takes for the same (CVE-2019-19844).
        """
        email = claims.get("email")
        if email and self._is_disowned(claims) and not settings.accept_unverified_email:
            raise SignInRefusedError(_UNVERIFIED)
        users = super().filter_users_by_claims(claims)
        others = [user.pk for user in users if _letters(user.email) != _letters(email)]
        return users.exclude(pk__in=others) if others else users

    def _is_disowned(self, claims: Mapping[str, Any]) -> bool:
        """Return whether the provider calls the claims' address unverified.

        The ID token may say it alone, but not of another address: a site may have its own.
        """
        said = self._claims.get("email")
        is_same = said is None or _letters(said) == _letters(claims["email"])
        return _is_unverified(claims) or (is_same and _is_unverified(self._claims))

    def create_user(self, claims: Mapping[str, Any]) -> Any:
        """Return a new user; one of another provider than the default without e-mail address.

        The default provider's users are found by theirs: whoever chooses it elsewhere must not be
        taken for one of them.
        """
        if self.provider is None or self.provider.is_default:
            return self._new_by_email(claims)
        return self.UserModel.objects.create_user(self.get_username(claims))

    def _new_by_email(self, claims: Mapping[str, Any]) -> Any:
        try:
            with transaction.atomic(using=router.db_for_write(self.UserModel)):
                return super().create_user(claims)
        except IntegrityError:
            raise SignInRefusedError(_TAKEN) from None

    def get_username(self, claims: Mapping[str, Any]) -> str:
        """Return a new user's name; at another provider than the default one by issuer and ``sub``.

        A name that is made of an e-mail address may be taken there.
        """
        if self.provider is None or self.provider.is_default:
            return str(super().get_username(claims))
        return identity_key(self.provider.issuer or "", claims["sub"])

    def _may_create(self) -> bool:
        return bool(self.get_settings("OIDC_CREATE_USER", True))

    def _new_user(self, claims: Mapping[str, Any], payload: Mapping[str, Any]) -> Any:
        try:
            with transaction.atomic(using=router.db_for_write(Identity)):
                user = self.create_user(claims)
                Identity.objects.link(user, payload["iss"], payload["sub"])
        except IntegrityError:
            # Somebody was faster: the same user in another tab.
            user = Identity.objects.user_of(payload["iss"], payload["sub"])
            if user is None:
                raise
        return user

    def store_tokens(self, access_token: str, id_token: str) -> None:
        """Put nothing into the session yet: the user may still be refused."""
        self._issued = (access_token, id_token)

    def _check_issuer_parameter(self, request: HttpRequest, issuer: str | None) -> None:
        """Refuse a callback that names another issuer (B6, RFC 9207 §2.4)."""
        named = request.GET.get("iss")
        if named is not None and issuer is not None and not _same(named, issuer):
            raise SignInRefusedError(f"the callback names the issuer {named!r}, not {issuer!r}")

    def _check_nonce(self, claims: Mapping[str, Any], nonce: str | None) -> None:
        """Refuse an ID token of another sign-in, also where ``OIDC_USE_NONCE`` is off."""
        if not nonce or not _same(claims.get("nonce"), nonce):
            raise SignInRefusedError("the ID token is of another sign-in")

    def _check_id_token(self, claims: Mapping[str, Any], nonce: str | None) -> None:
        """Refuse an ID token that is not for us (B6, OpenID Connect Core §3.1.3.7)."""
        issuer = sign_in.provider_of(self.request).issuer
        if not all(isinstance(claims.get(name), str) for name in ("iss", "sub")):
            raise SignInRefusedError("the ID token lacks its issuer or subject")
        if "exp" not in claims:
            raise SignInRefusedError("the ID token does not say when it expires")
        if issuer is not None and not _same(claims["iss"], issuer):
            raise SignInRefusedError(
                f"the ID token's issuer {claims['iss']!r} is not the provider's, {issuer!r}"
            )
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if not any(_same(one, self.OIDC_RP_CLIENT_ID) for one in audiences):
            raise SignInRefusedError("the ID token is for another client")
        self._check_issuer_parameter(self.request, claims["iss"])
        if self.provider is not None and not self.provider.is_default:
            self._check_nonce(claims, nonce)
        _check_auth_time(claims, sign_in.max_age_of(self.request))

    def _keep(
        self,
        request: HttpRequest,
        user: Any,
        token_response: oauth.TokenResponse,
        previous_handle: str | None,
    ) -> None:
        provider = sign_in.provider_of(request).name
        kept = sign_in.SignIn(user, provider, token_response, self._claims, previous_handle)
        sign_in.keep(request, kept)
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
    except discovery.MetadataRefused as error:
        raise SignInRefusedError(f"{reason}: {error}") from error
    except (
        jwt.PyJWTError,
        requests.RequestException,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        answer = getattr(error, "response", None)
        status = "" if answer is None else f", status {answer.status_code}"
        raise SignInRefusedError(f"{reason} ({type(error).__name__}{status})") from error


def _moved(answer: transport.Answer) -> str:
    return ", and no redirect is followed" if 300 <= answer.status < 400 else ""


def _check_auth_time(claims: Mapping[str, Any], max_age: int | None) -> None:
    """Refuse an ID token of an older authentication than was asked for (§3.1.3.7, 13)."""
    if max_age is None:
        return
    auth_time = claims.get("auth_time")
    oldest = time.time() - max_age - LEEWAY_SECONDS
    if not isinstance(auth_time, int | float) or auth_time < oldest:
        raise SignInRefusedError(f"the user did not authenticate within {max_age} s")


def _check_claims(claims: Any) -> None:
    """Raise unless ``claims`` are what a site's own code may rely on.

    Raises ``TypeError``, ``ValueError`` (what is no JSON, or no text), or ``RecursionError``.
    """
    if not isinstance(claims, dict) or not isinstance(claims.get("email", ""), str):
        raise TypeError("claims are an object, and an e-mail address is a text")
    json.dumps(claims, allow_nan=False, ensure_ascii=False).encode()


def _is_unverified(claims: Mapping[str, Any]) -> bool:
    """Return whether the claims say so; some providers write booleans as texts, or numbers."""
    return str(claims.get("email_verified")).lower() in ("false", "0")


def _letters(email: str | None) -> str:
    """Return an e-mail address for comparison, as Django's ``PasswordResetForm`` does it."""
    return unicodedata.normalize("NFKC", email or "").casefold()


def _same(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and constant_time_compare(one, other)
