"""{fault of the authorization server} x {state of the stored token} x {store}: X4-X8, R10, R12."""

import json
import logging
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.http import HttpResponse

from django_tmibff.models import TokenSet
from tests.faults.answers import check_answer
from tests.faults.server import FaultyServer, hangs
from tests.faults.sign_in import sign_in
from tests.faults.table import (
    AFTER_OUTAGE,
    AFTER_REFUSAL,
    AT_ONCE,
    AUTHORIZATION_SERVER,
    DROPPED,
    EXPIRED,
    NEW,
    ORDERS,
    REPLACED,
    STATES,
    UNAVAILABLE,
    VALID,
    Row,
)
from tests.page import SESSION_INFO, SIGN_IN, TOKEN, Page
from tests.real.processes import free_port, wait_until
from tests.sealed import contents_of, sealed_of

pytestmark = [pytest.mark.real, pytest.mark.django_db]

CASES = {
    f"{name}-{state}": (row, name, state)
    for row in AUTHORIZATION_SERVER
    for name in row.faults
    for state in STATES
}
LOGIN_URL = "/bff/login"
# Longer than a test may take, so that none sees the outage end.
OUTAGE_SECONDS = 60
# How long a call takes that hangs; the others may take what a busy machine needs.
QUICK_SECONDS, LONG_SECONDS = 1.0, 10


@pytest.mark.parametrize(("row", "name", "state"), CASES.values(), ids=CASES)
def test_what_comes_of_it(
    row: Row,
    name: str,
    state: str,
    store: str,
    server: FaultyServer,
    page: Page,
    user: Any,
    settings: Any,
    caplog: Any,
    monkeypatch: Any,
) -> None:
    settings.TMIBFF_OUTAGE_SECONDS = OUTAGE_SECONDS
    sign_in(page, user, state, row.asks, made_session=row.made_session)
    caplog.clear()
    caplog.set_level(logging.DEBUG)

    break_(server, row, name, settings)
    started = time.monotonic()
    answer = page.fetch(TOKEN, row.asks)
    assert time.monotonic() - started < LONG_SECONDS
    check_answer(answer, row.first(state), server)
    if row.first(state) == row.expired != NEW:
        check_advice(answer, row)
    asked = 0 if state == VALID or row.asked_again == AFTER_OUTAGE else row.calls
    if row.slow and asked:
        # On a busy machine the server may read the request after the page has given up.
        wait_until(lambda: server.calls > 0, LONG_SECONDS, "the server has read the request")
    assert server.calls == asked
    check_refresh_token(server, row if state != VALID else None)
    check_log(caplog, row.logs if state != VALID else ())

    mend(server, settings)
    asks_again = state != VALID and row.asked_again == AT_ONCE
    check_answer(page.fetch(TOKEN, row.asks), row.second(state), server)
    assert server.calls == asked + asks_again

    if row.refresh_token != DROPPED and row.then == NEW:
        let_pass(row, settings, monkeypatch)
        check_answer(page.fetch(TOKEN, row.asks), row.third(state), server)
        check_own_token(page, server)
    assert "canary" not in caplog.text


def test_x5_one_resource_that_hangs_blocks_nobody(
    store: str, server: FaultyServer, page: Page, user: Any, settings: Any
) -> None:
    settings.TMIBFF_OUTAGE_SECONDS = OUTAGE_SECONDS
    settings.TMIBFF_AS_TIMEOUT = QUICK_SECONDS
    sign_in(page, user, EXPIRED)
    for _ in range(2):
        server.breaks(hangs(b""))
        assert page.refusal(resource=ORDERS)["error"] == UNAVAILABLE
    mend(server, settings)
    assert page.token()["access_token"] == server.newest


def break_(server: FaultyServer, row: Row, name: str, settings: Any) -> None:
    plays = row.faults[name]
    if plays is None:
        settings.OIDC_OP_TOKEN_ENDPOINT = f"http://127.0.0.1:{free_port()}/token"
    else:
        server.breaks(plays)
    settings.TMIBFF_AS_TIMEOUT = QUICK_SECONDS if row.slow else LONG_SECONDS


def mend(server: FaultyServer, settings: Any) -> None:
    server.gets_well()
    settings.OIDC_OP_TOKEN_ENDPOINT = server.url
    settings.TMIBFF_AS_TIMEOUT = LONG_SECONDS


def let_pass(row: Row, settings: Any, monkeypatch: Any) -> None:
    """Let end what keeps the authorization server from being asked."""
    if row.asked_again == AFTER_OUTAGE:
        settings.TMIBFF_OUTAGE_SECONDS = 0
    if row.asked_again == AFTER_REFUSAL:
        later = time.time() + 31
        monkeypatch.setattr("time.time", lambda: later)


def check_advice(answer: HttpResponse, row: Row) -> None:
    """What the page is told to do about it."""
    login_url = json.loads(answer.content).get("login_url")
    query = f"?{urlencode(row.asks)}" if row.asks else ""
    assert login_url == (f"{LOGIN_URL}{query}" if row.login_url else None)
    retry_after = answer.headers.get("Retry-After")
    assert retry_after == (None if row.retry_after is None else str(row.retry_after))


def check_refresh_token(server: FaultyServer, row: Row | None) -> None:
    token_set = TokenSet.objects.get()
    what = "kept" if row is None else row.refresh_token
    if what == DROPPED:
        sealed = sealed_of(token_set)
        assert sealed is None or contents_of(token_set).refresh_token is None
        return
    expected = server.refresh_token if what == REPLACED else SIGN_IN["refresh_token"]
    assert contents_of(token_set).refresh_token == expected


def check_log(caplog: Any, expected: tuple[str, ...]) -> None:
    """The lines of ours, and no other's error or traceback."""
    handle = TokenSet.objects.get().handle
    ours = [r for r in caplog.records if r.name.startswith("django_tmibff")]
    lines = [f"{r.levelname} {r.getMessage()}".replace(handle, "…") for r in ours]
    assert sorted(lines) == sorted(expected)
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert [r for r in errors if r.exc_info or r not in ours] == []


def check_own_token(page: Page, server: FaultyServer) -> None:
    """The session lives, and its own token does not suffer."""
    assert page.fetch(SESSION_INFO).status_code == 200
    before = server.calls
    page.token()
    assert server.calls <= before + 1
