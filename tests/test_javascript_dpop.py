"""tmibff.js where a site binds tokens to a key: its proofs, as others verify them."""

import hashlib
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.real.chromium import chromium
from tests.real.scripted_server import Answer, Request, ScriptedServer
from tests.tab import (
    API,
    INVALID_TOKEN,
    MODULE,
    PROOFS,
    SESSION,
    TOKEN,
    WATCH,
    Tab,
    challenged,
    given,
    refusal,
)

pytestmark = pytest.mark.real

ENDPOINT = "https://op.example/token"
PAGE = b'<!doctype html><title>A page</title><script type="module" src="/page.js"></script>'
SCRIPT = b'import * as tmibff from "/tmibff.js"; window.tmibff = tmibff;'
POLICY = (
    "default-src 'self'; connect-src 'self' http://127.0.0.1:*; require-trusted-types-for 'script'"
)
NO_PROOF = refusal("invalid_dpop_proof")
USE_NONCE = Answer({"error": "use_dpop_nonce"}, 400, {"DPoP-Nonce": "n-1"})


def session(**members: Any) -> Answer:
    """Return what bff-sessioninfo says of alice, and of proofs."""
    known = {"token_endpoint": ENDPOINT, "signing_algs": ["ES256"], "now": int(time.time())}
    return Answer({"sub": "alice", "dpop": {**known, **members}})


def bound(value: str = "token-1", **members: Any) -> Answer:
    return given(value, token_type="DPoP", **members)


def proof_of(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the key and the claims of the request's proof, whose signature is sound."""
    text = request.headers["DPoP"]
    header = jwt.get_unverified_header(text)
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert header["jwk"].keys() == {"kty", "crv", "x", "y"}
    claims = jwt.decode(text, jwt.PyJWK(header["jwk"], "ES256"), algorithms=["ES256"])
    return header["jwk"], claims


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without windows."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ScriptedServer, ScriptedServer]]:
    """A site, and an API on another origin."""
    with ScriptedServer("localhost") as site, ScriptedServer("127.0.0.1", API) as api:
        yield site, api


@pytest.fixture
def site(servers: tuple[ScriptedServer, ...]) -> ScriptedServer:
    """The site, which hands out bound tokens only."""
    site = servers[0]
    site.reset()
    html = {"Content-Type": "text/html", "Content-Security-Policy": POLICY}
    site.answers("/", Answer(PAGE, headers=html))
    site.answers("/page.js", Answer(SCRIPT, headers={"Content-Type": "text/javascript"}))
    for file in (MODULE, PROOFS):
        site.serves(f"/{file.name}", file)
    site.answers(TOKEN, bound())
    site.answers(SESSION, session())
    return site


@pytest.fixture
def api(servers: tuple[ScriptedServer, ...], site: ScriptedServer) -> ScriptedServer:
    """The API, which the site has named."""
    api = servers[1]
    api.reset()
    api.answers("/orders", Answer({"orders": []}))
    site.answers(TOKEN, bound(origins=[api.origin]))
    return api


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody who was never here."""
    with browser.new_context() as context:
        context.add_init_script(WATCH)
        yield context


@pytest.fixture
def tabs(context: BrowserContext, site: ScriptedServer) -> Iterator[Callable[[], Tab]]:
    """Open a tab; nothing may go wrong there unseen, and no script but the key's is kept."""
    opened: list[Tab] = []

    def open_tab() -> Tab:
        opened.append(Tab(context.new_page(), site))
        return opened[-1]

    yield open_tab
    for tab in opened:
        assert set(tab.close()) <= {"open"}


@pytest.fixture
def tab(tabs: Callable[[], Tab]) -> Tab:
    """A tab."""
    return tabs()


def test_a_token_is_asked_for_with_a_proof_for_the_authorization_server(
    tab: Tab, site: ScriptedServer
) -> None:
    tab.runs("getSession()")
    assert tab.runs("getToken()")["token_type"] == "DPoP"
    [asked] = site.asked(TOKEN)
    _key, claims = proof_of(asked)
    assert (claims["htm"], claims["htu"]) == ("POST", ENDPOINT)
    assert claims.keys() == {"htm", "htu", "iat", "jti"}
    assert abs(claims["iat"] - time.time()) < 5


def test_one_that_knows_nothing_yet_learns_it_from_the_refusal(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(TOKEN, NO_PROOF, bound())
    assert tab.runs("getToken()")["access_token"] == "token-1"
    first, second = site.asked(TOKEN)
    assert "DPoP" not in first.headers
    proof_of(second)


def test_a_refusal_that_stays_is_told_with_where_to_sign_in(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("invalid_dpop_proof", login_url="/bff/login"))
    said = tab.fails("getToken()")
    assert (said["error"], said["loginUrl"]) == ("invalid_dpop_proof", f"{site.origin}/bff/login")
    assert len(site.asked(TOKEN)) == 2


def test_the_time_is_the_servers(tab: Tab, site: ScriptedServer) -> None:
    tab.runs("skew = 86400, getSession()")
    tab.runs("getToken()")
    assert abs(proof_of(site.asked(TOKEN)[0])[1]["iat"] - time.time()) < 5


def test_the_nonce_that_the_server_knows_is_in_the_first_proof(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(SESSION, session(nonce="known"))
    tab.runs("getSession()")
    tab.runs("getToken()")
    assert proof_of(site.asked(TOKEN)[0])[1]["nonce"] == "known"


def test_a_nonce_that_is_wanted_is_repeated_once(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, USE_NONCE, bound())
    tab.runs("getSession()")
    assert tab.runs("getToken()")["access_token"] == "token-1"
    first, second = (proof_of(one)[1] for one in site.asked(TOKEN))
    assert "nonce" not in first
    assert second["nonce"] == "n-1"
    assert first["jti"] != second["jti"]
    site.answers(TOKEN, USE_NONCE)
    assert tab.fails('getToken({scope: "x"})')["error"] == "use_dpop_nonce"
    assert len(site.asked(TOKEN)) == 4


def test_each_try_has_a_proof_of_its_own(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("temporarily_unavailable"), bound())
    tab.runs("getSession()")
    tab.runs("getToken()")
    first, second = (proof_of(one)[1]["jti"] for one in site.asked(TOKEN))
    assert first != second


def test_all_tabs_and_visits_have_one_key(tabs: Callable[[], Tab], site: ScriptedServer) -> None:
    here, there = tabs(), tabs()
    for tab in (here, there):
        tab.begins("getSession().then(() => getToken({scope: String(Math.random())}))")
    for tab in (here, there):
        tab.page.wait_for_function("Boolean(window.outcome)")
        tab.page.evaluate("window.outcome")
    here.page.reload()
    here.page.wait_for_function("Boolean(window.tmibff)")
    here.runs("getSession()")
    here.runs("getToken()")
    keys = [proof_of(one)[0] for one in site.asked(TOKEN)]
    assert len(keys) == 3
    assert keys[0] == keys[1] == keys[2]


def test_no_script_can_read_the_key(tab: Tab) -> None:
    tab.runs("getSession()")
    tab.runs("getToken()")
    read = """new Promise((resolve) => {
      indexedDB.open("tmibff").onsuccess = ({target}) => {
        const keys = target.result.transaction("keys").objectStore("keys");
        keys.get("dpop").onsuccess = ({target: {result}}) => resolve(result.privateKey);
      };
    })"""
    assert tab.runs(f"{read}.then((key) => [key.extractable, key.usages])") == [False, ["sign"]]
    exported = f"{read}.then((key) => crypto.subtle.exportKey('jwk', key))"
    assert tab.runs(f"{exported}.catch((error) => error.name)") == "InvalidAccessError"


def test_a_browser_that_keeps_nothing_has_a_key_for_this_page(
    tab: Tab, site: ScriptedServer
) -> None:
    tab.runs("void (IDBFactory.prototype.open = () => { throw new Error('not here') })")
    tab.runs("getSession()")
    tab.runs("getToken()")
    tab.runs("getToken({scope: 'x'})")
    first, second = (proof_of(one)[0] for one in site.asked(TOKEN))
    assert first == second


def test_asking_who_is_signed_in_again_makes_nobody_somebody_else(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(SESSION, session(nonce="1"), session(nonce="2", now=int(time.time()) + 3))
    tab.listens()
    tab.runs("getSession()")
    tab.runs("getToken()")
    tab.runs("getSession()")
    assert tab.heard(1) == [["signed-in", "alice"]]
    tab.runs("getToken()")
    assert len(site.asked(TOKEN)) == 1


class TestApi:
    """tokenFetch."""

    def call(self, tab: Tab, api: ScriptedServer, options: str = "{}") -> Any:
        tab.runs("getSession()")
        address = f"{api.origin}/orders?new=1#top"
        return tab.runs(f'tokenFetch("{address}", {options}).then((answer) => answer.status)')

    def test_it_gets_the_token_with_a_proof_for_this_request(
        self, tab: Tab, api: ScriptedServer
    ) -> None:
        assert self.call(tab, api, '{method: "POST", body: "tea"}') == 200
        [sent] = api.asked("/orders")
        assert sent.headers.get_all("Authorization") == ["DPoP token-1"]
        assert sent.body == b"tea"
        _key, claims = proof_of(sent)
        assert (claims["htm"], claims["htu"]) == ("POST", f"{api.origin}/orders")
        digest = hashlib.sha256(b"token-1").digest()
        assert claims["ath"] == urlsafe_b64encode(digest).decode().rstrip("=")

    def test_each_request_has_its_own(self, tab: Tab, api: ScriptedServer) -> None:
        self.call(tab, api)
        self.call(tab, api)
        first, second = (proof_of(one)[1]["jti"] for one in api.asked("/orders"))
        assert first != second

    def test_a_nonce_that_it_wants_is_repeated_once_body_and_all(
        self, tab: Tab, api: ScriptedServer
    ) -> None:
        wants = challenged('DPoP error="use_dpop_nonce"', **{"DPoP-Nonce": "n-api"})
        api.answers("/orders", wants, Answer({"orders": []}))
        assert self.call(tab, api, '{method: "POST", body: "tea"}') == 200
        first, second = api.asked("/orders")
        assert "nonce" not in proof_of(first)[1]
        assert proof_of(second)[1]["nonce"] == "n-api"
        assert second.body == b"tea"
        api.answers("/orders", wants)
        assert self.call(tab, api) == 401
        assert len(api.asked("/orders")) == 4
        assert proof_of(api.asked("/orders")[2])[1]["nonce"] == "n-api"

    def test_a_nonce_of_its_own_is_nobody_elses(
        self, tab: Tab, site: ScriptedServer, api: ScriptedServer
    ) -> None:
        api.answers("/orders", Answer({}, headers={"DPoP-Nonce": "n-api"}))
        self.call(tab, api)
        tab.runs('getToken({scope: "x"})')
        assert "nonce" not in proof_of(site.asked(TOKEN)[-1])[1]

    def test_a_token_that_it_refuses_is_renewed(
        self, tab: Tab, site: ScriptedServer, api: ScriptedServer
    ) -> None:
        site.answers(TOKEN, bound(origins=[api.origin]), bound("token-2", origins=[api.origin]))
        api.answers("/orders", INVALID_TOKEN, Answer({"orders": []}))
        assert self.call(tab, api) == 200
        assert api.asked("/orders")[1].headers["Authorization"] == "DPoP token-2"

    def test_a_bearer_token_is_sent_as_what_it_is(
        self, tab: Tab, site: ScriptedServer, api: ScriptedServer
    ) -> None:
        site.answers(TOKEN, given(origins=[api.origin]))
        assert self.call(tab, api) == 200
        [sent] = api.asked("/orders")
        assert sent.headers["Authorization"] == "Bearer token-1"
        assert "DPoP" not in sent.headers

    def test_code_of_ones_own_makes_proofs_with_the_same_key(
        self, tab: Tab, site: ScriptedServer, api: ScriptedServer
    ) -> None:
        tab.runs("getSession()")
        tab.runs("getToken()")
        made = tab.runs(
            f'import("/{PROOFS.name}").then(({{proof}}) => proof("GET", "{api.origin}/", "t"))'
        )
        header = jwt.get_unverified_header(made)
        assert header["jwk"] == proof_of(site.asked(TOKEN)[0])[0]
        assert json.loads(jwt.PyJWS().decode(made, options={"verify_signature": False}))["ath"]
