"""Whether a site's settings are what its provider's metadata says."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings as django_settings

from .conf import Provider, settings
from .discovery import Metadata
from .own_key import ALG
from .proposal import MEMBERS, client_auth_methods, endpoint

_FOR_SIGN_IN = frozenset({"authorization_endpoint", "userinfo_endpoint"})
# Without them everything else works.
_OPTIONAL = frozenset({"revocation_endpoint", "end_session_endpoint"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not what the metadata says; ``breaks``: something does not work by it."""

    setting: str
    finding: str
    breaks: bool = True


def differences(provider: Provider, metadata: Metadata) -> list[Difference]:
    """Return in what the settings of ``provider`` differ from its metadata."""
    found = [*_endpoints(provider, metadata), *_client_auth(provider, metadata), *_dpop(metadata)]
    if settings.uses_oidc or not provider.is_default:
        found += _signing_alg(provider, metadata)
    if settings.uses_oidc and provider.is_default:
        found += _pkce(metadata)
    return found


def _endpoints(provider: Provider, metadata: Metadata) -> Iterator[Difference]:
    yield from _place(settings.name_of("issuer", provider.name), provider.issuer, metadata.issuer)
    for name, member in MEMBERS.items():
        if name in _FOR_SIGN_IN and not settings.signs_in_at(provider):
            continue
        says = endpoint(metadata, name, provider.client_auth.method)
        setting = settings.name_of(member, provider.name)
        yield from _place(setting, getattr(provider, member), says, optional=name in _OPTIONAL)


def _place(
    setting: str, current: str | None, says: str | None, *, optional: bool = False
) -> Iterator[Difference]:
    # Not everything that there is must be in the metadata.
    if says is None or current == says:
        return
    if current:
        yield Difference(setting, f"{setting} is {current!r}, and the metadata says {says!r}.")
    else:
        finding = f"{setting} is not set, and the metadata says {says!r}."
        yield Difference(setting, finding, breaks=not optional)


def _signing_alg(provider: Provider, metadata: Metadata) -> Iterator[Difference]:
    algs = metadata.lists.get("id_token_signing_alg_values_supported")
    if algs is not None and provider.signing_alg not in algs:
        setting = settings.name_of("signing_alg", provider.name)
        finding = f"{setting} is {provider.signing_alg!r}, with which ID tokens are not signed."
        yield Difference(setting, finding)


def _client_auth(provider: Provider, metadata: Metadata) -> Iterator[Difference]:
    method = provider.client_auth.method
    if method not in client_auth_methods(metadata):
        setting = settings.name_of("client_auth", provider.name)
        finding = f"{setting} stands for {method}, which is not offered: see TMIBFF_CLIENT_AUTH."
        yield Difference(setting, finding)


def _dpop(metadata: Metadata) -> Iterator[Difference]:
    """Yield whether the provider takes proofs as pages make them (RFC 9449 §5.1)."""
    offered = metadata.lists.get("dpop_signing_alg_values_supported", ())
    if settings.dpop != "off" and ALG not in offered:
        finding = f"TMIBFF_DPOP is {settings.dpop!r}, and DPoP with {ALG} is not offered."
        yield Difference("TMIBFF_DPOP", finding, breaks=settings.dpop == "required")


def _pkce(metadata: Metadata) -> Iterator[Difference]:
    """Yield what the sign-in at the default provider does; at others PKCE is always used."""
    methods = metadata.lists.get("code_challenge_methods_supported", ())
    method = getattr(django_settings, "OIDC_PKCE_CODE_CHALLENGE_METHOD", "S256")
    if not getattr(django_settings, "OIDC_USE_PKCE", False):
        if "S256" in methods:
            finding = "OIDC_USE_PKCE is off, and PKCE with S256 is offered."
            yield Difference("OIDC_USE_PKCE", finding, breaks=False)
    elif methods and method not in methods:
        setting = "OIDC_PKCE_CODE_CHALLENGE_METHOD"
        yield Difference(setting, f"{setting} is {method!r}, which is not offered.")
