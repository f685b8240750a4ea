"""DPoP end to end: a certified provider, and an API whose library verifies the proofs."""

import http.client
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import pytest
from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Page as BrowserPage

from tests.proofs import PageKey, ath_of, claims_in
from tests.real.chromium import chromium
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.http import send
from tests.real.manage import manage
from tests.real.oidc_provider import ALL_SCOPE, ORDERS, OidcProvider
from tests.real.page import Page, signed_in_page
from tests.real.processes import wait_until
from tests.real.resource_server import ResourceServer
from tests.real.session import databases
from tests.tab import PROOFS

pytestmark = pytest.mark.real

TIMEOUT = 15_000  # milliseconds
STRICT = {
    "client_id": "bound",
    "client_secret": "bound-secret",
    "token_endpoint_auth_method": "client_secret_basic",
    "dpop_bound_access_tokens": True,
}
TOKEN = "/.well-known/bff-token"


@dataclass
class World:
    """An app, its provider, and the API that its pages call."""

    app: Gunicorn
    provider: OidcProvider
    api: ResourceServer

    wants_nonces: bool

    @property
    def answers(self) -> list[str | None]:
        """What became of each request for tokens: the error, where it was refused."""
        return [request["error"] for request in self.provider.seen()["token_requests"]]

    @property
    def calls(self) -> int:
        """How often the app has asked for tokens."""
        return len(self.answers)

    @property
    def orders(self) -> str:
        """The API's address."""
        return f"{self.api.origin}/orders"


@pytest.fixture(scope="module", params=["any client", "bound client"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A client that may have bearer tokens; and one that may not, and has to repeat nonces."""
    is_bound = request.param == "bound client"
    folder = tmp_path_factory.mktemp("dpop")
    app = Gunicorn(folder)
    provider = OidcProvider(
        app.origin, folder, clients=[STRICT], dpop_nonce_clients=["bound"] if is_bound else []
    )
    with databases("sqlite", folder) as found, provider:  # noqa: SIM117  # it has to run first
        with ResourceServer(provider, ORDERS, folder) as api:
            app.settings = {
                **provider.django_settings("bound" if is_bound else "rotate", ALL_SCOPE),
                "DATABASES": found,
                "ROOT_URLCONF": "tests.real.harness",
                "TMIBFF_DPOP": "required",
                "TMIBFF_RESOURCES": {ORDERS: {"scope": "orders:read", "origins": [api.origin]}},
                "TMIBFF_PROVIDERS": {"default": {"dpop_bound_access_tokens": is_bound}},
                "DEMO_API": api.origin,  # Which the page's policy lets it call.
            }
            migrate(app.settings)
            with app:
                yield World(app, provider, api, wants_nonces=is_bound)


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context() as context:
        context.set_default_timeout(TIMEOUT)
        yield context


@pytest.fixture
def tab(context: BrowserContext, world: World) -> BrowserPage:
    """A tab with that page, in whose browser alice has signed in."""
    tab = context.new_page()
    tab.goto(f"{world.app.origin}/bff/login?next=/")
    tab.locator("input[name=login]").fill("alice")
    tab.locator("input[name=password]").fill("any")
    tab.locator("button[type=submit]").click()
    arrive(tab, world)
    return tab


def arrive(tab: BrowserPage, world: World) -> None:
    tab.wait_for_url(f"{world.app.origin}/*")
    tab.goto(f"{world.app.origin}/harness")
    wait_until(lambda: tab.evaluate("Boolean(window.tmibff)"), 10, "module imported")


def leave(tab: BrowserPage, world: World, url: str) -> None:
    """Let the page send its user there, and wait until that has led back to the app."""
    with tab.expect_navigation(url=f"{world.app.origin}/"):
        tab.evaluate("(url) => { location.assign(url) }", url)
    arrive(tab, world)


def runs(tab: BrowserPage, expression: str) -> Any:
    """Return what the expression comes to; the functions of the module have their names."""
    return tab.evaluate(f"async () => {{ with (tmibff) return {expression} }}")


def token_of(tab: BrowserPage, more: str = "") -> dict[str, Any]:
    token: dict[str, Any] = runs(tab, f'getToken({{resource: "{ORDERS}"{more}}})')
    assert token["token_type"] == "DPoP"
    return token


def orders(tab: BrowserPage, world: World) -> Any:
    call = f'tokenFetch("{world.orders}", {{resource: "{ORDERS}"}})'
    return runs(tab, f"{call}.then((answer) => answer.json())")


FORGET = """
from django_tmibff.models import Note
Note.objects.filter(key="dpop-nonce:default").delete()
"""


def test_a_whole_round(tab: BrowserPage, context: BrowserContext, world: World) -> None:
    """Token, API call, both nonces, renewal, and two tabs with one key."""
    manage(world.app.settings, "shell", "-c", FORGET)
    calls = world.calls
    assert "nonce" not in runs(tab, "getSession()")["dpop"]
    assert orders(tab, world) == {"orders": ["tea"]}
    refusals = ["use_dpop_nonce"] if world.wants_nonces else []
    assert world.answers[calls:] == [*refusals, None]
    assert world.api.asked()[-2:] == ["use_dpop_nonce", "served"]
    first = token_of(tab)
    key = _claims(first)["cnf"]["jkt"]

    renewed = token_of(tab, f', refused: "{first["access_token"]}"')
    assert renewed["access_token"] != first["access_token"]
    assert _claims(renewed)["cnf"]["jkt"] == key
    assert orders(tab, world) == {"orders": ["tea"]}
    assert world.api.asked()[-1] == "served"

    calls = world.calls
    other = context.new_page()
    other.goto(f"{world.app.origin}/harness")
    arrive(other, world)
    assert orders(other, world) == {"orders": ["tea"]}
    assert token_of(other)["access_token"] == renewed["access_token"]
    assert world.calls == calls


def test_another_key_is_refused_until_somebody_signs_in(tab: BrowserPage, world: World) -> None:
    orders(tab, world)
    before = _claims(token_of(tab))["cnf"]["jkt"]
    tab.evaluate("new Promise((done) => { indexedDB.deleteDatabase('tmibff').onsuccess = done })")
    arrive(tab, world)
    calls = world.calls
    refused = runs(tab, f'getToken({{resource: "{ORDERS}"}}).catch((error) => ({{...error}}))')
    assert refused["error"] == "invalid_dpop_proof"
    assert world.calls == calls

    leave(tab, world, f"{world.app.origin}/bff/login?prompt=none&next=/")
    error = runs(tab, "getToken().catch(({error}) => error)")
    assert error == "invalid_dpop_proof"

    leave(tab, world, f"{refused['loginUrl']}&next=/")
    assert orders(tab, world) == {"orders": ["tea"]}
    assert _claims(token_of(tab))["cnf"]["jkt"] != before


def with_proofs(tab: BrowserPage, source: str) -> BrowserPage:
    """Return the tab, whose script has the module there that makes proofs."""
    tab.evaluate("(source) => import(source).then((module) => { window.dpop = module })", source)
    return tab


def proof(tab: BrowserPage, *request: str) -> str:
    """Return a proof by the key of the tab's browser and origin, for that method and URL."""
    made: str = tab.evaluate("(request) => dpop.proof(...request)", request)
    return made


def sent(tab: BrowserPage, url: str, **headers: str) -> tuple[int, Any]:
    """Return the status and the JSON that the tab's script gets from there."""
    send = """([url, headers]) => fetch(url, {headers})
      .then(async (answer) => [answer.status, await answer.json()])"""
    status, answer = tab.evaluate(send, [url, headers])
    return status, answer


@pytest.fixture
def page(tab: BrowserPage) -> BrowserPage:
    """The tab again, where somebody's script does as the page does."""
    return with_proofs(tab, "/static/django_tmibff/tmibff-dpop.js")


@pytest.fixture
def elsewhere(context: BrowserContext, world: World) -> BrowserPage:
    """A page of another origin in the same browser, which has a key of its own."""
    elsewhere = context.new_page()
    elsewhere.goto(f"{world.provider.issuer}/.well-known/openid-configuration")
    copy = b64encode(PROOFS.read_bytes()).decode()
    return with_proofs(elsewhere, f"data:text/javascript;base64,{copy}")


def test_a_token_that_is_copied_to_another_origins_page_is_worth_nothing(
    page: BrowserPage, elsewhere: BrowserPage, world: World
) -> None:
    """Nothing that leaves the backend is of use without the page's key."""
    served = (200, orders(page, world))
    token = token_of(page)["access_token"]
    request = ("GET", world.orders, token)
    bound, bearer = ({"Authorization": f"{scheme} {token}"} for scheme in ("DPoP", "Bearer"))
    used = proof(page, *request)
    assert sent(page, world.orders, **bound, DPoP=used) == served
    for headers, why in (
        (bearer, "invalid_token"),
        (bound, "invalid_token"),
        ({**bound, "DPoP": proof(elsewhere, *request)}, "invalid_token"),
        ({**bound, "DPoP": used}, "invalid_dpop_proof"),
    ):
        assert sent(elsewhere, world.orders, **headers) == (401, {"error": why})
    unused = proof(page, *request)
    refused = sent(page, world.orders, **bearer, DPoP=unused)
    assert refused == (401, {"error": "invalid_token"})
    # With one that was made ahead it would be of use, once (RFC 9449 §11.2): nothing else is wrong.
    assert sent(elsewhere, world.orders, **bound, DPoP=unused) == served


def test_what_proves_nothing_gets_nothing_and_the_provider_is_not_asked(
    page: BrowserPage, world: World
) -> None:
    """What script in the page can send, which has the page sign, and keys of its own."""
    token_of(page)
    url = f"{TOKEN}?{urlencode({'resource': ORDERS})}"
    endpoint = runs(page, "getSession()")["dpop"]["token_endpoint"]
    calls, used, thief = world.calls, proof(page, "POST", endpoint), PageKey()
    assert sent(page, url, DPoP=used)[0] == 200
    jwk = jwt.get_unverified_header(used)["jwk"]
    for refused, why in {
        used: "used before",
        proof(page, "POST", f"{endpoint}/revocation"): "for another request",
        proof(page, "POST", world.orders): "for another request",
        proof(page, "GET", endpoint): "for another request",
        thief.proof(htu=endpoint, header={"jwk": jwk}): "not signed with the key that it names",
        thief.proof(htu=endpoint, header={"jwk": thief.private_jwk}): "shows a private key",
        thief.proof(htu=endpoint, iat=1): "not of now",
        thief.proof(htu=endpoint): "bound to another key",
        "": "must hold one proof",
    }.items():
        status, answer = sent(page, url, DPoP=refused)
        assert (status, answer["error"]) == (400, "invalid_dpop_proof")
        assert why in answer["error_description"]
    assert sent(page, url, DPoP=proof(page, "POST", endpoint))[0] == 200
    assert world.calls == calls


def _claims(token: dict[str, Any]) -> dict[str, Any]:
    return claims_in(token["access_token"])


# --- from outside a browser -----------------------------------------------------------------------


class Client:
    """A page whose key the test has."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.key = PageKey()
        known = page.fetch("/.well-known/bff-sessioninfo").json()["dpop"]
        assert known["signing_algs"] == ["ES256"]
        self.endpoint = known["token_endpoint"]
        self.nonce = known.get("nonce", ...)

    def proof(self, **changed: Any) -> str:
        return self.key.proof(**{"htu": self.endpoint, "nonce": self.nonce, **changed})

    def token(self) -> str:
        answer = self.page.fetch(TOKEN, DPoP=self.proof())
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with signed_in_page(world.app) as page:
        yield Client(page)


def test_a_stolen_token_is_refused_by_the_provider_too(client: Client, world: World) -> None:
    """Whose own userinfo verifies the proof."""
    token = client.token()
    url = world.provider.metadata()["userinfo_endpoint"]

    def asked(key: PageKey) -> int:
        claims = {"htm": "GET", "htu": url, "ath": ath_of(token)}
        sent = {"Authorization": f"DPoP {token}", "DPoP": key.proof(**claims)}
        return send("GET", url, headers=sent).status_code

    assert asked(client.key) == 200
    assert asked(PageKey()) == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert send("GET", url, headers=bearer).status_code == 401


RENEW = """
from django_tmibff import tokens
from django_tmibff.models import TokenSet
print(tokens.renew(TokenSet.objects.latest("pk")).token_type)
"""


def test_an_operator_renews_with_a_key_that_nobody_has(client: Client, world: World) -> None:
    """And with the provider's nonce, where it wants one; the page goes on with its own key."""
    token = client.token()
    renewed = manage(world.app.settings, "shell", "-c", RENEW)
    assert (renewed.status, renewed.out.split()[-1:]) == (0, ["DPoP"]), renewed.err
    assert client.token() == token


def test_two_proofs_are_none(client: Client, world: World) -> None:
    """As each server joins them, or not."""
    calls = world.calls
    connection = http.client.HTTPConnection(urlsplit(world.app.origin).netloc, timeout=10)
    connection.putrequest("GET", TOKEN)
    connection.putheader("Sec-Fetch-Site", "same-origin")
    connection.putheader("Cookie", f"sessionid={client.page.cookie}")
    for _ in range(2):
        connection.putheader("DPoP", client.proof())
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, b'"invalid_dpop_proof"' in answer.read()) == (400, True)
    connection.close()
    assert world.calls == calls
