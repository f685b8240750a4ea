"""Single flight over processes: many callers of one session, a server that forgives nothing."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.real.gunicorn import Gunicorn, migrate
from tests.real.processes import wait_until
from tests.real.redis import Redis
from tests.real.session import (
    DAY,
    databases,
    drop_access_tokens,
    end,
    fetch_at_once,
    fetch_token,
    new_session,
    only_token,
    token_of,
)
from tests.real.strict_server import CLIENT_ID, CLIENT_SECRET, SCOPE, StrictServer

pytestmark = pytest.mark.real

ORDERS = "https://api.example/orders"


@pytest.fixture(
    scope="module",
    params=[
        ("sqlite", "db"),
        ("postgresql", "db"),
        ("postgresql", "cached_db"),
        ("postgresql", "cache"),
        ("mariadb", "cached_db"),
    ],
    ids="-".join,
)
def app(
    request: pytest.FixtureRequest,
    strict_server: StrictServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gunicorn]:
    """The test project: two processes of eight threads on one database."""
    folder = tmp_path_factory.mktemp("app")
    database, store = request.param
    with databases(database, folder) as found, Redis(folder) as redis:
        settings = {
            **strict_server.django_settings(),
            "DATABASES": found,
            "CACHES": redis.settings(),
            "TMIBFF_STORE": f"django_tmibff.stores.{store}",
            "TMIBFF_RESOURCES": {ORDERS: {"scope": "orders:read"}},
        }
        migrate(settings)
        with Gunicorn(folder, settings, workers=2, threads=8) as app:
            yield app


def test_many_callers_of_an_expired_token_cost_one_refresh(
    app: Gunicorn, server: StrictServer
) -> None:
    """R6, R12, X6: all get the same new token, nothing is reused, the next expiry works too."""
    signed_in = server.new_family()
    cookie = new_session(app.settings, signed_in, age_seconds=DAY)
    server.delay = 0.3
    seen = {signed_in["access_token"]}
    for round_number in (1, 2):
        token = only_token(fetch_at_once(app.origin, cookie, [{}] * 50))
        assert server.refreshes == round_number
        assert server.reuses == 0
        assert token not in seen
        assert server.is_alive(token)
        seen.add(token)
        drop_access_tokens(app.settings, cookie)


def test_callers_for_different_tokens_of_one_session_take_turns(
    app: Gunicorn, server: StrictServer
) -> None:
    """R6, R8, R12: one refresh for each token that is asked for, and none at the same time."""
    cookie = new_session(app.settings, server.new_family(), age_seconds=DAY)
    server.delay = 0.3
    kinds: list[dict[str, str]] = [{}, {"scope": "email"}, {"resource": ORDERS}]
    queries = [kinds[number % 3] for number in range(20)]
    answers = fetch_at_once(app.origin, cookie, queries)
    for kind in kinds:
        own = [one for one, query in zip(answers, queries, strict=True) if query == kind]
        assert server.is_alive(only_token(own))
    assert server.refreshes == 3
    assert server.reuses == 0
    assert [answer.json()["scope"] for answer in answers[:3]] == [SCOPE, "email", "orders:read"]


def test_nobody_waits_for_a_token_that_still_works(app: Gunicorn, server: StrictServer) -> None:
    """R9: while one caller renews a token about to expire, all others are served at once."""
    signed_in = server.new_family(access_token_ttl=60)
    cookie = new_session(app.settings, signed_in, age_seconds=40)
    others_have_theirs = threading.Event()

    def answer_after_them() -> float:
        return 0.0 if others_have_theirs.wait(9) else 60.0

    server.delay = answer_after_them
    with ThreadPoolExecutor(20) as callers:
        answers = [callers.submit(fetch_token, app.origin, cookie) for _ in range(20)]
        wait_until(lambda: sum(a.done() for a in answers) == 19, 9, "all others have theirs")
        others_have_theirs.set()
    tokens = Counter(token_of(answer.result()) for answer in answers)
    assert tokens.pop(signed_in["access_token"]) == 19
    assert (server.refreshes, server.reuses) == (1, 0)
    assert list(tokens) == [token_of(fetch_token(app.origin, cookie))]


def test_b4_a_logout_during_a_renewal_leaves_no_living_token_behind(
    app: Gunicorn, server: StrictServer
) -> None:
    """The refresh token that the renewal brings too late is revoked as well."""
    signed_in = server.new_family()
    cookie = new_session(app.settings, signed_in, age_seconds=DAY)
    ended = threading.Event()

    def answer_after_the_end() -> float:
        server.delay = 0.0
        return 0.0 if ended.wait(30) else 1.0

    server.delay = answer_after_the_end
    with ThreadPoolExecutor(1) as callers:
        answer = callers.submit(fetch_token, app.origin, cookie)
        wait_until(lambda: server.refreshes == 1, 10, "the renewal is under way")
        end(app.settings, cookie)
        ended.set()
        assert answer.result().json()["error"] == "invalid_session"
    assert (server.refreshes, server.reuses) == (1, 0)
    assert not server.is_alive(signed_in["access_token"])
    assert len({signed_in["refresh_token"], *server.revoked}) == len(server.revoked) == 2


@pytest.mark.parametrize("authentication", ["header", "form"])
def test_the_strict_server_revokes_the_family_of_a_reused_refresh_token(
    server: StrictServer, authentication: str
) -> None:
    """The other tests here could not fail without this."""
    first = server.new_family()
    other = server.new_family()
    second = _refresh(server, authentication, first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert server.is_alive(second["access_token"])
    assert server.is_alive(second["refresh_token"])
    assert not server.is_alive(first["refresh_token"])
    assert _refresh(server, authentication, first["refresh_token"]) == {"error": "invalid_grant"}
    assert _refresh(server, authentication, second["refresh_token"]) == {"error": "invalid_grant"}
    assert (server.refreshes, server.reuses) == (1, 1)
    assert not server.is_alive(first["access_token"])
    assert not server.is_alive(second["access_token"])
    assert server.is_alive(other["refresh_token"])


def _refresh(server: StrictServer, authentication: str, refresh_token: str) -> dict[str, Any]:
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    auth = None
    if authentication == "header":
        auth = (CLIENT_ID, CLIENT_SECRET)
    else:
        form |= {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    with requests.Session() as session:
        session.trust_env = False
        url = server.django_settings()["OIDC_OP_TOKEN_ENDPOINT"]
        found: dict[str, Any] = session.post(url, data=form, auth=auth, timeout=10).json()
    return found
