"""tmibff.js in a real browser, with a site and an API that answer as the test tells them to."""

import gzip
import re
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from playwright.sync_api import Browser, Page

from tests.real.chromium import chromium
from tests.real.processes import wait_until
from tests.real.scripted_server import Answer, ScriptedServer
from tests.tab import (
    ALICE,
    API,
    INVALID_TOKEN,
    MODULE,
    NOBODY,
    PROOFS,
    SESSION,
    STATIC,
    TOKEN,
    TYPES,
    UNAVAILABLE,
    WAIT_SECONDS,
    WATCH,
    Tab,
    challenged,
    given,
    refusal,
)

MOST_BYTES = 3.25 * 1024
MOST_BYTES_WITH_PROOFS = 5 * 1024

POLICY = (
    "default-src 'self'; connect-src 'self' http://127.0.0.1:*; require-trusted-types-for 'script'"
)
SITE = {"Cross-Origin-Resource-Policy": "same-origin"}
PAGE = b'<!doctype html><title>A page</title><script type="module" src="/page.js"></script>'
SCRIPT = b'import * as tmibff from "/tmibff.js"; window.tmibff = tmibff;'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium without windows."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[ScriptedServer, ScriptedServer, ScriptedServer]]:
    """A site, an API on another origin, and somebody else's server."""
    with (
        ScriptedServer("localhost", SITE) as site,
        ScriptedServer("127.0.0.1", API) as api,
        ScriptedServer("127.0.0.1", API) as elsewhere,
    ):
        yield site, api, elsewhere


@pytest.fixture
def site(servers: tuple[ScriptedServer, ...]) -> ScriptedServer:
    """The site: a page with the module; alice is signed in."""
    site = servers[0]
    site.reset()
    html = {"Content-Type": "text/html", "Content-Security-Policy": POLICY}
    for path in ("/", "/bff/login", "/signed-out"):
        site.answers(path, Answer(PAGE, headers=html))
    site.answers("/page.js", Answer(SCRIPT, headers={"Content-Type": "text/javascript"}))
    site.serves("/tmibff.js", MODULE)
    site.answers(TOKEN, given())
    site.answers(SESSION, ALICE)
    return site


@pytest.fixture
def api(servers: tuple[ScriptedServer, ...]) -> ScriptedServer:
    """The API, whose origin is a resource of the site's."""
    api = servers[1]
    api.reset()
    api.answers("/orders", Answer({"orders": []}))
    return api


@pytest.fixture
def elsewhere(servers: tuple[ScriptedServer, ...]) -> ScriptedServer:
    """A server that nobody has named."""
    elsewhere = servers[2]
    elsewhere.reset()
    elsewhere.answers("/orders", Answer({"orders": []}))
    return elsewhere


@pytest.fixture(scope="module")
def pages(browser: Browser) -> Iterator[list[Page]]:
    """All tabs that are ever opened; nothing may be left in their browser."""
    with browser.new_context() as context:
        context.add_init_script(WATCH)
        yield [context.new_page() for _ in range(2)]
        state = context.storage_state(indexed_db=True)
        assert (state["cookies"], state["origins"]) == ([], [])


@pytest.fixture
def tabs(pages: list[Page], site: ScriptedServer) -> Iterator[Callable[[], Tab]]:
    """Open a tab, up to two; nothing may go wrong there unseen."""
    opened: list[Tab] = []

    def open_tab() -> Tab:
        opened.append(Tab(pages[len(opened)], site))
        return opened[-1]

    yield open_tab
    assert [tab.close() for tab in opened] == [[] for _ in opened]


@pytest.fixture
def tab(tabs: Callable[[], Tab]) -> Tab:
    """A tab."""
    return tabs()


# --- the file -------------------------------------------------------------------------------------


def test_the_module_is_small() -> None:
    alone, proofs = (len(gzip.compress(file.read_bytes(), 9)) for file in (MODULE, PROOFS))
    assert alone <= MOST_BYTES
    assert alone + proofs <= MOST_BYTES_WITH_PROOFS


@pytest.mark.real
def test_what_makes_proofs_is_loaded_only_where_it_is_needed(
    tab: Tab, site: ScriptedServer
) -> None:
    tab.runs("Promise.all([getSession(), getToken()])")
    assert site.asked(f"/{PROOFS.name}") == []


def test_its_types_name_what_it_exports_and_nothing_else() -> None:
    exported = re.compile(r"^export (?:async )?(?:class|const|function) (\w+)", re.MULTILINE)
    typed = exported.findall(TYPES.read_text())
    assert sorted(typed) == sorted(exported.findall(MODULE.read_text()))


class HashedNames(ManifestStaticFilesStorage):
    """Names each file after its content, in imports too."""

    support_js_module_import_aggregation = True


def test_it_may_have_a_hash_in_its_name(tmp_path: Path) -> None:
    """The page's own file is the one of docs/javascript.md."""
    documented = (STATIC.parents[2] / "docs" / "javascript.md").read_text()
    [app] = re.findall(r"```js\n// static/app\.js\n(.*?)```", documented, re.DOTALL)
    (tmp_path / "django_tmibff").mkdir()
    (tmp_path / "app.js").write_text(app)
    for file in (MODULE, PROOFS):
        (tmp_path / "django_tmibff" / file.name).write_bytes(file.read_bytes())
    storage = HashedNames(location=tmp_path, base_url="/static/")
    names = ("app.js", f"django_tmibff/{MODULE.name}", f"django_tmibff/{PROOFS.name}")
    outcome = list(storage.post_process({name: (storage, name) for name in names}))
    assert {name for name, _, done in outcome if done is True} == set(names)
    own, ours, proofs = (storage.hashed_files[name] for name in names)
    assert f'from "./{ours}"' in (tmp_path / own).read_text()
    assert f'import("./{Path(proofs).name}")' in (tmp_path / ours).read_text()
    assert (tmp_path / proofs).read_bytes() == PROOFS.read_bytes()


# --- getToken -------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_token_is_asked_for_once_and_then_comes_from_memory(
    tab: Tab, site: ScriptedServer
) -> None:
    first = tab.runs("getToken()")
    assert (first["access_token"], first["scope"]) == ("token-1", "a b")
    assert tab.runs("getToken()") == first
    [asked] = site.asked(TOKEN)
    assert (asked.method, asked.query, asked.headers["Sec-Fetch-Site"]) == (
        "GET",
        {},
        "same-origin",
    )


@pytest.mark.real
def test_e5_the_request_carries_a_header_that_a_site_may_require(
    tab: Tab, site: ScriptedServer
) -> None:
    tab.runs("getToken()")
    assert site.asked(TOKEN)[0].headers["X-Requested-With"] == "tmibff"


@pytest.mark.real
def test_r8_one_request_in_flight_whatever_the_order(tab: Tab, site: ScriptedServer) -> None:
    one = 'getToken({resource: ["https://a.example", "https://b.example"], scope: "x y"})'
    other = 'getToken({scope: "y x x", resource: ["https://b.example", "https://a.example"]})'
    found = tab.runs(f"Promise.all([{one}, {other}, {one}])")
    assert [token["access_token"] for token in found] == ["token-1"] * 3
    assert tab.runs(other)["access_token"] == "token-1"
    [asked] = site.asked(TOKEN)
    assert asked.query == {"resource": ["https://a.example", "https://b.example"], "scope": ["x y"]}


@pytest.mark.real
def test_each_resource_and_scope_has_its_own_token(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, given("1"), given("2"), given("3"))
    wanted = ["{}", "{resource: 'https://a.example'}", "{scope: 'x'}"]
    assert [tab.runs(f"getToken({one})")["access_token"] for one in wanted * 2] == [*"123"] * 2
    assert [one.query for one in site.asked(TOKEN)] == [
        {},
        {"resource": ["https://a.example"]},
        {"scope": ["x"]},
    ]


@pytest.mark.real
@pytest.mark.parametrize(
    ("expires_in", "kept", "renewed"),
    [(3600, 3565, 3575), (300, 265, 275), (40, 18, 22), (8, 3, 5)],
)
def test_r9_renewed_half_a_minute_before_its_end_or_half_its_life(
    tab: Tab, site: ScriptedServer, expires_in: int, kept: int, renewed: int
) -> None:
    site.answers(TOKEN, given("old", expires_in=expires_in), given("new"))
    tab.runs("getToken()")
    tab.runs(f"skew = {kept}")
    assert tab.runs("getToken()")["access_token"] == "old"
    tab.runs(f"skew = {renewed}")
    assert tab.runs("getToken()")["access_token"] == "new"


@pytest.mark.real
@pytest.mark.parametrize("expires_in", [0, 1, -5])
def test_a_token_that_hardly_lives_is_asked_for_once_a_call(
    tab: Tab, site: ScriptedServer, expires_in: int
) -> None:
    site.answers(TOKEN, given(expires_in=expires_in))
    tab.runs("skew = 1")
    for count in (1, 2, 3):
        tab.runs("skew += 1, getToken()")
        assert len(site.asked(TOKEN)) == count


@pytest.mark.real
def test_r2_a_token_of_unknown_lifetime_is_kept(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, given(expires_in=...))
    assert tab.runs("getToken()")["expiresAt"] == float("inf")
    tab.runs("skew = 86400")
    tab.runs("getToken()")
    assert len(site.asked(TOKEN)) == 1


@pytest.mark.real
def test_it_says_when_the_token_expires(tab: Tab) -> None:
    left = tab.runs("getToken().then((token) => token.expiresAt - Date.now())")
    assert 290_000 < left <= 300_000


@pytest.mark.real
def test_an_idle_page_makes_no_calls(tab: Tab, site: ScriptedServer) -> None:
    tab.listens()
    tab.runs("Promise.all([getSession(), getToken()])")
    before = len(site.seen)
    tab.runs("skew = 86400")
    tab.runs("document.dispatchEvent(new Event('visibilitychange'))")
    assert tab.runs("waits") == []
    assert len(site.seen) == before


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(
    "error",
    ["invalid_session", "backend_not_ready", "invalid_grant", "invalid_target", "server_error"],
)
def test_an_error_says_what_the_backend_said(tab: Tab, site: ScriptedServer, error: str) -> None:
    site.answers(
        TOKEN, refusal(error, error_description="Because.", login_url="/bff/login?scope=x")
    )
    assert tab.fails("getToken()") == {
        "ours": True,
        "name": "TmibffError",
        "error": error,
        "error_description": "Because.",
        "message": "Because.",
        "loginUrl": f"{site.origin}/bff/login?scope=x",
    }
    assert len(site.asked(TOKEN)) == 1


@pytest.mark.real
def test_an_error_without_more_is_its_own_message(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("invalid_request", status=403))
    said = tab.fails("getToken()")
    assert (said["error"], said["message"]) == ("invalid_request", "invalid_request")
    assert "loginUrl" not in said


@pytest.mark.real
def test_an_error_is_not_kept(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("invalid_scope"), given())
    tab.fails("getToken()")
    assert tab.runs("getToken()")["access_token"] == "token-1"


@pytest.mark.real
@pytest.mark.parametrize(
    "url", ["https://evil.example/", "//evil.example/", r"/\evil.example", "javascript:alert(1)"]
)
def test_a_login_url_of_another_origin_is_no_login_url(
    tab: Tab, site: ScriptedServer, url: str
) -> None:
    site.answers(TOKEN, refusal("backend_not_ready", login_url=url))
    assert "loginUrl" not in tab.fails("getToken()")


@pytest.mark.real
def test_x5_unavailable_is_tried_again_with_growing_pauses_and_in_the_end_said(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(TOKEN, refusal("temporarily_unavailable"))
    assert tab.fails("getToken()")["error"] == "temporarily_unavailable"
    assert len(site.asked(TOKEN)) == 3
    first, second = tab.runs("waits")
    assert 1000 <= first < 1500
    assert 2000 <= second < 3000


@pytest.mark.real
def test_pauses_differ_from_page_to_page(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("temporarily_unavailable"))
    for _ in range(4):
        tab.fails("getToken()")
    waits = tab.runs("waits")
    assert len(set(waits)) == len(waits) == 8


@pytest.mark.real
def test_x5_retry_after_is_waited_for(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("temporarily_unavailable", retry_after="7"), given())
    assert tab.runs("getToken()")["access_token"] == "token-1"
    [waited] = tab.runs("waits")
    assert 7000 <= waited < 10_500


@pytest.mark.real
def test_x5_a_long_retry_after_is_the_pages_to_wait_for(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, refusal("temporarily_unavailable", retry_after="60"))
    assert tab.fails("getToken()")["retryAfter"] == 60
    assert len(site.asked(TOKEN)) == 1
    assert tab.runs("waits") == []


NO_ANSWERS = {
    "a proxy's page": Answer(b"<h1>Bad Gateway</h1>", status=502),
    "a page": Answer(b"<h1>Hello</h1>"),
    "JSON without a token": Answer({"token_type": "Bearer"}),
    "null": Answer(None),
    "a text": Answer("token"),
    "an error without a word": Answer({}, status=500),
    "a redirect": Answer(b"", status=302, headers={"Location": "/"}),
    "no such path": Answer(b"", status=404),
}


@pytest.mark.real
@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_tried_again(tab: Tab, site: ScriptedServer, answer: Answer) -> None:
    site.answers(TOKEN, answer)
    assert tab.fails("getToken()")["error"] == "temporarily_unavailable"
    assert len(site.asked(TOKEN)) == 3
    site.answers(TOKEN, answer, given())
    assert tab.runs("getToken()")["access_token"] == "token-1"


@pytest.mark.real
def test_no_other_server_answers_in_the_backends_place(
    tab: Tab, site: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    elsewhere.answers("/orders", given("not ours"))
    site.answers(TOKEN, Answer(b"", 302, {"Location": f"{elsewhere.origin}/orders"}))
    assert tab.fails("getToken()")["error"] == "temporarily_unavailable"
    assert elsewhere.seen == []


@pytest.mark.real
def test_no_connection_is_tried_again(tab: Tab, site: ScriptedServer) -> None:
    tab.page.context.set_offline(True)
    assert tab.fails("getToken()")["error"] == "temporarily_unavailable"
    assert len(tab.runs("waits")) == 2
    tab.page.context.set_offline(False)
    assert tab.runs("getToken()")["access_token"] == "token-1"


@pytest.mark.real
def test_a_backend_that_says_nothing_is_not_waited_for_for_ever(
    tab: Tab, site: ScriptedServer
) -> None:
    never = threading.Event()
    site.answers(TOKEN, Answer(held=never))
    hurry(tab)
    assert tab.fails("getToken()")["error"] == "temporarily_unavailable"
    never.set()


def hurry(tab: Tab) -> None:
    """Let all deadlines be over in a hundredth of their time."""
    tab.runs(
        "void (window.usual = AbortSignal.timeout, "
        "AbortSignal.timeout = (wait) => usual.call(AbortSignal, wait / 100))"
    )


# --- tokenFetch: where a token goes ---------------------------------------------------------------


@pytest.mark.real
def test_the_api_gets_the_token_and_what_fetch_would_send(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    answer = tab.runs(
        f"""tokenFetch("{api.origin}/orders?new=1", {{
          method: "POST",
          body: JSON.stringify({{item: "tea"}}),
          headers: {{"Content-Type": "application/json", Authorization: "Basic mine"}},
        }}).then((response) => response.json())"""
    )
    assert answer == {"orders": []}
    [sent] = api.asked("/orders")
    assert (sent.method, sent.query, sent.body) == ("POST", {"new": ["1"]}, b'{"item":"tea"}')
    assert sent.headers.get_all("Authorization") == ["Bearer token-1"]
    assert sent.headers["Content-Type"] == "application/json"


@pytest.mark.real
@pytest.mark.parametrize("given_as", ['"{}"', 'new URL("{}")', 'new Request("{}")'])
def test_it_takes_what_fetch_takes(
    tab: Tab, site: ScriptedServer, api: ScriptedServer, given_as: str
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    address = given_as.format(f"{api.origin}/orders")
    assert tab.runs(f"tokenFetch({address}).then((response) => response.status)") == 200


@pytest.mark.real
def test_a_resources_own_origin_gets_its_token(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    resource = f"{api.origin}/some/resource"
    status = f'tokenFetch("{api.origin}/orders", {{resource: "{resource}"}}).then((r) => r.status)'
    assert tab.runs(status) == 200
    assert site.asked(TOKEN)[0].query == {"resource": [resource]}
    assert api.asked("/orders")[0].headers["Authorization"] == "Bearer token-1"


@pytest.mark.real
def test_origins_named_beside_the_resource_get_its_token(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given(origins=["https://else.example", api.origin]))
    status = f'tokenFetch("{api.origin}/orders", {{resource: "urn:orders"}}).then((r) => r.status)'
    assert tab.runs(status) == 200


@pytest.mark.real
def test_without_a_resource_the_site_has_to_name_the_origin(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    refused = tab.fails(f'tokenFetch("{api.origin}/orders")')
    assert (refused["ours"], refused["error"]) == (True, "origin_not_named")
    assert api.origin in refused["message"]
    assert "TMIBFF_ORIGINS" in refused["message"]
    assert api.seen == []


@pytest.mark.real
def test_for_a_resource_the_refusal_names_its_setting(
    tab: Tab, api: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    call = f'tokenFetch("{elsewhere.origin}/orders", {{resource: "{api.origin}/"}})'
    assert '"origins" of TMIBFF_RESOURCES' in tab.fails(call)["message"]
    assert elsewhere.seen == []


@pytest.mark.real
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/orders",
        "http://127.0.0.1:{other}/orders",
        "https://127.0.0.1:{port}/orders",
        "http://127.0.0.1.evil.example:{port}/orders",
        "//127.0.0.1:{other}/orders",
        "/orders",
        "orders",
        "data:application/json,1",
        "blob:null/1",
        "urn:orders",
    ],
)
def test_no_other_origin_gets_it(
    tab: Tab, site: ScriptedServer, api: ScriptedServer, elsewhere: ScriptedServer, url: str
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    address = url.format(port=api.port, other=elsewhere.port)
    sent = tab.fails(f'tokenFetch("{address}", {{resource: ["urn:orders", "{api.origin}/x"]}})')
    assert sent["error"] == "origin_not_named"
    assert [*api.seen, *elsewhere.seen, *site.asked("/orders")] == []


@pytest.mark.real
def test_not_even_the_pages_own_origin_unless_it_is_named(tab: Tab, site: ScriptedServer) -> None:
    site.answers("/orders", Answer({"orders": []}))
    assert tab.fails('tokenFetch("/orders")')["error"] == "origin_not_named"
    assert site.asked("/orders") == []
    site.answers(TOKEN, given(origins=[site.origin]))
    call = 'tokenFetch("/orders", {scope: "a"}).then((response) => response.status)'
    assert tab.runs(call) == 200


@pytest.mark.real
def test_it_works_where_the_policy_allows_our_own_origin_and_nothing_else(
    tabs: Callable[[], Tab], site: ScriptedServer
) -> None:
    headers = {"Content-Type": "text/html", "Content-Security-Policy": "default-src 'self'"}
    site.answers("/", Answer(PAGE, headers=headers))
    site.answers("/orders", Answer({"orders": []}))
    site.answers(TOKEN, given(origins=[site.origin]))
    tab = tabs()
    assert tab.runs('tokenFetch("/orders").then((response) => response.status)') == 200
    assert tab.runs("getSession()")["sub"] == "alice"


@pytest.mark.real
@pytest.mark.parametrize("target", ["elsewhere", "api"])
def test_no_token_follows_a_redirect(
    tab: Tab,
    site: ScriptedServer,
    api: ScriptedServer,
    elsewhere: ScriptedServer,
    target: str,
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    server = elsewhere if target == "elsewhere" else api
    location = {"Location": f"{server.origin}/orders"}
    for status in (301, 302, 303, 307, 308):
        api.answers(f"/{status}", Answer(b"", status, location))
        for options in ("{}", "{redirect: 'follow'}", "{redirect: 'manual'}"):
            refused = tab.fails(f'tokenFetch("{api.origin}/{status}", {options})')
            assert refused["error"] == "redirect_refused"
            assert api.origin in refused["message"]
        assert api.asked(f"/{status}")
    assert [*api.asked("/orders"), *elsewhere.asked("/orders")] == []


@pytest.mark.real
def test_a_plain_fetch_would_have_gone_there(
    tab: Tab, api: ScriptedServer, elsewhere: ScriptedServer
) -> None:
    api.answers("/moved", Answer(b"", 302, {"Location": f"{elsewhere.origin}/orders"}))
    tab.runs(f'fetch("{api.origin}/moved").then((response) => response.status)')
    assert len(elsewhere.asked("/orders")) == 1


# --- tokenFetch: what an API says -----------------------------------------------------------------


@pytest.mark.real
def test_t6_a_token_that_the_api_refuses_is_replaced_once_and_the_call_sent_again(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given("old", origins=[api.origin]), given("new", origins=[api.origin]))
    api.answers("/orders", INVALID_TOKEN, Answer({"orders": []}))
    body = f'tokenFetch("{api.origin}/orders", {{method: "POST", body: "tea"}})'
    assert tab.runs(f"{body}.then((response) => response.status)") == 200
    first, second = site.asked(TOKEN)
    assert "TMIBFF-Refused" not in first.headers
    assert second.headers["TMIBFF-Refused"] == digest("old")
    sent = [(one.headers["Authorization"], one.body) for one in api.asked("/orders")]
    assert sent == [("Bearer old", b"tea"), ("Bearer new", b"tea")]


def digest(token: str) -> str:
    """Return what stands for a token in ``TMIBFF-Refused``."""
    return urlsafe_b64encode(sha256(token.encode()).digest()).decode().rstrip("=")


@pytest.mark.real
@pytest.mark.parametrize("value", ["token-0", "token-1", "token-2", "token-3"])
def test_t6_the_digest_is_base64url(
    tab: Tab, site: ScriptedServer, api: ScriptedServer, value: str
) -> None:
    site.answers(TOKEN, given(value, origins=[api.origin]))
    api.answers("/orders", INVALID_TOKEN)
    tab.runs(f'tokenFetch("{api.origin}/orders").then(() => 0)')
    assert site.asked(TOKEN)[1].headers["TMIBFF-Refused"] == digest(value)


@pytest.mark.real
def test_t6_many_refused_calls_ask_for_one_token(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given("old", origins=[api.origin]), given("new", origins=[api.origin]))
    tab.runs("getToken()")
    all_sent = threading.Event()
    api.answers("/orders", *[replace(INVALID_TOKEN, held=all_sent)] * 5, Answer({"orders": []}))
    # Of one and the same address Chromium asks one after the other.
    call = f"(number) => tokenFetch(`{api.origin}/orders?${{number}}`).then((r) => r.status)"
    tab.runs(f"void (window.calls = Promise.all([1, 2, 3, 4, 5].map({call})))")
    wait_until(lambda: len(api.asked("/orders")) == 5, WAIT_SECONDS, "sent")
    all_sent.set()
    assert tab.runs("window.calls") == [200] * 5
    assert len(site.asked(TOKEN)) == 2


@pytest.mark.real
def test_a_call_is_sent_again_once_and_no_more(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    origins = [api.origin]
    site.answers(TOKEN, given("1", origins=origins), given("2", origins=origins), given("3"))
    api.answers("/orders", INVALID_TOKEN)
    assert tab.runs(f'tokenFetch("{api.origin}/orders").then((r) => r.status)') == 401
    assert (len(site.asked(TOKEN)), len(api.asked("/orders"))) == (2, 2)


@pytest.mark.real
def test_t6_the_same_token_again_is_not_sent_again(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given("same", origins=[api.origin]))
    api.answers("/orders", INVALID_TOKEN)
    call = f'tokenFetch("{api.origin}/orders").then((response) => response.json())'
    assert tab.runs(call) == {"refused": True}
    assert len(api.asked("/orders")) == 1


@pytest.mark.real
def test_t6_a_page_with_a_client_of_its_own_says_what_was_refused(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(TOKEN, given("old"), given("new"))
    tab.runs("getToken()")
    assert tab.runs("getToken({refused: 'old'})")["access_token"] == "new"
    assert tab.runs("getToken({refused: 'old'})")["access_token"] == "new"
    assert len(site.asked(TOKEN)) == 2


@pytest.mark.real
def test_where_there_is_no_other_token_that_is_said(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]), NOBODY)
    api.answers("/orders", INVALID_TOKEN)
    said = tab.fails(f'tokenFetch("{api.origin}/orders")')
    assert (said["error"], said["loginUrl"]) == ("invalid_session", f"{site.origin}/bff/login")


@pytest.mark.real
@pytest.mark.parametrize(
    "answer",
    [
        challenged("Bearer"),
        challenged('Bearer error="invalid_request"'),
        challenged('Bearer realm="invalid_token"'),
        challenged('Bearer error="insufficient_scope", scope="more"', status=403),
        challenged('Bearer error="invalid_token"', status=403),
        challenged(None),
        challenged('Bearer error="invalid_token"', **{"Access-Control-Expose-Headers": "ETag"}),
        Answer({"broken": True}, status=500),
    ],
)
def test_any_other_answer_is_the_pages_to_read(
    tab: Tab, site: ScriptedServer, api: ScriptedServer, answer: Answer
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    api.answers("/orders", answer)
    call = f'tokenFetch("{api.origin}/orders").then((response) => response.status)'
    assert tab.runs(call) == answer.status
    assert (len(site.asked(TOKEN)), len(api.asked("/orders"))) == (1, 1)


@pytest.mark.real
def test_a_request_with_a_body_is_sent_again_too(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given("old", origins=[api.origin]), given("new", origins=[api.origin]))
    api.answers("/orders", INVALID_TOKEN, Answer({"orders": []}))
    request = f'new Request("{api.origin}/orders", {{method: "PUT", body: "tea"}})'
    assert tab.runs(f"tokenFetch({request}).then((response) => response.status)") == 200
    assert [(one.method, one.body) for one in api.asked("/orders")] == [("PUT", b"tea")] * 2


@pytest.mark.real
def test_a_stream_is_not_sent_again_but_the_next_call_has_the_new_token(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given("old", origins=[api.origin]), given("new", origins=[api.origin]))
    # Browsers send streams over HTTP/2 only: here is what an API there would answer.
    sent: list[str] = []

    def refuse(route: Any) -> None:
        sent.append(route.request.headers["authorization"])
        headers = {**API, "WWW-Authenticate": 'Bearer error="invalid_token"'}
        route.fulfill(status=401, headers=headers)

    tab.page.route(f"{api.origin}/orders", refuse)
    stream = "new Blob(['tea']).stream()"
    call = f'tokenFetch("{api.origin}/orders", {{method: "POST", body: {stream}, duplex: "half"}})'
    assert tab.runs(f"{call}.then((response) => response.status)") == 401
    assert sent == ["Bearer old"]
    assert tab.runs("getToken()")["access_token"] == "new"
    assert len(site.asked(TOKEN)) == 2


STEP_UP = challenged(
    'Bearer error="insufficient_user_authentication",'
    ' error_description="Sign in again, please", acr_values="gold silver", max_age="60"'
)


@pytest.mark.real
def test_an_api_that_wants_another_sign_in_says_which(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    """RFC 9470."""
    api.answers("/orders", STEP_UP)
    call = f'tokenFetch("{api.origin}/orders", {{resource: "{api.origin}/", scope: "pay"}})'
    said = tab.fails(call)
    assert (said["ours"], said["error"]) == (True, "insufficient_user_authentication")
    assert said["message"] == "Sign in again, please"
    assert (said["acrValues"], said["maxAge"]) == ("gold silver", "60")
    assert tab.runs(f"{call}.catch((error) => error.response.json())") == {"refused": True}
    tab.leaves(f"{call}.catch(login)")
    tab.page.wait_for_url("**/bff/login?**")
    assert site.asked("/bff/login")[0].query == {
        "resource": [f"{api.origin}/"],
        "scope": ["pay"],
        "acr_values": ["gold silver"],
        "max_age": ["60"],
        "next": ["/"],
    }
    assert len(site.asked(TOKEN)) == 1


@pytest.mark.real
def test_it_may_want_that_of_the_new_token_too(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given("old", origins=[api.origin]), given("new", origins=[api.origin]))
    api.answers(
        "/orders", INVALID_TOKEN, challenged("Bearer error=insufficient_user_authentication")
    )
    said = tab.fails(f'tokenFetch("{api.origin}/orders")')
    assert said["error"] == "insufficient_user_authentication"
    assert said["loginUrl"] == f"{site.origin}/bff/login"


@pytest.mark.real
def test_an_api_that_does_not_answer_fails_as_fetch_does(
    tab: Tab, site: ScriptedServer, api: ScriptedServer
) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    tab.page.route(f"{api.origin}/orders", lambda route: route.abort())
    failure = tab.fails(f'tokenFetch("{api.origin}/orders")')
    assert (failure["ours"], "error" in failure) == (False, False)


@pytest.mark.real
def test_a_call_can_be_aborted(tab: Tab, site: ScriptedServer, api: ScriptedServer) -> None:
    site.answers(TOKEN, given(origins=[api.origin]))
    aborted = f'tokenFetch("{api.origin}/orders", {{signal: AbortSignal.abort("enough")}})'
    assert tab.runs(f"{aborted}.catch((error) => error)") == "enough"
    assert api.asked("/orders") == []


# --- who is signed in -----------------------------------------------------------------------------


@pytest.mark.real
def test_the_session_is_who_is_signed_in_or_null(tab: Tab, site: ScriptedServer) -> None:
    assert tab.runs("getSession()") == {"sub": "alice", "exp": 1}
    site.answers(SESSION, NOBODY)
    assert tab.runs("getSession()") is None


@pytest.mark.real
def test_any_other_failure_is_one(tab: Tab, site: ScriptedServer) -> None:
    site.answers(SESSION, refusal("invalid_request", status=403))
    assert tab.fails("getSession()")["error"] == "invalid_request"
    site.answers(SESSION, UNAVAILABLE, ALICE)
    assert tab.runs("getSession()")["sub"] == "alice"


@pytest.mark.real
def test_sign_in_and_end_are_told_once(tab: Tab, site: ScriptedServer) -> None:
    tab.listens()
    site.answers(SESSION, ALICE, Answer({"sub": "alice", "exp": 2}), NOBODY, NOBODY, ALICE)
    for _ in range(5):
        tab.runs("getSession()")
    assert tab.heard(3) == [["signed-in", "alice"], ["expired", None], ["signed-in", "alice"]]


@pytest.mark.real
def test_that_nobody_is_signed_in_is_told_too(tab: Tab, site: ScriptedServer) -> None:
    tab.listens()
    site.answers(SESSION, NOBODY)
    tab.runs("getSession()")
    assert tab.heard(1) == [["expired", None]]


@pytest.mark.real
def test_who_has_stopped_listening_hears_nothing(tab: Tab) -> None:
    tab.runs("void (window.heard = [])")
    tab.runs("onSession((event) => heard.push(event))()")
    tab.listens()
    tab.runs("getSession()")
    assert tab.heard(1) == [["signed-in", "alice"]]


@pytest.mark.real
def test_one_listener_that_throws_stops_no_other(tab: Tab) -> None:
    tab.runs("void onSession(() => { throw new Error('oh') })")
    tab.listens()
    assert tab.runs("getSession()")["sub"] == "alice"
    assert tab.heard(1) == [["signed-in", "alice"]]
    assert tab.runs("complaints.splice(0)") == ["Error: oh"]
    assert tab.complaints.pop() == "oh"


@pytest.mark.real
def test_x2_a_refused_token_call_tells_that_the_session_is_over(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(TOKEN, given("1"), NOBODY, given("2"))
    tab.listens()
    tab.runs("getToken()")
    assert tab.fails("getToken({scope: 'a'})")["error"] == "invalid_session"
    assert tab.heard(1) == [["expired", None]]
    # What there was is forgotten.
    assert tab.runs("getToken()")["access_token"] == "2"


@pytest.mark.real
def test_it_is_over_for_whoever_has_signed_in_unnoticed_too(tab: Tab, site: ScriptedServer) -> None:
    site.answers(SESSION, NOBODY)
    site.answers(TOKEN, given("1"), NOBODY, given("2"))
    tab.listens()
    tab.runs("getSession()")
    tab.runs("getToken()")
    tab.fails("getToken({scope: 'a'})")
    assert tab.heard(2) == [["expired", None], ["expired", None]]
    assert tab.runs("getToken()")["access_token"] == "2"


@pytest.mark.real
def test_another_user_gets_no_token_of_the_one_before(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, given("alice's"), given("bob's"))
    site.answers(SESSION, ALICE, Answer({"sub": "bob"}))
    tab.listens()
    tab.runs("getSession()")
    tab.runs("getToken()")
    tab.runs("getSession()")
    assert tab.heard(2) == [["signed-in", "alice"], ["signed-in", "bob"]]
    assert tab.runs("getToken()")["access_token"] == "bob's"


@pytest.mark.real
def test_not_even_where_the_page_has_never_asked_who_that_was(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers(TOKEN, given("somebody's"), given("alice's"))
    tab.runs("getToken()")
    tab.runs("getSession()")
    assert tab.runs("getToken()")["access_token"] == "alice's"


@pytest.mark.real
def test_a_page_that_begins_with_both_calls_makes_each_once(tab: Tab, site: ScriptedServer) -> None:
    go_on = threading.Event()
    site.answers(TOKEN, Answer(given().body, held=go_on))
    tab.begins("getToken()")
    tab.runs("getSession()")
    go_on.set()
    assert tab.outcome()["value"]["access_token"] == "token-1"
    assert len(site.asked(TOKEN)) == 1


@pytest.mark.real
def test_a_page_that_goes_into_the_browsers_history_takes_no_token_along(
    tab: Tab, site: ScriptedServer
) -> None:
    tab.runs("getToken()")
    tab.runs("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    tab.runs("getToken()")
    assert len(site.asked(TOKEN)) == 2


# --- signing in and out ---------------------------------------------------------------------------


@pytest.mark.real
def test_b5_signing_out_ends_the_session_and_goes_on_to_the_provider(
    tab: Tab, site: ScriptedServer
) -> None:
    site.answers("/bff/logout", Answer({"logout_url": "/signed-out?at=op"}))
    tab.leaves("logout()")
    tab.page.wait_for_url("**/signed-out?at=op")
    [asked] = site.asked("/bff/logout")
    assert (asked.method, asked.headers["Sec-Fetch-Site"]) == ("POST", "same-origin")


@pytest.mark.real
def test_signing_out_forgets_the_tokens_in_all_tabs_at_once(
    tabs: Callable[[], Tab], site: ScriptedServer
) -> None:
    here, there = tabs(), tabs()
    for tab in (here, there):
        tab.runs("Promise.all([getSession(), getToken()])")
    there.listens()
    site.answers("/bff/logout", Answer({"logout_url": "#signed-out"}))
    site.answers(TOKEN, NOBODY)
    here.listens()
    here.leaves("logout()")
    assert here.heard(1) == there.heard(1) == [["ended", None]]
    assert here.fails("getToken()")["error"] == there.fails("getToken()")["error"]
    assert there.heard(1) == [["ended", None]]


@pytest.mark.real
def test_tokens_are_forgotten_even_where_signing_out_fails(tab: Tab, site: ScriptedServer) -> None:
    site.answers(TOKEN, given("1"), given("2"))
    tab.listens()
    tab.runs("getToken()")
    site.answers("/bff/logout", refusal("temporarily_unavailable"))
    assert tab.fails("logout()")["error"] == "temporarily_unavailable"
    assert tab.runs("getToken()")["access_token"] == "2"
    assert tab.runs("heard") == []


@pytest.mark.real
def test_signing_out_twice_is_no_error(tab: Tab, site: ScriptedServer) -> None:
    site.answers("/bff/logout", NOBODY)
    tab.listens()
    tab.runs("getSession()")
    tab.leaves("logout()")
    assert tab.heard(2) == [["signed-in", "alice"], ["expired", None]]


@pytest.mark.real
def test_an_answer_that_was_on_its_way_when_somebody_signed_out_is_not_used(
    tabs: Callable[[], Tab], site: ScriptedServer
) -> None:
    here, there = tabs(), tabs()
    here.listens()
    late = threading.Event()
    site.answers(TOKEN, Answer(given("alice's").body, held=late), NOBODY)
    site.answers("/bff/logout", Answer({"logout_url": "#"}))
    here.begins("getToken()")
    wait_until(lambda: len(site.asked(TOKEN)) == 1, WAIT_SECONDS, "token asked for")
    there.leaves("logout()")
    here.heard(1)
    late.set()
    assert here.outcome() == {"error": "invalid_session"}
    assert len(site.asked(TOKEN)) == 2


@pytest.mark.real
def test_a_sign_in_in_another_tab_is_told_and_brings_other_tokens(
    tabs: Callable[[], Tab], site: ScriptedServer
) -> None:
    here, there = tabs(), tabs()
    site.answers(TOKEN, given("alice's"), given("bob's"))
    here.listens()
    here.runs("getSession()")
    here.runs("getToken()")
    site.answers(SESSION, Answer({"sub": "bob"}))
    there.runs("getSession()")
    assert here.heard(2) == [["signed-in", "alice"], ["signed-in", "bob"]]
    assert here.runs("getToken()")["access_token"] == "bob's"
    assert len(site.asked(SESSION)) == 2


@pytest.mark.real
def test_signing_in_leaves_the_page_and_says_where_to_come_back_to(
    tab: Tab, site: ScriptedServer
) -> None:
    tab.runs("history.replaceState(null, '', '/?a=b%20c&d=#part')")
    tab.leaves("login()")
    tab.page.wait_for_url("**/bff/login?**")
    [asked] = site.asked("/bff/login")
    assert asked.query == {"next": ["/?a=b%20c&d=#part"]}
    assert (asked.method, asked.headers["Sec-Fetch-Site"]) == ("GET", "same-origin")
    assert asked.headers["Sec-Fetch-Mode"] == "navigate"


@pytest.mark.real
def test_signing_in_asks_for_what_the_page_wants(tab: Tab, site: ScriptedServer) -> None:
    tab.leaves(
        """login({
          resource: ["https://b.example/", "https://a.example/"],
          scope: "x y",
          acrValues: "gold silver",
          maxAge: 0,
          prompt: "none",
          loginHint: "alice@example.test",
          provider: "partner",
          next: "/orders",
        })"""
    )
    tab.page.wait_for_url("**/bff/login?**")
    assert site.asked("/bff/login")[0].query == {
        "resource": ["https://a.example/", "https://b.example/"],
        "scope": ["x y"],
        "acr_values": ["gold silver"],
        "max_age": ["0"],
        "prompt": ["none"],
        "login_hint": ["alice@example.test"],
        "provider": ["partner"],
        "next": ["/orders"],
    }


@pytest.mark.real
def test_x8_signing_in_asks_for_what_the_error_says(tab: Tab, site: ScriptedServer) -> None:
    url = "/bff/login?provider=partner&resource=https%3A%2F%2Fa.example%2F&scope=x"
    site.answers(TOKEN, refusal("consent_required", login_url=url))
    tab.leaves("getToken({scope: 'x'}).catch(login)")
    tab.page.wait_for_url("**/bff/login?**")
    assert site.asked("/bff/login")[0].query == {
        "provider": ["partner"],
        "resource": ["https://a.example/"],
        "scope": ["x"],
        "next": ["/"],
    }


@pytest.mark.real
def test_signing_in_never_begins_elsewhere(tab: Tab, site: ScriptedServer) -> None:
    tab.leaves('login({loginUrl: "https://evil.example/bff/login"})')
    tab.page.wait_for_url(f"{site.origin}/bff/login")


@pytest.mark.real
@pytest.mark.parametrize(
    ("address", "said", "left"),
    [
        ("/", None, "/"),
        ("/?a=b%20c", None, "/?a=b%20c"),
        ("/?bff_error=login_required", "login_required", "/"),
        ("/?a=b&bff_error=access_denied&c=d#part", "access_denied", "/?a=b&c=d#part"),
    ],
)
def test_what_became_of_a_sign_in_is_taken_out_of_the_address(
    tab: Tab, site: ScriptedServer, address: str, said: str | None, left: str
) -> None:
    tab.runs(f"history.replaceState({{mine: 1}}, '', '{address}')")
    length = tab.runs("history.length")
    assert tab.runs("takeLoginError()") == said
    assert tab.page.url == f"{site.origin}{left}"
    assert tab.runs("[history.state, history.length]") == [{"mine": 1}, length]
    assert tab.runs("takeLoginError()") is None


# --- several tabs ---------------------------------------------------------------------------------

QUEUE = "navigator.locks.query().then(({pending}) => pending.length)"


@pytest.mark.real
def test_one_tab_at_a_time_asks_for_tokens(tabs: Callable[[], Tab], site: ScriptedServer) -> None:
    here, there = tabs(), tabs()
    go_on = threading.Event()
    site.answers(TOKEN, Answer(given("1").body, held=go_on), given("2"))
    here.begins("getToken()")
    wait_until(lambda: len(site.asked(TOKEN)) == 1, WAIT_SECONDS, "token asked for")
    there.begins("getToken({scope: 'other'})")
    wait_until(lambda: there.runs(QUEUE) == 1, WAIT_SECONDS, "other tab waiting")
    assert len(site.asked(TOKEN)) == 1
    go_on.set()
    assert here.outcome()["value"]["access_token"] == "1"
    assert there.outcome()["value"]["access_token"] == "2"


@pytest.mark.real
def test_a_tab_that_waits_to_try_again_keeps_no_other_waiting(
    tabs: Callable[[], Tab], site: ScriptedServer
) -> None:
    here, there = tabs(), tabs()
    here.runs("void (window.setTimeout = (work) => { window.goOn = work })")
    site.answers(TOKEN, UNAVAILABLE, given("there"), given("here"))
    here.begins("getToken()")
    wait_until(lambda: here.runs("Boolean(window.goOn)"), WAIT_SECONDS, "pause begun")
    assert there.runs("getToken()")["access_token"] == "there"
    here.runs("goOn()")
    assert here.outcome()["value"]["access_token"] == "here"


@pytest.mark.real
def test_a_tab_that_hangs_stops_no_other(tabs: Callable[[], Tab], site: ScriptedServer) -> None:
    hanging, tab = tabs(), tabs()
    hanging.runs("void navigator.locks.request('tmibff', () => new Promise(() => {}))")
    hurry(tab)
    assert tab.runs("getToken()")["access_token"] == "token-1"


@pytest.mark.real
@pytest.mark.parametrize(
    "locks", ["undefined", "{request: () => Promise.reject(new Error('not here'))}"]
)
def test_it_works_where_there_are_no_locks(tab: Tab, site: ScriptedServer, locks: str) -> None:
    tab.runs(f"Object.defineProperty(navigator, 'locks', {{value: {locks}}})")
    assert tab.runs("getToken().then((token) => token.access_token)") == "token-1"
    assert len(site.asked(TOKEN)) == 1
