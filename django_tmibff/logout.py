"""Signing out at the provider too, and being told when a user has signed out there."""

import hashlib
import json
import logging
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit, urlunsplit

from django.conf import settings as django_settings
from django.core import signing
from django.db import router, transaction
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.utils.crypto import get_random_string

from . import logout_token, stores, tokens
from .conf import settings
from .logout_token import LogoutToken, LogoutTokenRefused
from .models import TokenSet, as_column

__all__ = ["LogoutTokenRefused", "back_channel", "end_session_url", "is_own_state"]

logger = logging.getLogger(__name__)

_STATE = signing.TimestampSigner(salt="django_tmibff.logout")


def end_session_url(request: HttpRequest) -> str:
    """Return where to navigate to sign out at the provider too (RP-Initiated Logout 1.0 §2).

    For mozilla-django-oidc's ``OIDC_OP_LOGOUT_URL_METHOD``; call it before the session ends. From
    there the user comes back to ``LOGOUT_REDIRECT_URL``, which is also what is returned where the
    session has no tokens, or ``OIDC_OP_END_SESSION_ENDPOINT`` is not set.
    """
    back = resolve_url(django_settings.LOGOUT_REDIRECT_URL or "/")
    sign_in = tokens.sign_in_of(request)
    provider = None if sign_in is None else settings.find_provider(sign_in.provider)
    if sign_in is None or provider is None or not provider.end_session_endpoint:
        return back
    query = {
        "client_id": provider.client_id,
        "post_logout_redirect_uri": request.build_absolute_uri(back),
        "state": _STATE.sign(get_random_string(16)),
    }
    if sign_in.id_token is not None and provider.may_be(sign_in.issuer):
        query["id_token_hint"] = sign_in.id_token
    return _with_query(provider.end_session_endpoint, query)


def is_own_state(state: str, *, max_age: int = 3600) -> bool:
    """Return whether ``state`` is one that ``end_session_url`` sent in the last seconds."""
    try:
        _STATE.unsign(state, max_age=max_age)
    except signing.BadSignature:
        return False
    return True


def back_channel(token: str) -> int:
    """End the token sets, and sessions, that a logout token names; return how many.

    OpenID Connect Back-Channel Logout 1.0. Raises ``LogoutTokenRefused``.
    """
    said = logout_token.parse(token)
    # In one transaction with what it ends: a provider may repeat what failed.
    with transaction.atomic(using=router.db_for_write(TokenSet)):
        if not stores.current().once(f"jti:{_name_of(said)}", said.seconds_left):
            raise LogoutTokenRefused("it was sent before")
        named = list(_named(said))
        for token_set in named:
            tokens.end(token_set, "back-channel logout")
    logger.info("provider %s signed out %s token sets", said.provider, len(named))
    return len(named)


def _name_of(said: LogoutToken) -> str:
    # No database takes a key of any length, or all characters, and some take upper for lower case.
    return hashlib.sha256(json.dumps([said.issuer, said.jti]).encode()).hexdigest()


def _named(said: LogoutToken) -> Iterator[TokenSet]:
    """Yield the living token sets of that session, or of that subject."""
    alive = TokenSet.objects.filter(ended_at=None, provider=said.provider).defer("sealed")
    issuer, subject, sid = map(as_column, (said.issuer, said.subject, said.sid))
    by = {"sid": sid} if sid else {"subject": subject}
    for found in alive.filter(issuer=issuer, **by):
        # Some databases take upper for lower case, or ignore spaces at the end.
        if found.issuer == issuer and _is_same(found, subject=subject, sid=sid):
            yield found


def _is_same(found: TokenSet, *, subject: str, sid: str) -> bool:
    return (not sid or found.sid == sid) and (not subject or found.subject == subject)


def _with_query(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    joined = "&".join(filter(None, [parts.query, urlencode(query)]))
    return urlunsplit(parts._replace(query=joined))
