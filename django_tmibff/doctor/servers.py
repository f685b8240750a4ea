"""Probes of a provider's server, from outside: nothing of anybody's session is touched."""

from collections.abc import Iterator
from typing import Any

import jwt
from django.conf import settings as django_settings

from .. import agreement, discovery, key_sets, proposal
from ..conf import LEEWAY_SECONDS, Provider, settings
from ..discovery import Metadata, MetadataRefused
from .verdicts import Outcome, Verdict

# The provider's clock has whole seconds.
_CLOCK_SECONDS = 1.0

# The endpoints that this site itself calls.
_CALLED = (
    "issuer",
    "token_endpoint",
    "userinfo_endpoint",
    "revocation_endpoint",
    "jwks_endpoint",
)


def published(provider: Provider) -> Iterator[Verdict]:
    """Read the provider's metadata; compare settings and clocks with it."""
    if not provider.issuer:
        name = settings.name_of("issuer", provider.name)
        finding = (
            f"{name} is not set: where the metadata is, and whose ID tokens count, is unknown."
        )
        yield Verdict("metadata", Outcome.FAILED, finding, subject=provider.name)
        return
    try:
        metadata = discovery.fetch(
            provider.issuer, verify=provider.verify, proxies=provider.proxies
        )
    except MetadataRefused as error:
        finding = f"{error} See {settings.name_of('issuer', provider.name)}."
        yield Verdict("metadata", Outcome.FAILED, finding, subject=provider.name)
        return
    yield from _remarks(provider, metadata)
    yield from _agreement(provider, metadata)
    yield _clock(provider, metadata)


def transport_security(provider: Provider) -> Iterator[Verdict]:
    """Connect to each server of the provider that this site calls."""
    for origin, names in _origins(provider).items():
        outcome, finding = _security_of(provider, origin)
        finding = f"{finding} {'Named by' if outcome == Outcome.OK else 'See'} {names}."
        yield Verdict("tls", outcome, finding, subject=provider.name)


def keys(provider: Provider) -> Iterator[Verdict]:
    """Look for a key with which the provider's signatures can be verified."""
    outcome, finding = _keys(provider)
    yield Verdict("keys", outcome, finding, subject=provider.name)


def _remarks(provider: Provider, metadata: Metadata) -> Iterator[Verdict]:
    finding = f"The metadata of {metadata.issuer} is sound."
    yield Verdict("metadata", Outcome.OK, finding, subject=provider.name)
    known = [name for name, member in proposal.MEMBERS.items() if getattr(provider, member)]
    for warning in proposal.lacks(metadata, provider.name, known):
        yield Verdict("metadata", Outcome.NOTE, warning, subject=provider.name)


def _agreement(provider: Provider, metadata: Metadata) -> Iterator[Verdict]:
    differences = agreement.differences(provider, metadata)
    for one in differences:
        outcome = Outcome.FAILED if one.breaks else Outcome.WARNING
        yield Verdict("settings", outcome, one.finding, subject=provider.name)
    if not differences:
        finding = "The settings are what the metadata says."
        yield Verdict("settings", Outcome.OK, finding, subject=provider.name)


def _clock(provider: Provider, metadata: Metadata) -> Verdict:
    ahead = metadata.clock_ahead
    if ahead is None:
        finding = "The provider's server does not tell the time."
        return Verdict("clock", Outcome.NOTE, finding, subject=provider.name)
    if abs(ahead) <= _CLOCK_SECONDS:
        finding = "The provider's clock and this host's are the same."
        return Verdict("clock", Outcome.OK, finding, subject=provider.name)
    direction = "behind" if ahead > 0 else "ahead of"
    finding = f"This host's clock is {abs(ahead):.0f} s {direction} the provider's"
    if abs(ahead) <= LEEWAY_SECONDS:
        finding = f"{finding}; {LEEWAY_SECONDS:.0f} s are allowed. Let NTP set it."
        return Verdict("clock", Outcome.WARNING, finding, subject=provider.name)
    finding = f"{finding}: sign-ins and logout tokens are refused. Let NTP set it."
    return Verdict("clock", Outcome.FAILED, finding, subject=provider.name)


def _origins(provider: Provider) -> dict[str, str]:
    """Return the names of the settings that lead to each origin."""
    named: dict[str, list[str]] = {}
    for member in _CALLED:
        url = getattr(provider, member)
        if url:
            origin = discovery.origin_of(url) or url
            named.setdefault(origin, []).append(settings.name_of(member, provider.name))
    return {origin: ", ".join(names) for origin, names in named.items()}


def _security_of(provider: Provider, origin: str) -> tuple[Outcome, str]:
    if discovery.origin_of(origin) is None:
        return Outcome.FAILED, f"{origin!a} is no URL of a server."
    if not discovery.is_safe(origin):
        return Outcome.FAILED, f"{origin} is plain http: tokens and secrets go there in the clear."
    if origin.startswith("https:") and not provider.verify:
        name = settings.name_of("verify", provider.name)
        finding = f"Whoever answers for {origin} is believed: {name} is off."
        return Outcome.FAILED, finding
    try:
        discovery.answer_of(
            f"{origin}/",
            certificate=provider.client_auth.certificate,
            verify=provider.verify,
            proxies=provider.proxies,
        )
    except MetadataRefused as error:
        return Outcome.FAILED, str(error)
    if origin.startswith("https:"):
        return Outcome.OK, f"The certificate of {origin} is trusted."
    return Outcome.NOTE, f"{origin} is plain http, on this very machine."


def _keys(provider: Provider) -> tuple[Outcome, str]:
    alg = provider.signing_alg
    named = f"{settings.name_of('signing_alg', provider.name)} is {alg!r}"
    if alg.startswith("HS"):
        secret = settings.name_of("client_secret", provider.name)
        return Outcome.NOTE, f"{named}: signatures are verified with {secret}."
    if settings.signs_in_at(provider) and alg not in proposal.SIGNING_ALGS:
        return Outcome.FAILED, f"{named}, which mozilla-django-oidc does not verify with a key."
    if provider.signing_key is not None:
        return _given_key(provider, alg, named)
    return _published_keys(provider, alg, named)


def _given_key(provider: Provider, alg: str, named: str) -> tuple[Outcome, str]:
    setting = settings.name_of("signing_key", provider.name)
    try:
        jwt.get_algorithm_by_name(alg).prepare_key(provider.signing_key)
    except (jwt.PyJWTError, NotImplementedError, TypeError, ValueError):
        return Outcome.FAILED, f"{named}, and {setting} is no key for that."
    return Outcome.OK, f"{named}, and {setting} is a key for that."


def _published_keys(provider: Provider, alg: str, named: str) -> tuple[Outcome, str]:
    setting = settings.name_of("jwks_endpoint", provider.name)
    if not provider.jwks_endpoint:
        return Outcome.FAILED, f"{named}, and {setting} is not set."
    try:
        published = discovery.key_set(
            provider.jwks_endpoint, verify=provider.verify, proxies=provider.proxies
        )
    except MetadataRefused as error:
        return Outcome.FAILED, f"{error} See {setting}."
    signs_in = settings.signs_in_at(provider)
    usable = (proposal.sign_in_keys if signs_in else key_sets.fitting)(published, alg)
    if not usable:
        return Outcome.FAILED, f"{named}, and none of the keys of {setting} can verify that."
    if signs_in and getattr(django_settings, "OIDC_VERIFY_KID", True) and _lack_kid(published):
        finding = f"{named}, and not all keys of {setting} have a kid: set OIDC_VERIFY_KID = False."
        return Outcome.FAILED, finding
    return Outcome.OK, f"{named}, and {len(usable)} of the keys of {setting} can verify that."


def _lack_kid(published: list[Any]) -> bool:
    # mozilla-django-oidc looks at all of them for the one that it wants.
    return any(isinstance(key, dict) and "kid" not in key for key in published)
