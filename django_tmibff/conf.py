"""The settings: names, types and defaults, looked up at each use: ``override_settings`` works."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from typing import Any, Literal, cast, get_args

from django.apps import apps
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

logger = logging.getLogger(__name__)

ResourceRequest = Literal["resource", "one_resource", "audience", "scope_prefix", "token_exchange"]
Dpop = Literal["off", "allowed", "required"]
NarrowerScope = Literal["ask", "ask-strict", "refuse", "serve"]
ClientAuthMethod = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
]

DEFAULT_PROVIDER = "default"
# How far a provider's clock may be off, or that of another host of ours.
LEEWAY_SECONDS = 60.0
_MOST_USER_CHECK_SECONDS = 60
DEFAULT_CLAIMS = (
    "preferred_username",
    "name",
    "given_name",
    "family_name",
    "email",
    "email_verified",
    "picture",
    "locale",
)

#: What the members of the default provider are called in the settings.
OIDC_NAMES = {
    "issuer": "OIDC_OP_ISSUER",
    "authorization_endpoint": "OIDC_OP_AUTHORIZATION_ENDPOINT",
    "token_endpoint": "OIDC_OP_TOKEN_ENDPOINT",
    "userinfo_endpoint": "OIDC_OP_USER_ENDPOINT",
    "revocation_endpoint": "OIDC_OP_REVOCATION_ENDPOINT",
    "end_session_endpoint": "OIDC_OP_END_SESSION_ENDPOINT",
    "jwks_endpoint": "OIDC_OP_JWKS_ENDPOINT",
    "signing_alg": "OIDC_RP_SIGN_ALGO",
    "signing_key": "OIDC_RP_IDP_SIGN_KEY",
    "client_id": "OIDC_RP_CLIENT_ID",
    "client_secret": "OIDC_RP_CLIENT_SECRET",
    "client_auth": "TMIBFF_CLIENT_AUTH",
    "scope": "OIDC_RP_SCOPES",
    "authorization_params": "OIDC_AUTH_REQUEST_EXTRA_PARAMS",
    "verify": "OIDC_VERIFY_SSL",
    "proxies": "OIDC_PROXY",
}

DEFAULTS: dict[str, Any] = {
    "TMIBFF_STORE": "django_tmibff.stores.db",
    "TMIBFF_CACHE_ALIAS": "default",
    "TMIBFF_CACHE_SECONDS": 60,
    "TMIBFF_ENCRYPTION_KEYS": None,
    "TMIBFF_RESOURCES": [],
    "TMIBFF_SCOPES": [],
    "TMIBFF_DEFAULT_RESOURCE": None,
    "TMIBFF_DEFAULT_SCOPE": None,
    "TMIBFF_ORIGINS": [],
    "TMIBFF_NARROWER_SCOPE": "ask",
    "TMIBFF_REFRESH_MARGIN": 30,
    "TMIBFF_FORCED_REFRESH_INTERVAL": 10,
    "TMIBFF_AS_CALLS_PER_MINUTE": 30,
    "TMIBFF_REFUSAL_SECONDS": 30,
    "TMIBFF_OUTAGE_SECONDS": 2,
    "TMIBFF_AS_TIMEOUT": 10,
    "TMIBFF_REQUIRED_HEADER": None,
    "TMIBFF_END_SESSION_ON_INVALID_GRANT": True,
    "TMIBFF_SESSION_INFO": "django_tmibff.sessioninfo.session_info",
    "TMIBFF_SESSION_INFO_CLAIMS": DEFAULT_CLAIMS,
    "TMIBFF_REVOCATION_DAYS": 7,
    "TMIBFF_CLIENT_AUTH": None,
    "TMIBFF_PROVIDERS": {},
    "TMIBFF_USER_CHECK_SECONDS": 0,
    "TMIBFF_WARM_SKIPS": [],
    "TMIBFF_DPOP": "off",
    "TMIBFF_ACCEPT_UNVERIFIED_EMAIL": False,
}


@cache
def _setting(name: str) -> Any:
    # To find that one is not set takes Django ten times as long as to find one, and most are not.
    return getattr(django_settings, name, DEFAULTS[name])


@receiver(setting_changed)
def _forget_settings(**_sent: Any) -> None:
    _setting.cache_clear()


@dataclass(frozen=True)
class ClientAuth:
    """How this site authenticates at an authorization server.

    ``key``: PEM or a JWK, private; ``aud``: whom a signed assertion is for, the issuer where it is
    not given. ``certificate``: the path of a PEM file with certificate and key, or both paths.
    """

    method: ClientAuthMethod
    key: Any = field(default=None, repr=False)
    alg: str | None = None
    kid: str | None = None
    aud: str | None = None
    certificate: str | tuple[str, str] | None = None


@dataclass(frozen=True)
class Provider:
    """An authorization server and this site's client there."""

    name: str
    issuer: str | None
    authorization_endpoint: str | None
    token_endpoint: str | None
    userinfo_endpoint: str | None
    revocation_endpoint: str | None
    end_session_endpoint: str | None
    jwks_endpoint: str | None
    signing_alg: str
    # For HS256 it is a secret; a public key otherwise.
    signing_key: str | bytes | None = field(repr=False)
    client_id: str
    client_secret: str = field(repr=False)
    client_auth: ClientAuth
    scope: str
    # What the authorization request says beside that.
    authorization_params: Mapping[str, Any]
    resource_request: ResourceRequest
    resources_at_sign_in: bool
    # RFC 9449 §5.2: what our client there was registered with.
    dpop_bound_access_tokens: bool
    verify: bool | str
    # A proxy's URL may hold its password.
    proxies: Mapping[str, str] | None = field(repr=False)

    @property
    def is_default(self) -> bool:
        """Whether it is the one of mozilla-django-oidc's settings."""
        return self.name == DEFAULT_PROVIDER

    @property
    def signs_with_secret(self) -> bool:
        """Whether its ID tokens are signed with the client secret rather than a key of its own."""
        return self.signing_alg.startswith("HS")

    @property
    def uses_secret(self) -> bool:
        """Whether the client secret is needed, to authenticate or to verify ID tokens."""
        return self.signs_with_secret or self.client_auth.method.startswith("client_secret_")

    def may_be(self, issuer: str | None) -> bool:
        """Return whether it is the server of that issuer, as far as both are known.

        One with a placeholder, as a provider has it for all its tenants, stands for many.
        """
        if issuer is None or not self.issuer or "{" in self.issuer:
            return True
        return self.issuer.rstrip("/") == issuer.rstrip("/")

    @property
    def missing_for_sign_in(self) -> list[str]:
        """The members without which nobody can sign in there."""
        needed = [
            "issuer",
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "client_id",
        ]
        if self.uses_secret:
            needed.append("client_secret")
        if not self.signs_with_secret and not self.signing_key:
            needed.append("jwks_endpoint")
        return [name for name in needed if not getattr(self, name)]


# Keys and endpoints of one authorization server say nothing of another: with the first one's keys
# it could sign for the second.
_NOTHING_OF_ANOTHER_SERVER: dict[str, Any] = {
    "authorization_endpoint": None,
    "token_endpoint": None,
    "userinfo_endpoint": None,
    "revocation_endpoint": None,
    "end_session_endpoint": None,
    "jwks_endpoint": None,
    "signing_key": None,
    "client_id": "",
    "client_secret": "",
    "client_auth": ClientAuth("client_secret_basic"),
    "authorization_params": {},
}


class Settings:
    """This site's ``TMIBFF_*`` settings; times are in seconds."""

    @property
    def store(self) -> str:
        return cast(str, _setting("TMIBFF_STORE"))

    @property
    def cache_alias(self) -> str:
        """The cache in ``CACHES`` that the stores with a cache use."""
        return cast(str, _setting("TMIBFF_CACHE_ALIAS"))

    @property
    def cache_seconds(self) -> float:
        """How long the cache may keep a copy of what the database has."""
        return cast(float, _setting("TMIBFF_CACHE_SECONDS"))

    @property
    def encryption_keys(self) -> tuple[str | bytes, ...]:
        return tuple(_setting("TMIBFF_ENCRYPTION_KEYS") or ())

    @property
    def resources(self) -> Mapping[str, Mapping[str, Any]]:
        """The resources that a page may ask for, each with its options (T5)."""
        listed = _setting("TMIBFF_RESOURCES")
        if isinstance(listed, str):
            raise ImproperlyConfigured("TMIBFF_RESOURCES must be a list or a mapping, not a text.")
        known = dict(listed) if isinstance(listed, Mapping) else {uri: {} for uri in listed}
        if self.default_resource is not None:
            known.setdefault(self.default_resource, {})
        return known

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes that a page may ask for beyond those granted at sign-in (T5)."""
        return frozenset(_setting("TMIBFF_SCOPES")) | frozenset((self.default_scope or "").split())

    @property
    def default_resource(self) -> str | None:
        return cast(str | None, _setting("TMIBFF_DEFAULT_RESOURCE"))

    @property
    def default_scope(self) -> str | None:
        return cast(str | None, _setting("TMIBFF_DEFAULT_SCOPE"))

    @property
    def origins(self) -> Sequence[str]:
        """Where a page may send a token that is not for a resource."""
        return cast(Sequence[str], _setting("TMIBFF_ORIGINS"))

    @property
    def narrower_scope(self) -> NarrowerScope:
        choice = _setting("TMIBFF_NARROWER_SCOPE")
        if choice not in get_args(NarrowerScope):
            raise ImproperlyConfigured(
                f"TMIBFF_NARROWER_SCOPE must be one of {', '.join(get_args(NarrowerScope))}."
            )
        return cast(NarrowerScope, choice)

    @property
    def refresh_margin(self) -> float:
        return cast(float, _setting("TMIBFF_REFRESH_MARGIN"))

    @property
    def forced_refresh_interval(self) -> float:
        return cast(float, _setting("TMIBFF_FORCED_REFRESH_INTERVAL"))

    @property
    def as_calls_per_minute(self) -> int:
        return cast(int, _setting("TMIBFF_AS_CALLS_PER_MINUTE"))

    @property
    def refusal_seconds(self) -> float:
        return cast(float, _setting("TMIBFF_REFUSAL_SECONDS"))

    @property
    def outage_seconds(self) -> float:
        """How long an authorization server is left alone after it did not answer; 0: not at all."""
        return cast(float, _setting("TMIBFF_OUTAGE_SECONDS"))

    @property
    def as_timeout(self) -> float:
        """The total time that one call to the authorization server may take."""
        return cast(float, _setting("TMIBFF_AS_TIMEOUT"))

    @property
    def required_header(self) -> str | None:
        return cast(str | None, _setting("TMIBFF_REQUIRED_HEADER"))

    @property
    def end_session_on_invalid_grant(self) -> bool:
        return cast(bool, _setting("TMIBFF_END_SESSION_ON_INVALID_GRANT"))

    @property
    def revocation_seconds(self) -> float:
        """How long after its end a token set's revocation is tried."""
        return cast(float, _setting("TMIBFF_REVOCATION_DAYS")) * 24 * 3600

    @property
    def user_check_seconds(self) -> float:
        """How long ``WarmTokenMiddleware`` trusts that a user may still sign in (E3)."""
        return min(cast(float, _setting("TMIBFF_USER_CHECK_SECONDS")), _MOST_USER_CHECK_SECONDS)

    @property
    def warm_skips(self) -> Sequence[str]:
        """The middlewares that ``WarmTokenMiddleware`` may answer in front of."""
        return cast(Sequence[str], _setting("TMIBFF_WARM_SKIPS"))

    @property
    def dpop(self) -> Dpop:
        """Whether tokens are bound to a key of the page's (RFC 9449)."""
        choice = _setting("TMIBFF_DPOP")
        if choice not in get_args(Dpop):
            raise ImproperlyConfigured(f"TMIBFF_DPOP must be one of {', '.join(get_args(Dpop))}.")
        return cast(Dpop, choice)

    @property
    def accept_unverified_email(self) -> bool:
        """Whether an e-mail address counts that the provider itself calls unverified."""
        return _setting("TMIBFF_ACCEPT_UNVERIFIED_EMAIL") is True

    @property
    def session_info(self) -> str:
        return cast(str, _setting("TMIBFF_SESSION_INFO"))

    @property
    def session_info_claims(self) -> Sequence[str]:
        return cast(Sequence[str], _setting("TMIBFF_SESSION_INFO_CLAIMS"))

    def provider(self, name: str = DEFAULT_PROVIDER) -> Provider:
        """Return the provider of that name: from ``OIDC_*``, changed by ``TMIBFF_PROVIDERS[name]``.

        One with an issuer of its own takes over neither endpoints nor keys nor the client of the
        ``OIDC_*`` settings. Raises ``ImproperlyConfigured`` when there is none.
        """
        own = _setting("TMIBFF_PROVIDERS")
        if name != DEFAULT_PROVIDER and name not in own:
            raise ImproperlyConfigured(f"TMIBFF_PROVIDERS has no provider named {name!r}.")
        try:
            return self._provider(name, own.get(name, {}))
        except TypeError as error:
            raise ImproperlyConfigured(
                f"TMIBFF_PROVIDERS[{name!r}] has an unknown member."
            ) from error

    def _provider(self, name: str, own: Mapping[str, Any]) -> Provider:
        usual = self._oidc_provider()
        if own.get("issuer", usual["issuer"]) != usual["issuer"]:
            usual |= _NOTHING_OF_ANOTHER_SERVER
        members = {**usual, **own, "name": name}
        if members["resource_request"] not in get_args(ResourceRequest):
            raise ImproperlyConfigured(
                f"TMIBFF_PROVIDERS[{name!r}]['resource_request'] must be one of"
                f" {', '.join(get_args(ResourceRequest))}."
            )
        if "client_auth" in own:
            members["client_auth"] = _client_auth(
                own["client_auth"], f"TMIBFF_PROVIDERS[{name!r}]['client_auth']"
            )
        return Provider(**members)

    @property
    def providers(self) -> Sequence[Provider]:
        """All providers that are set up, the default one first."""
        found = (self.find_provider(name) for name in (DEFAULT_PROVIDER, *self.provider_names))
        return [provider for provider in found if provider is not None]

    @property
    def provider_names(self) -> Sequence[str]:
        """The providers beside the default one."""
        return list(_setting("TMIBFF_PROVIDERS"))

    def find_provider(self, name: str) -> Provider | None:
        """Return that provider; ``None``, with an error in the log, where it is not set up."""
        try:
            return self.provider(name)
        except ImproperlyConfigured as error:
            logger.error("provider %s is not set up: %s", name, error)  # noqa: TRY400  # its text says it all
            return None

    @property
    def uses_oidc(self) -> bool:
        """Whether mozilla-django-oidc signs people in here."""
        installed = apps.is_installed("mozilla_django_oidc")
        return installed or hasattr(django_settings, "OIDC_OP_AUTHORIZATION_ENDPOINT")

    def signs_in_at(self, provider: Provider) -> bool:
        """Whether users sign in there; else its tokens come to us in another way."""
        return self.uses_oidc if provider.is_default else bool(provider.authorization_endpoint)

    def name_of(self, member: str, provider: str) -> str:
        """Return the setting that says what that member of ``Provider`` is."""
        own = _setting("TMIBFF_PROVIDERS").get(provider, {})
        if provider != DEFAULT_PROVIDER or member not in OIDC_NAMES or member in own:
            return f"TMIBFF_PROVIDERS[{provider!r}][{member!r}]"
        if member == "client_auth" and _setting("TMIBFF_CLIENT_AUTH") is None:
            return "OIDC_TOKEN_USE_BASIC_AUTH"
        return OIDC_NAMES[member]

    def _oidc_provider(self) -> dict[str, Any]:
        """Return what mozilla-django-oidc's settings say: nobody writes them twice."""
        return {
            "issuer": getattr(django_settings, "OIDC_OP_ISSUER", None),
            "authorization_endpoint": getattr(
                django_settings, "OIDC_OP_AUTHORIZATION_ENDPOINT", None
            ),
            "token_endpoint": getattr(django_settings, "OIDC_OP_TOKEN_ENDPOINT", None),
            "userinfo_endpoint": getattr(django_settings, "OIDC_OP_USER_ENDPOINT", None),
            "revocation_endpoint": getattr(django_settings, "OIDC_OP_REVOCATION_ENDPOINT", None),
            "end_session_endpoint": getattr(django_settings, "OIDC_OP_END_SESSION_ENDPOINT", None),
            "jwks_endpoint": getattr(django_settings, "OIDC_OP_JWKS_ENDPOINT", None),
            "signing_alg": getattr(django_settings, "OIDC_RP_SIGN_ALGO", "HS256"),
            "signing_key": getattr(django_settings, "OIDC_RP_IDP_SIGN_KEY", None),
            "client_id": getattr(django_settings, "OIDC_RP_CLIENT_ID", ""),
            "client_secret": getattr(django_settings, "OIDC_RP_CLIENT_SECRET", ""),
            "client_auth": self._client_auth(),
            "scope": self._sign_in_scope(),
            "authorization_params": getattr(django_settings, "OIDC_AUTH_REQUEST_EXTRA_PARAMS", {}),
            "resource_request": "resource",
            "resources_at_sign_in": False,
            "dpop_bound_access_tokens": False,
            "verify": getattr(django_settings, "OIDC_VERIFY_SSL", True),
            "proxies": getattr(django_settings, "OIDC_PROXY", None),
        }

    def _client_auth(self) -> ClientAuth:
        chosen = _setting("TMIBFF_CLIENT_AUTH")
        if chosen is not None:
            return _client_auth(chosen, "TMIBFF_CLIENT_AUTH")
        basic = getattr(django_settings, "OIDC_TOKEN_USE_BASIC_AUTH", False)
        return ClientAuth("client_secret_basic" if basic else "client_secret_post")

    def _sign_in_scope(self) -> str:
        """Return the scope that mozilla-django-oidc asks for at sign-in."""
        extra = getattr(django_settings, "OIDC_AUTH_REQUEST_EXTRA_PARAMS", {})
        requested = getattr(django_settings, "OIDC_RP_SCOPES", "openid email")
        return cast(str, extra.get("scope", requested))


def _client_auth(chosen: Any, setting: str) -> ClientAuth:
    """Return what ``setting`` says of client authentication; raises ``ImproperlyConfigured``."""
    method = chosen.get("method", "") if isinstance(chosen, Mapping) else ""
    if method not in get_args(ClientAuthMethod):
        raise ImproperlyConfigured(
            f"{setting}['method'] must be one of {', '.join(get_args(ClientAuthMethod))}."
        )
    if method == "private_key_jwt" and not chosen.get("key"):
        raise ImproperlyConfigured(f"{setting}['key'] must be a private key, as PEM or JWK.")
    members = dict(chosen)
    if method.endswith("tls_client_auth"):
        members["certificate"] = _certificate(chosen.get("certificate"), setting)
    try:
        return ClientAuth(**members)
    except TypeError:
        raise ImproperlyConfigured(f"{setting} has an unknown member.") from None


def _certificate(chosen: Any, setting: str) -> str | tuple[str, str]:
    """Return the path, or both, as requests takes them: it knows neither lists nor ``Path``."""
    match chosen:
        case [str() | PathLike() as certificate, str() | PathLike() as key]:
            return str(certificate), str(key)
        case str() | PathLike() if str(chosen):
            return str(chosen)
    raise ImproperlyConfigured(
        f"{setting}['certificate'] must be the path of a PEM file, or those of two."
    )


settings = Settings()
