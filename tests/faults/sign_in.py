"""A session whose token is as old as a test wants it."""

import time
from collections.abc import Mapping
from typing import Any

from django_tmibff import vault
from django_tmibff.contents import AccessToken, TokenKey
from tests.faults.server import LIFETIME
from tests.faults.table import DUE, EXPIRED, VALID
from tests.page import Page
from tests.sealed import contents_of

STORED_TOKEN = "canary-stored"
AGES = {VALID: 0, DUE: LIFETIME - 20, EXPIRED: LIFETIME}


def sign_in(
    page: Page,
    user: Any,
    state: str,
    asks: Mapping[str, str] | None = None,
    *,
    made_session: bool = True,
) -> None:
    """Sign in, and keep a token in that state for what the page asks."""
    page.sign_in(user)
    contents = contents_of(page.store(made_session=made_session))
    issued_at = time.time() - AGES[state]
    asks = asks or {}
    resources, scopes = ([asks[name]] if name in asks else [] for name in ("resource", "scope"))
    contents.put(
        AccessToken(
            key=TokenKey.of(resources, scopes),
            value=STORED_TOKEN,
            token_type="Bearer",
            scope=asks.get("scope"),
            issued_at=issued_at,
            expires_at=issued_at + LIFETIME,
        )
    )
    assert vault.save(contents, owner="")
