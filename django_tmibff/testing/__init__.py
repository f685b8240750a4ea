"""For the tests of projects that use this app: a client that is signed in, and has tokens."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.conf import settings as django_settings
from django.contrib.auth import get_user
from django.db import connections, router
from django.http import HttpRequest
from django.test import Client

from .. import tokens
from ..conf import DEFAULT_PROVIDER
from ..models import TokenSet, in_transaction
from ..stores import caching
from .proofs import DPoPKey

__all__ = ["FETCH", "DPoPKey", "commit_at_once", "keep_tokens", "sign_in"]

#: The request headers of a page's own ``fetch()``, as browsers send them (E5).
FETCH: Mapping[str, str] = {
    "sec-fetch-site": "same-origin",
    "sec-fetch-mode": "cors",
    "sec-fetch-dest": "empty",
}

# As long as mozilla-django-oidc takes an ID token for valid.
_ID_TOKEN_SECONDS = 60 * 15


def sign_in(
    client: Client,
    user: Any,
    *,
    access_token: str = "test-access-token",  # noqa: S107  # opens nothing  # of nobody's
    refresh_token: str | None = "test-refresh-token",  # noqa: S107
    scope: str | None = "openid email",
    expires_in: float | None = 3600,
    claims: Mapping[str, Any] | None = None,
    provider: str = DEFAULT_PROVIDER,
    backend: str | None = None,
    **token_response: Any,
) -> TokenSet:
    """Sign ``user`` in with Django's test client, with these tokens, and return their record.

    ``expires_in``: seconds; a negative number is over already. ``None`` leaves a member out of the
    token response; ``token_response`` are more of its members. ``claims``: what bff-sessioninfo
    tells. ``provider``: a name in ``TMIBFF_PROVIDERS``. ``backend``: as ``Client.force_login`` has
    it. As after any sign-in, the session ends with its grant (X6).
    """
    client.force_login(user, backend=backend)
    response = {
        "access_token": access_token,
        "refresh_token": refresh_token,
        "token_type": "Bearer",
        "scope": scope,
        "expires_in": expires_in,
        **token_response,
    }
    given = {name: value for name, value in response.items() if value is not None}
    with commit_at_once():
        return keep_tokens(client, given, claims=claims, provider=provider, made_session=True)


def keep_tokens(client: Client, token_response: Mapping[str, Any], **options: Any) -> TokenSet:
    """Keep these tokens for the session of a client that is signed in already.

    ``token_response`` and ``options``: as ``tokens.store`` has them.
    """
    request = HttpRequest()
    request.session = client.session
    request.user = get_user(request)
    token_set = tokens.store(request, token_response, **options)
    # Where mozilla-django-oidc's SessionRefresh looks whether to ask the provider again.
    request.session["oidc_id_token_expiration"] = time.time() + _ID_TOKEN_SECONDS
    request.session.save()
    # A signed-cookie session's data is its key.
    client.cookies[django_settings.SESSION_COOKIE_NAME] = str(request.session.session_key)
    return token_set


@contextmanager
def commit_at_once() -> Iterator[None]:
    """Let the stores write their cache in a test's own transaction, which is never committed."""

    def in_own_transaction() -> bool:
        blocks: list[Any] = connections[router.db_for_write(TokenSet)].atomic_blocks
        # Django's own mark of a TestCase's transaction; it makes durable blocks possible there.
        in_test = bool(blocks) and blocks[0]._from_testcase
        return not in_test and in_transaction()

    with mock.patch.object(caching, "in_transaction", in_own_transaction):
        yield
