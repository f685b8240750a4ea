"""How a token for a resource is asked for: authorization servers know several ways.

One small function for each; nothing else knows which provider does what.
"""

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import oauth, policy
from .client_auth import Parameters
from .conf import Provider, settings
from .exceptions import AuthorizationServerRefused, InvalidTarget

logger = logging.getLogger(__name__)

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a name
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a name


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, and what it is asked with.

    ``subject_token``: the sign-in's own access token, where ``needs_subject_token`` says so.
    ``proof``: of the key that the token is to be bound to.
    """

    refresh_token: str = field(repr=False)
    subject_token: str | None = field(default=None, repr=False)
    resources: tuple[str, ...] = ()
    scope: str = ""
    proof: str | None = field(default=None, repr=False)


def send(provider: Provider, request: Request) -> oauth.TokenResponse:
    """Return what the authorization server gives; raises what ``oauth.refresh`` does."""
    if not request.resources:
        scope = _scope(request.scope)
        return oauth.refresh(provider, request.refresh_token, scope, proof=request.proof)
    try:
        return _WAYS[provider.resource_request](provider, request)
    except AuthorizationServerRefused as refused:
        if refused.error in ("invalid_target", "invalid_scope"):
            logger.warning(
                "provider %s refuses a resource: see resource_request, resources_at_sign_in",
                provider.name,
            )
        raise


def needs_subject_token(provider: Provider, resources: tuple[str, ...]) -> bool:
    """Return whether a token for ``resources`` is had for another access token."""
    return bool(resources) and provider.resource_request == "token_exchange"


def at_sign_in(
    provider: Provider,
    resources: tuple[str, ...],
    scopes: tuple[str, ...],
    *,
    named_before: Collection[str] = (),
) -> tuple[list[str], Parameters]:
    """Return the scopes and the parameters of a sign-in that asks for ``resources``.

    And for those that this session's sign-ins have named before, as far as the site still lists
    them; for all that it lists, where renewals give only what the sign-in has asked for. Raises
    ``InvalidTarget`` for more than the provider's way allows.
    """
    values = [*scopes, *sorted(policy.scopes_of(resources))]
    listed = tuple(settings.resources) if provider.resources_at_sign_in else ()
    match provider.resource_request:
        case "resource" | "one_resource":
            again = [uri for uri in settings.resources if uri in named_before]
            named = dict.fromkeys([*resources, *again, *listed])
            return values, [("resource", uri) for uri in named]
        case "audience" if resources or listed:
            return values, [("audience", _only(resources or listed[:1]))]
        case "scope_prefix" if resources:
            return _prefixed(_only(resources), values), []
    return values, []


def _by_resource(provider: Provider, request: Request) -> oauth.TokenResponse:
    """RFC 8707 §2.2."""
    named = [("resource", resource) for resource in request.resources]
    return _refreshed(provider, request, [*named, *_scope(request.scope)])


def _by_one_resource(provider: Provider, request: Request) -> oauth.TokenResponse:
    """RFC 8707 §2.2, but one at a time: some servers refuse several, the refresh token used up."""
    _only(request.resources)
    return _by_resource(provider, request)


def _by_audience(provider: Provider, request: Request) -> oauth.TokenResponse:
    """As Auth0 has it: ``audience``, one at a time."""
    audience = _only(request.resources)
    return _refreshed(provider, request, [("audience", audience), *_scope(request.scope)])


def _by_scope_prefix(provider: Provider, request: Request) -> oauth.TokenResponse:
    """As Entra ID has it: each scope value begins with the resource, one at a time."""
    resource = _only(request.resources)
    prefixed = _prefixed(resource, request.scope.split())
    response = _refreshed(provider, request, _scope(" ".join(prefixed)))
    return _without_prefix(response, f"{resource}/")


def _by_token_exchange(provider: Provider, request: Request) -> oauth.TokenResponse:
    """RFC 8693 §2.1: the sign-in's access token for one that the resource takes."""
    parameters = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", request.subject_token or ""),
        ("subject_token_type", ACCESS_TOKEN_TYPE),
        ("requested_token_type", ACCESS_TOKEN_TYPE),
        *(("audience", resource) for resource in request.resources),
        *_scope(request.scope),
        *_extra(request.resources),
    ]
    response = oauth.exchange_token(
        provider, parameters, secret=request.subject_token or "", proof=request.proof
    )
    # One that came along would not be the session's own.
    return replace(response, refresh_token=None, refresh_expires_in=None, id_token=None)


_WAYS: dict[str, Callable[[Provider, Request], oauth.TokenResponse]] = {
    "resource": _by_resource,
    "one_resource": _by_one_resource,
    "audience": _by_audience,
    "scope_prefix": _by_scope_prefix,
    "token_exchange": _by_token_exchange,
}


def _refreshed(provider: Provider, request: Request, parameters: Parameters) -> oauth.TokenResponse:
    extra = _extra(request.resources)
    sent = [*parameters, *extra]
    return oauth.refresh(provider, request.refresh_token, sent, proof=request.proof)


def _prefixed(resource: str, scopes: list[str]) -> list[str]:
    return [f"{resource}/{value}" for value in scopes or [".default"]]


def _scope(scope: str) -> Parameters:
    return [("scope", scope)] if scope else []


def _only(resources: tuple[str, ...]) -> str:
    if len(resources) > 1:
        raise InvalidTarget("This authorization server gives tokens for one resource at a time.")
    return resources[0]


def _extra(resources: tuple[str, ...]) -> Parameters:
    """Return the parameters that the site adds for these resources (RFC 9396 among them)."""
    merged: dict[str, Any] = {}
    for resource in resources:
        merged |= settings.resources.get(resource, {}).get("extra", {})
    return [(name, _text(value)) for name, value in merged.items()]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, Mapping | list | tuple) else str(value)


def _without_prefix(response: oauth.TokenResponse, prefix: str) -> oauth.TokenResponse:
    if response.scope is None:
        return response
    values = (value.removeprefix(prefix) for value in response.scope.split())
    return replace(response, scope=" ".join(values))
