"""Probes of a living session: what the authorization server does with its refresh token.

All that spends the refresh token goes through ``tokens.renew``, so that the same lease and the same
compare-and-set hold for the doctor and for the session's own pages.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from django.db import Error as DatabaseFails
from django.utils.crypto import constant_time_compare

from .. import grant, oauth, tokens, vault
from ..conf import Provider, settings
from ..contents import AccessToken, TokenKey
from ..exceptions import (
    AuthorizationServerRefused,
    BackendNotReady,
    BearerRefused,
    InvalidScope,
    InvalidSession,
    TemporarilyUnavailable,
    TokenError,
    forgets_locals,
)
from ..models import TokenSet
from ..renewal import GrantEnded, lease_seconds
from .verdicts import Outcome, Verdict

END_REASON = "tmibff_doctor"

# What servers say of a dead refresh token; some say nothing at all (X5).
_DEAD = frozenset({"invalid_grant", "invalid_request"})

# An outcome, a word for programs, a sentence for people.
_Found = tuple[Outcome, str, str]


@dataclass(frozen=True, slots=True)
class SessionProbe:
    """A probe that needs a session; ``cost``: what it costs that session, nothing if empty."""

    name: str
    run: Callable[[TokenSet], list[Verdict]]
    cost: str = ""

    def __call__(self, token_set: TokenSet) -> list[Verdict]:
        """Return what the probe has found."""
        try:
            return self.run(token_set)
        except TokenError as error:
            return [Verdict(self.name, Outcome.FAILED, _explanation(error, token_set.provider))]


@forgets_locals
def refresh_token(token_set: TokenSet) -> list[Verdict]:
    """Look for the refresh token that the sign-in should have brought."""
    contents = vault.load(token_set.handle, fresh=True)
    if contents is None:
        finding = (
            "The tokens of this session are lost, or cannot be opened: see TMIBFF_STORE and"
            " TMIBFF_ENCRYPTION_KEYS."
        )
        return [Verdict("refresh-token", Outcome.FAILED, finding, answer="lost")]
    if contents.refresh_token is not None:
        finding = "The sign-in brought a refresh token."
        return [Verdict("refresh-token", Outcome.OK, finding, answer="given")]
    scope = settings.name_of("scope", contents.provider)
    finding = (
        f"There is no refresh token: where the provider wants to be asked, add offline_access to"
        f' {scope}, or set OIDC_AUTH_REQUEST_EXTRA_PARAMS = {{"prompt": "consent"}}.'
    )
    return [Verdict("refresh-token", Outcome.FAILED, finding, answer="not given")]


@forgets_locals
def rotation(token_set: TokenSet) -> list[Verdict]:
    """Renew once: does another refresh token come?"""
    before = vault.read(token_set.handle).refresh_token
    tokens.renew(token_set, TokenKey())
    after = vault.read(token_set.handle).refresh_token
    if constant_time_compare(before or "", after or ""):
        answer, finding = "keeps", "A renewal works, and the refresh token stays the same."
    else:
        answer, finding = "rotates", "A renewal works, and brings another refresh token."
    return [Verdict("rotation", Outcome.OK, finding, answer=answer)]


@forgets_locals
def narrower_scope(token_set: TokenSet) -> list[Verdict]:
    """Ask for one scope less, and then for all again (R7)."""
    granted = (vault.read(token_set.handle).granted or "").split()
    # Without openid, some take the rest for another kind of request.
    left_out = next((scope for scope in reversed(granted) if scope != "openid"), None)
    fewer = [scope for scope in granted if scope != left_out]
    if left_out is None or not fewer:
        finding = "The sign-in was granted one scope: there is nothing to leave out."
        return [Verdict("narrower-scope", Outcome.NOT_TRIED, finding)]
    outcome, answer, finding = _narrowed(token_set, fewer, granted)
    return [Verdict("narrower-scope", outcome, finding, answer=answer)]


@forgets_locals
def resources(token_set: TokenSet) -> list[Verdict]:
    """Ask for a token for each resource that the site lists (RFC 8707)."""
    if not settings.resources:
        finding = "TMIBFF_RESOURCES lists none."
        return [Verdict("resource", Outcome.NOT_TRIED, finding)]
    return [_resource(token_set, resource) for resource in settings.resources]


@forgets_locals
def revocation(token_set: TokenSet) -> list[Verdict]:
    """End the session: is its refresh token dead then (RFC 7009)?"""
    provider = oauth.provider(token_set.provider)
    setting = settings.name_of("revocation_endpoint", provider.name)
    if provider.revocation_endpoint:
        outcome, answer, finding = _ended(token_set, provider)
        if outcome in (Outcome.FAILED, Outcome.WARNING):
            finding = f"{finding} See {setting}."
    else:
        outcome, answer = Outcome.WARNING, "nowhere"
        finding = f"{setting} is not set: refresh tokens outlive their session."
    return [Verdict("revocation", outcome, finding, answer=answer)]


PROBES = (
    SessionProbe("refresh-token", refresh_token),
    SessionProbe("rotation", rotation, "One renewal; the session goes on."),
    SessionProbe(
        "narrower-scope",
        narrower_scope,
        "Up to three renewals. Where the server narrows for good, this session lacks one scope"
        " until its user signs in again.",
    ),
    SessionProbe(
        "resource",
        resources,
        "Up to two renewals for each of TMIBFF_RESOURCES. Where the server refuses one and takes"
        " back the refresh token with that, the session ends.",
    ),
    SessionProbe("revocation", revocation, "The session ends: its user is signed out."),
)


def has_refresh_token(token_set: TokenSet) -> bool:
    """Return whether there is anything left to try the probes on."""
    with suppress(TokenError, DatabaseFails):
        return vault.read(token_set.handle).refresh_token is not None
    return False


def _explanation(error: TokenError, provider: str) -> str:
    """Return what ``error`` means for the settings of that provider."""
    said = error.error[:100]
    match error:
        case InvalidSession():
            return "This session has ended."
        case TemporarilyUnavailable() | BackendNotReady():
            setting = settings.name_of("token_endpoint", provider)
            return (
                f"{error.description} See {setting}, TMIBFF_AS_TIMEOUT, TMIBFF_AS_CALLS_PER_MINUTE."
            )
        case BearerRefused():
            return f"{error.description} See TMIBFF_DPOP."
        case GrantEnded():
            return "The refresh token is dead (invalid_grant): its user has to sign in again."
        case AuthorizationServerRefused() if not error.sign_in_helps:
            members = ("client_id", "client_secret", "client_auth")
            names = ", ".join(settings.name_of(member, provider) for member in members)
            return f"The authorization server refuses this site's client ({said}): see {names}."
    return f"The authorization server refuses a renewal ({said})."


def _narrowed(token_set: TokenSet, fewer: list[str], granted: list[str]) -> _Found:
    left_out = set(granted) - set(fewer)
    try:
        token = tokens.renew(token_set, TokenKey.of((), fewer))
    except InvalidScope:
        return _ignores()
    except AuthorizationServerRefused as error:
        if error.error != "invalid_scope":
            raise
        return _refuses_less()
    if left_out <= _scopes(token):
        return _ignores()
    if _sticks(token_set, granted, left_out):
        return _sticking(" ".join(left_out))
    finding = "A narrower scope gets a narrower token, and the grant stays as wide as it was."
    return Outcome.OK, "keeps", finding


def _sticks(token_set: TokenSet, granted: list[str], left_out: set[str]) -> bool:
    """Return whether what was left out a moment ago cannot be had any more."""
    if not left_out <= _scopes(tokens.renew(token_set, TokenKey())):
        return True
    # Where the answer says no scope, ours is a guess: ask for it.
    try:
        tokens.renew(token_set, TokenKey.of((), granted))
    except AuthorizationServerRefused as error:
        if error.error != "invalid_scope":
            raise
        return True
    return False


def _scopes(token: AccessToken) -> set[str]:
    return set((token.scope or "").split())


def _sticking(lost: str) -> _Found:
    lost = f"This session has lost {lost}: its user has to sign in again for it."
    if settings.narrower_scope in ("serve", "refuse"):
        finding = (
            "A narrower scope narrows the grant for good; with TMIBFF_NARROWER_SCOPE ="
            f' "{settings.narrower_scope}" no page asks for one. {lost}'
        )
        return Outcome.OK, "sticks", finding
    finding = (
        'A narrower scope narrows the grant for good: set TMIBFF_NARROWER_SCOPE to "serve" or'
        f' "refuse". {lost}'
    )
    return Outcome.WARNING, "sticks", finding


def _ignores() -> _Found:
    strict = settings.narrower_scope in ("ask-strict", "refuse")
    finding = (
        "A narrower scope gets the whole one all the same. TMIBFF_NARROWER_SCOPE is"
        f' "{settings.narrower_scope}"; "ask-strict" and "refuse" hand out no such token.'
    )
    return Outcome.OK if strict else Outcome.NOTE, "ignores", finding


def _refuses_less() -> _Found:
    finding = (
        'A narrower scope is refused: with TMIBFF_NARROWER_SCOPE = "serve" pages get the wider'
        " token instead."
    )
    return Outcome.NOTE, "refuses", finding


def _resource(token_set: TokenSet, resource: str) -> Verdict:
    if not has_refresh_token(token_set):
        finding = "The session has no refresh token any more."
        return Verdict("resource", Outcome.NOT_TRIED, finding, subject=resource)
    try:
        outcome, answer, finding = _asked_for(token_set, resource)
    except TokenError as error:
        outcome, answer = Outcome.FAILED, ""
        finding = _explanation(error, token_set.provider)
    return Verdict("resource", outcome, finding, subject=resource, answer=answer)


def _asked_for(token_set: TokenSet, resource: str) -> _Found:
    try:
        token = tokens.renew(token_set, TokenKey.of([resource]))
    except AuthorizationServerRefused as error:
        is_about_resource = error.sign_in_helps or error.error == "unauthorized_client"
        if isinstance(error, GrantEnded) or not is_about_resource:
            raise
        return _refused(token_set, error)
    return _given(token_set, token, resource)


def _refused(token_set: TokenSet, error: AuthorizationServerRefused) -> _Found:
    mend = (
        "take it out of TMIBFF_RESOURCES, or let sign-ins ask for it too (resources_at_sign_in in"
        " TMIBFF_PROVIDERS), or ask for it in another way (resource_request there)."
    )
    try:
        tokens.renew(token_set, TokenKey())
    except GrantEnded:
        finding = f"It is refused ({error.error[:100]}), and that took the refresh token: {mend}"
        return Outcome.FAILED, "consumes", finding
    return Outcome.FAILED, "refuses", f"It is refused ({error.error[:100]}): {mend}"


def _given(token_set: TokenSet, token: AccessToken, resource: str) -> _Found:
    audience = grant.unverified_claims(token.value).get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    way = oauth.provider(token_set.provider).resource_request
    # Where resources are prefixes of scopes, servers have other names for their audiences.
    if audience is None or way == "scope_prefix":
        finding = "A token is given for it; whom it is for, only the resource itself can see."
        return Outcome.OK, "accepts", finding
    if resource in audiences:
        return Outcome.OK, "accepts", "A token is given for it, and its audience is that resource."
    setting = settings.name_of("resource_request", token_set.provider)
    finding = f"A token is given, but for another audience: see {setting}, which is {way!r}."
    return Outcome.WARNING, "ignores", finding


def _ended(token_set: TokenSet, provider: Provider) -> _Found:
    handle, owner = token_set.handle, secrets.token_hex(16)
    # With the lease, what is read is what is revoked.
    if not TokenSet.objects.take_lease(handle, owner, lease_seconds()):
        return Outcome.NOT_TRIED, "", "Somebody is just renewing these tokens: run this again."
    try:
        last = vault.read(handle).refresh_token
        tokens.end(token_set, END_REASON)
    finally:
        TokenSet.objects.release_lease(handle, owner)
    if last is None:
        return Outcome.NOT_TRIED, "", "The session had no refresh token any more."
    if TokenSet.objects.filter(handle=handle, revoke_at__isnull=False).exists():
        finding = "The revocation was not taken, and stays owed; the log says why."
        return Outcome.FAILED, "fails", finding
    return _outlived(provider, last)


def _outlived(provider: Provider, last: str) -> _Found:
    """Try the refresh token of a session that has ended, so that nobody else has it."""
    unclear = Outcome.WARNING, "unclear", "The revocation was taken, but not whether it worked."
    try:
        response = oauth.refresh(provider, last)
    except AuthorizationServerRefused as error:
        if error.error not in _DEAD:
            return unclear
    except TemporarilyUnavailable:
        return unclear
    except BackendNotReady:
        pass  # An empty refusal.
    else:
        with suppress(TokenError):
            oauth.revoke(provider, response.refresh_token or last)
        return Outcome.FAILED, "does not revoke", "A revoked refresh token still works."
    return Outcome.OK, "revokes", "The refresh token is dead when its session has ended."
