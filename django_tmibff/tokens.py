"""The public verbs: keep the tokens of a sign-in, get an access token, describe them, end them.

The endpoints use nothing else, and other sign-in technologies use the same: ``store`` after the
user was signed in, ``get`` wherever server-side code needs a token.
"""

import hashlib
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.db import DatabaseError, router, transaction
from django.db import Error as DatabaseFails
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from . import dpop, ending, grant, oauth, policy, renewal, signals, single_flight, stores, vault
from .conf import DEFAULT_PROVIDER, settings
from .contents import AccessToken, Contents, TokenKey
from .exceptions import (
    BackendNotReady,
    InvalidDpopProof,
    InvalidSession,
    TokenError,
    forgets_locals,
)
from .models import TokenSet, in_transaction, new_handle

__all__ = [
    "AccessToken",
    "TokenError",
    "describe",
    "end",
    "forget_access_tokens",
    "get",
    "renew",
    "store",
]

logger = logging.getLogger(__name__)

SESSION_KEY = "_tmibff_token_set"


@dataclass(frozen=True, slots=True)
class TokenDescription:
    """An access token as an operator may see it: ``fingerprint`` is 8 digits of its SHA-256."""

    resources: tuple[str, ...]
    scope: str | None
    token_type: str | None
    issued_at: float
    expires_at: float | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Description:
    """A token set without its secrets; times are in seconds since the epoch."""

    provider: str
    claims: Mapping[str, Any] = field(repr=False)
    granted_scope: str | None
    named_resources: tuple[str, ...]
    has_refresh_token: bool
    refresh_expires_at: float | None
    access_tokens: tuple[TokenDescription, ...]


@dataclass(frozen=True, slots=True)
class SignIn:
    """Where a session signed in, and what signs it out there."""

    provider: str
    issuer: str | None
    id_token: str | None = field(repr=False)


@forgets_locals
def store(
    request: HttpRequest,
    token_response: Mapping[str, Any] | oauth.TokenResponse,
    *,
    claims: Mapping[str, Any] | None = None,
    provider: str = DEFAULT_PROVIDER,
    made_session: bool = False,
    lifts_pin: bool = False,
    resources: Collection[str] = (),
) -> TokenSet:
    """Keep a sign-in's tokens for this session, and return their record.

    ``token_response``: the token endpoint's answer (RFC 6749 §5.1), just received; or parsed with
    ``oauth.TokenResponse.parse``, which can be told when it was asked for. ``claims``: of the ID
    token and userinfo, already verified. ``provider``: a name in ``TMIBFF_PROVIDERS``.
    ``made_session``: this very sign-in made the session, which then ends with the grant (X6).
    ``lifts_pin``: the user has just signed in, was seen to, and in a window of their own: the page
    may use another DPoP key from now on. ``resources``: those that the sign-in has named (RFC 8707
    §2.1), for which the next one will ask again.

    A session that has tokens of the same user and provider keeps its token set: the new tokens
    replace the old ones there. Raises ``ValueError`` when nobody is signed in, or the response has
    no access token, and ``ImproperlyConfigured`` for a provider that there is not.
    """
    if not request.user.is_authenticated:
        raise ValueError("Tokens are kept for a signed-in user only: call login() first.")
    settings.provider(provider)
    response = _parsed(token_response)
    contents = _new_contents(request, provider, made_session=made_session)
    contents.resources = sorted(set(resources))
    grant.fill(contents, response, claims or {}, session_seconds=request.session.get_expiry_age())
    if settings.dpop == "required" or (settings.dpop == "allowed" and _is_bound(response)):
        # Nobody can use it, or anybody could.
        contents.access_tokens.clear()
    token_set = _replaced(request, contents, lifts_pin) or _added(request, contents)
    logger.info("token set %s stored", token_set.handle)
    signals.tokens_stored.send_robust(
        TokenSet, handle=token_set.handle, provider=provider, request=request
    )
    return token_set


@forgets_locals
def get(
    source: HttpRequest | TokenSet,
    resource: str | Collection[str] = (),
    scope: str | None = None,
    *,
    refused: str | None = None,
    proof: str | None = None,
) -> AccessToken:
    """Return an access token of this session, or of this token set: stored, or newly obtained.

    ``resource``: absolute URIs (RFC 8707); ``scope``: values with a space between them. Without
    both it is the application's default token. ``refused``: the unpadded base64url SHA-256 of an
    access token that a resource server refused (T6). ``proof``: a DPoP proof for the authorization
    server's token endpoint, of the key that the token is to be bound to (``TMIBFF_DPOP``).

    Raises ``TokenError``: ``InvalidSession``, ``BackendNotReady``, ``InvalidTarget``,
    ``InvalidScope``, ``InvalidDpopProof``, ``BearerRefused``, ``TemporarilyUnavailable`` or
    ``AuthorizationServerRefused``; and ``TransactionManagementError`` inside a transaction, whose
    rollback would lose a rotated token.
    """
    _refuse_transaction()
    resources = (resource,) if isinstance(resource, str) else tuple(resource)
    try:
        return _got(source, resources, scope, refused, proof)
    except TokenError as error:
        signals.token_refused.send_robust(TokenSet, handle=_handle_of(source), error=error.error)
        raise


@forgets_locals
def describe(source: HttpRequest | TokenSet) -> Description | None:
    """Return what may be shown of this session's tokens, or of this token set's.

    ``None`` when there are none. Raises ``InvalidSession`` when the token set has ended.
    """
    contents = _contents_of(source)
    if contents is None:
        return None
    if isinstance(source, HttpRequest) and _session_key(source.session) != contents.session_key:
        _keep_up(source, contents)
    return Description(
        provider=contents.provider,
        claims=contents.claims,
        granted_scope=contents.granted,
        named_resources=tuple(contents.resources),
        has_refresh_token=contents.refresh_token is not None,
        refresh_expires_at=contents.refresh_expires_at,
        access_tokens=tuple(_description(token) for token in contents.access_tokens),
    )


@forgets_locals
def sign_in_of(request: HttpRequest) -> SignIn | None:
    """Return where this session signed in, and its ID token; ``None`` when it has no tokens."""
    try:
        contents = _contents_of(request)
    except InvalidSession:
        return None
    if contents is None:
        return None
    return SignIn(contents.provider, contents.issuer, contents.id_token)


@forgets_locals
def end(source: HttpRequest | TokenSet | str, reason: str) -> None:
    """End a token set for good and revoke its refresh token.

    ``source``: a request, for its session's token set; the session itself stays, see Django's
    ``logout()``. Or a token set, or its handle: the Django session behind it ends too. ``reason``
    is kept in the record (up to 100 characters).

    The revocation (RFC 7009) goes out after the transaction's commit, and after the response if
    there is a request; what cannot be delivered stays owed. A token set that has ended already
    stays as it is.
    """
    handle = _handle_of(source)
    if handle is not None:
        ending.end(handle, reason, with_session=not isinstance(source, HttpRequest))


@forgets_locals
def renew(token_set: TokenSet, key: TokenKey | None = None) -> AccessToken:
    """Get a new access token for a token set, whatever is stored: that tests the grant.

    It is the application's default token, or the one for ``key``, whatever a page may ask for.
    Raises what ``get`` does.
    """
    _refuse_transaction()
    contents = vault.read(token_set.handle)
    key = policy.wanted((), (), contents, time.time()) if key is None else key
    try:
        return single_flight.renew(contents, key)
    except TokenError as error:
        if renewal.ends_session(error):
            ending.end_with_session(token_set, contents)
        raise


@forgets_locals
def forget_access_tokens(token_set: TokenSet) -> bool:
    """Forget the stored access tokens: the next request gets a new one.

    They stay valid at the resource servers. Returns false when the token set has ended, or is just
    being renewed.
    """
    return single_flight.forget_access_tokens(token_set.handle)


def granted(request: HttpRequest, provider: str) -> tuple[str, tuple[str, ...]]:
    """Return the scope that this session has from that provider, and the resources that it named.

    Both are empty for none.
    """
    try:
        described = describe(request)
    except TokenError:
        return "", ()
    if described is None or described.provider != provider:
        return "", ()
    return described.granted_scope or "", described.named_resources


def handle_of(request: HttpRequest) -> str | None:
    """Return the handle of this session's token set."""
    handle = request.session.get(SESSION_KEY)
    return handle if isinstance(handle, str) else None


def provider_of(request: HttpRequest) -> str:
    """Return the name of the provider where this session signed in, or of the default one."""
    handle = handle_of(request) if settings.provider_names else None
    if handle is None:
        return DEFAULT_PROVIDER
    with suppress(DatabaseFails):
        named = TokenSet.objects.filter(handle=handle).values_list("provider", flat=True).first()
        return named if named and named in settings.provider_names else DEFAULT_PROVIDER
    return DEFAULT_PROVIDER


def user_of(request: HttpRequest) -> Any:
    """Return the signed-in user; raises ``InvalidSession`` when there is none (E3)."""
    user = request.user
    # Some backends' get_user returns deactivated users too.
    if not user.is_authenticated or not getattr(user, "is_active", True):
        raise InvalidSession
    return user


def _handle_of(source: HttpRequest | TokenSet | str) -> str | None:
    if isinstance(source, HttpRequest):
        return handle_of(source)
    return source.handle if isinstance(source, TokenSet) else source


def _contents_of(source: HttpRequest | TokenSet) -> Contents | None:
    if isinstance(source, TokenSet):
        return vault.load(source.handle)
    user = user_of(source)
    handle = handle_of(source)
    contents = None if handle is None else vault.load(handle)
    if contents is not None and not constant_time_compare(contents.user, str(user.pk)):
        logger.error("token set %s belongs to another user than the session", handle)
        return None
    return contents


def _refuse_transaction() -> None:
    if in_transaction():
        raise TransactionManagementError(
            "django_tmibff.tokens.get() cannot run inside a transaction: a rollback would lose a"
            " refresh token that the authorization server has already replaced. Call it before the"
            " atomic block, or take the view out of ATOMIC_REQUESTS with"
            " @transaction.non_atomic_requests."
        )


def _got(
    source: HttpRequest | TokenSet,
    resources: tuple[str, ...],
    scope: str | None,
    refused: str | None,
    sent_proof: str | None,
) -> AccessToken:
    policy.check_resources(resources)
    scopes = policy.split_scope(scope or "")
    contents = _contents_of(source)
    if contents is None:
        raise BackendNotReady("No tokens were kept for this session when it was signed in.")
    proof = _proved(contents, sent_proof)
    if proof is not None:
        dpop.use_up(proof)
    jkt = None if proof is None else proof.jkt
    key = policy.wanted(resources, scopes, contents, time.time(), jkt=jkt)
    try:
        token = _stored_or_renewed(source, contents, key, refused, proof)
    except TokenError as error:
        if renewal.ends_session(error):
            ending.end_with_session(source, contents)
        raise
    _keep_up(source, contents)
    signals.token_served.send_robust(
        TokenSet, handle=contents.handle, resources=key.resources, scope=token.scope
    )
    return token


def ready(
    request: HttpRequest,
    contents: Contents,
    resources: tuple[str, ...],
    scope: str,
    sent_proof: str | None,
) -> AccessToken | None:
    """Return the stored token that ``get`` would, where that takes nothing but handing it out.

    ``contents``: of the session's token set, whose user is the session's. ``None`` where there is
    more to do: to renew, or to record something. Raises ``TokenError``.
    """
    policy.check_resources(resources)
    now = time.time()
    proof = _proved(contents, sent_proof)
    jkt = None if proof is None else proof.jkt
    key = policy.wanted(resources, policy.split_scope(scope), contents, now, jkt=jkt)
    token = policy.fitting(contents, key, now)
    if token is None or policy.is_due(token, now) or _has_moved(request.session, contents):
        return None
    if proof is not None:
        dpop.use_up(proof)  # Now that ``get`` will not need it.
    signals.token_served.send_robust(
        TokenSet, handle=contents.handle, resources=key.resources, scope=token.scope
    )
    return token


def _proved(contents: Contents, sent: str | None) -> dpop.Proof | None:
    """Return the proof that came, checked but for its use; ``None`` where there need be none.

    Raises ``InvalidDpopProof``.
    """
    if settings.dpop == "off":
        return None
    provider = oauth.provider(contents.provider)
    if sent is None:
        if settings.dpop == "required" or provider.dpop_bound_access_tokens:
            raise InvalidDpopProof
        return None
    proof = dpop.verified(sent, provider)
    dpop.check_key(proof, contents.jkt)
    return proof


def _stored_or_renewed(
    source: HttpRequest | TokenSet,
    contents: Contents,
    key: TokenKey,
    refused: str | None,
    proof: dpop.Proof | None,
) -> AccessToken:
    token = policy.fitting(contents, key, time.time())
    forced = token is not None and _is_refused(contents, token, refused)
    if token is not None and not forced and not policy.is_due(token, time.time()):
        return token
    return single_flight.obtain(
        contents,
        key,
        current=token,
        forced=forced,
        session_seconds=_session_seconds(source),
        proof=proof,
    )


def _is_refused(contents: Contents, token: AccessToken, refused: str | None) -> bool:
    """Return whether ``token`` is to be renewed because a resource server refused it (T6)."""
    if refused is None:
        return False
    digest = hashlib.sha256(token.value.encode()).digest()
    if not constant_time_compare(urlsafe_b64encode(digest).rstrip(b"="), refused.rstrip("=")):
        return False
    return stores.current().once(
        f"forced-refresh:{contents.handle}", settings.forced_refresh_interval
    )


def _session_seconds(source: HttpRequest | TokenSet) -> float | None:
    return None if isinstance(source, TokenSet) else source.session.get_expiry_age()


def _keep_up(source: HttpRequest | TokenSet, contents: Contents) -> None:
    """Follow a session whose end or key has moved since the token set was saved (B2)."""
    if isinstance(source, TokenSet):
        return
    if not _has_moved(source.session, contents):
        return
    session_key = _session_key(source.session)
    seconds = source.session.get_expiry_age()
    try:
        single_flight.amend(contents.handle, session_key=session_key, session_seconds=seconds)
    except (DatabaseFails, TokenError):
        logger.warning("token set %s does not know its session's new key or end", contents.handle)


def _has_moved(session: SessionBase, contents: Contents) -> bool:
    moved = _session_key(session) != contents.session_key
    return moved or _lags(contents, session.get_expiry_age())


def _lags(contents: Contents, seconds: float) -> bool:
    """Return whether less than half of a session's ``seconds`` is left to the token set (B2)."""
    ends_at = contents.expires_at or 0
    may_end_at = contents.ends_at(seconds)
    return ends_at - time.time() < seconds / 2 and may_end_at > ends_at + 1


def _session_key(session: SessionBase) -> str | None:
    # A signed-cookie session's key is its data: it cannot be ended from elsewhere, nor kept.
    return None if isinstance(session, SignedCookies) else session.session_key


def _new_contents(request: HttpRequest, provider: str, *, made_session: bool) -> Contents:
    if request.session.session_key is None:
        request.session.save()  # A session that was flushed has no key until it is saved.
    return Contents(
        handle=new_handle(),
        provider=provider,
        user=str(request.user.pk),
        session_key=_session_key(request.session),
        made_session=made_session,
    )


def _parsed(token_response: Mapping[str, Any] | oauth.TokenResponse) -> oauth.TokenResponse:
    if isinstance(token_response, oauth.TokenResponse):
        return token_response
    return oauth.TokenResponse.parse(token_response, requested_at=time.time())


def _added(request: HttpRequest, contents: Contents) -> TokenSet:
    token_set = TokenSet(handle=contents.handle, user_id=request.user.pk, **grant.columns(contents))
    stores.current().add(token_set, contents.sealed())
    request.session[SESSION_KEY] = contents.handle
    return token_set


def _is_bound(response: oauth.TokenResponse) -> bool:
    return dpop.is_bound(response.token_type)


def _replaced(request: HttpRequest, contents: Contents, lifts_pin: bool) -> TokenSet | None:
    """Put ``contents`` into the session's token set; ``None`` when that one cannot take them."""
    handle = handle_of(request)
    if handle is None:
        return None
    with transaction.atomic(using=router.db_for_write(TokenSet)):
        stored = ending.claimed(handle)
        old = None if stored is None else vault.opened(handle, stored)
        if old is not None and not lifts_pin:
            # The key is the browser's, wherever it signs in.
            contents.jkt = old.jkt
        if old is not None and _goes_on(old, contents):
            grant.take_over(contents, old)
            if not vault.save(contents, owner=None, **grant.columns(contents)):
                raise DatabaseError(f"token set {handle} changed while it was locked")
            return TokenSet.objects.get(handle=handle)
    ending.end(handle, "replaced")
    return None


def _goes_on(old: Contents, new: Contents) -> bool:
    """Return whether ``new`` is of the same user, and where ``old`` is from."""
    is_there = settings.provider(new.provider).may_be(old.issuer)
    return is_there and (old.user, old.provider) == (new.user, new.provider)


def _description(token: AccessToken) -> TokenDescription:
    return TokenDescription(
        resources=token.key.resources,
        scope=token.scope,
        token_type=token.token_type,
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        fingerprint=hashlib.sha256(token.value.encode()).hexdigest()[:8],
    )
