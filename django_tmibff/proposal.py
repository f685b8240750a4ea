"""The settings that a provider's metadata stands for, and what the provider lacks.

Nothing of a provider's own gets into a settings block but URLs that ``discovery`` has checked; all
else is chosen from words that are known here.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from . import key_sets
from .conf import DEFAULT_PROVIDER, OIDC_NAMES, settings
from .discovery import Metadata

#: What the endpoints of the metadata are called in ``Provider``.
MEMBERS: Mapping[str, str] = {
    "authorization_endpoint": "authorization_endpoint",
    "token_endpoint": "token_endpoint",
    "userinfo_endpoint": "userinfo_endpoint",
    "jwks_uri": "jwks_endpoint",
    "revocation_endpoint": "revocation_endpoint",
    "end_session_endpoint": "end_session_endpoint",
}
# Where the client authenticates, maybe with a certificate (RFC 8705 §5).
_CLIENT_ENDPOINTS = frozenset({"token_endpoint", "revocation_endpoint"})
#: What mozilla-django-oidc verifies with a published key. RS256 is what a client that was
#: registered without a word on it gets (OpenID Connect Dynamic Client Registration 1.0 §2).
SIGNING_ALGS = ("RS256", "ES256", "RS384", "RS512", "ES384", "ES512")

# What PyJWT takes a key for that does not say, and mozilla-django-oidc leaves that to it.
_GUESSED_ALGS = frozenset({"RS256", "ES256", "ES384", "ES512"})
_SECRET_ALGS = ("HS256", "HS384", "HS512")
_ASSERTION_ALGS = ("ES256", "PS256", "RS256", "EdDSA", "ES384", "PS384", "RS384", "ES512")
_SCOPES = ("openid", "email", "profile")
# How a sign-in with mozilla-django-oidc should go wherever it goes to.
_OUR_SIGN_IN = {
    "OIDC_USE_PKCE": True,
    "OIDC_AUTHENTICATE_CLASS": "django_tmibff.views.OIDCRequestView",
    "OIDC_CALLBACK_CLASS": "django_tmibff.views.OIDCCallbackView",
}
_BASIC, _POST = {"method": "client_secret_basic"}, {"method": "client_secret_post"}
# By what each needs, the least first; the two with a plain secret come before them.
_OTHER_AUTH = (
    "private_key_jwt",
    "client_secret_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
)

Value = str | dict[str, str]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the settings of a provider would be, by the members of ``Provider``.

    ``warnings``: what the provider lacks, for people.
    """

    provider: str
    members: Mapping[str, Value]
    warnings: tuple[str, ...]

    def block(self) -> str:
        """Return the settings as Python has them."""
        if self.provider != DEFAULT_PROVIDER:
            lines = (f"        {member!r}: {value!r},\n" for member, value in self.members.items())
            start = f"TMIBFF_PROVIDERS = {{\n    {self.provider!r}: {{\n"
            return f"{start}{''.join(lines)}    }},\n}}\n"
        return "".join(f"{name} = {value!r}\n" for name, value in self._oidc_settings().items())

    def _oidc_settings(self) -> dict[str, Any]:
        members = dict(self.members)
        client_auth = members.pop("client_auth", None)
        found: dict[str, Any] = {OIDC_NAMES[name]: value for name, value in members.items()}
        if "end_session_endpoint" in members:
            found["OIDC_OP_LOGOUT_URL_METHOD"] = "django_tmibff.logout.end_session_url"
        found |= _OUR_SIGN_IN
        if client_auth in (_BASIC, _POST):
            found["OIDC_TOKEN_USE_BASIC_AUTH"] = client_auth == _BASIC
        elif client_auth is not None:
            found["TMIBFF_CLIENT_AUTH"] = client_auth
        return found


def propose(metadata: Metadata, keys: Iterable[Any], provider: str = DEFAULT_PROVIDER) -> Proposal:
    """Return the settings for that metadata, of a server whose published keys are ``keys``.

    ``provider``: what the site calls it.
    """
    keys = list(keys)
    method = _client_auth_method(metadata)
    proposed: dict[str, Value | None] = {
        "issuer": metadata.issuer,
        **{member: endpoint(metadata, name, method) for name, member in MEMBERS.items()},
        "client_id": "your-client-id",
        "client_secret": "your-client-secret",
        "client_auth": _client_auth(metadata, method),
        "signing_alg": _signing_alg(metadata, keys),
        "scope": _scopes(metadata),
    }
    warnings = [
        *lacks(metadata, provider),
        *_lacks_keys(metadata, keys, provider),
        *_lacks_client_auth(metadata, method, provider),
    ]
    members = {name: value for name, value in proposed.items() if value is not None}
    return Proposal(provider, members, tuple(warnings))


def lacks(metadata: Metadata, provider: str, known: Collection[str] = ()) -> list[str]:
    """Return what that provider does not do, or says oddly.

    ``known``: the endpoints, by the metadata's names, that the settings have from elsewhere.
    """
    return [
        *metadata.remarks,
        *_lacks_at_sign_in(metadata, provider, known),
        *_lacks_later(metadata, provider, known),
    ]


def client_auth_methods(metadata: Metadata) -> tuple[str, ...]:
    """Return how a client may authenticate there (RFC 8414 §2: Basic, where nothing is said)."""
    offered = metadata.lists.get("token_endpoint_auth_methods_supported")
    return ("client_secret_basic",) if offered is None else offered


def sign_in_keys(keys: Iterable[Any], alg: str) -> list[jwt.PyJWK]:
    """Return those of the published ``keys`` with which mozilla-django-oidc verifies ``alg``."""
    told = (key for key in keys if isinstance(key, dict))
    return key_sets.fitting((k for k in told if "alg" in k or alg in _GUESSED_ALGS), alg)


def _client_auth_method(metadata: Metadata) -> str | None:
    offered = client_auth_methods(metadata)
    known = ("client_secret_basic", "client_secret_post", *_OTHER_AUTH)
    return next((method for method in known if method in offered), None)


def _client_auth(metadata: Metadata, method: str | None) -> dict[str, str] | None:
    return None if method is None else {"method": method, **_needs(metadata, method)}


def _needs(metadata: Metadata, method: str) -> dict[str, str]:
    offered = metadata.lists.get("token_endpoint_auth_signing_alg_values_supported", ())
    match method:
        case "private_key_jwt":
            alg = next((alg for alg in _ASSERTION_ALGS if alg in offered), "RS256")
            return {"key": "your-private-key", "alg": alg}
        case "client_secret_jwt":
            return {"alg": next((alg for alg in _SECRET_ALGS if alg in offered), "HS256")}
        case "client_secret_basic" | "client_secret_post":
            return {}
    return {"certificate": "/path/to/your/certificate-and-key.pem"}


def endpoint(metadata: Metadata, name: str, method: str | None) -> str | None:
    """Return where that endpoint is for a client that authenticates with ``method``."""
    if name not in _CLIENT_ENDPOINTS:
        return metadata.endpoints.get(name)
    usual, alias = metadata.endpoints.get(name), metadata.mtls_endpoints.get(name)
    with_certificate = (method or "").endswith("tls_client_auth")
    return (alias or usual) if with_certificate else (usual or alias)


def _signing_alg(metadata: Metadata, keys: list[Any]) -> str | None:
    """Return what ID tokens are signed with: offered, known to us, and there is a key for it."""
    offered = metadata.lists.get("id_token_signing_alg_values_supported", SIGNING_ALGS)
    with_keys = [alg for alg in SIGNING_ALGS if alg in offered and sign_in_keys(keys, alg)]
    with_secret = [alg for alg in _SECRET_ALGS if alg in offered]
    return next(iter([*with_keys, *with_secret]), None)


def _scopes(metadata: Metadata) -> str:
    offered = metadata.lists.get("scopes_supported")
    wanted = (*_SCOPES, *(["offline_access"] if offered else []))
    # openid is what makes it a sign-in; some name only what is their own.
    return " ".join(s for s in wanted if offered is None or s in offered or s == "openid")


def _lacks_at_sign_in(metadata: Metadata, provider: str, known: Collection[str]) -> Iterator[str]:
    if "S256" not in metadata.lists.get("code_challenge_methods_supported", ()):
        yield (
            "PKCE with S256 is not offered: OIDC_USE_PKCE = True does no harm where it is ignored,"
            " and no good."
        )
    if "code" not in metadata.lists.get("response_types_supported", ("code",)):
        yield "The authorization code flow is not offered, and there is no other sign-in here."
    if "userinfo_endpoint" not in {*metadata.endpoints, *known}:
        setting = settings.name_of("userinfo_endpoint", provider)
        yield f"The metadata names no userinfo_endpoint: without {setting} nobody can sign in."
    if "require_pushed_authorization_requests" in metadata.flags:
        yield "It wants pushed authorization requests, which mozilla-django-oidc does not send."
    if "require_signed_request_object" in metadata.flags:
        yield "It wants signed request objects, which mozilla-django-oidc does not send."


def _lacks_later(metadata: Metadata, provider: str, known: Collection[str]) -> Iterator[str]:
    if "refresh_token" not in metadata.lists.get("grant_types_supported", ("refresh_token",)):
        yield (
            "The refresh_token grant is not offered: when the token of a sign-in has expired,"
            " people sign in again."
        )
    if "revocation_endpoint" not in {*metadata.endpoints, *metadata.mtls_endpoints, *known}:
        setting = settings.name_of("revocation_endpoint", provider)
        yield (
            "The metadata names no revocation_endpoint: refresh tokens outlive their session,"
            f" unless {setting} is known otherwise."
        )
    if "end_session_endpoint" not in {*metadata.endpoints, *known}:
        setting = settings.name_of("end_session_endpoint", provider)
        yield (
            "The metadata names no end_session_endpoint: who signs out here stays signed in there,"
            f" unless {setting} is known otherwise."
        )
    if "backchannel_logout_supported" not in metadata.flags:
        yield "No back-channel logout: who signs out there stays signed in here."


def _lacks_keys(metadata: Metadata, keys: list[Any], provider: str) -> Iterator[str]:
    alg, setting = _signing_alg(metadata, keys), settings.name_of("signing_alg", provider)
    if alg is None:
        yield (
            "None of its keys and algorithms is one that mozilla-django-oidc verifies ID tokens"
            f" with ({', '.join(SIGNING_ALGS)}): set {setting} to what your client is registered"
            " with."
        )
    elif alg in _SECRET_ALGS:
        yield f"ID tokens can only be verified with the client's secret ({setting}: {alg})."
    if "jwks_uri" not in metadata.endpoints:
        yield "The metadata names no jwks_uri: no signature can be verified with a published key."


def _lacks_client_auth(metadata: Metadata, method: str | None, provider: str) -> Iterator[str]:
    if method is None:
        yield "None of its ways of client authentication is known here: see TMIBFF_CLIENT_AUTH."
        return
    if method in _OTHER_AUTH:
        yield f"No plain client secret is taken: fill in what {method} needs (TMIBFF_CLIENT_AUTH)."
    for name in sorted(_CLIENT_ENDPOINTS & metadata.mtls_endpoints.keys()):
        setting = settings.name_of(MEMBERS[name], provider)
        if name not in metadata.endpoints:
            yield f"{name} is there for mutual TLS only: {setting} needs that."
        elif method.endswith("tls_client_auth"):
            yield f"{setting} is the one for mutual TLS."
