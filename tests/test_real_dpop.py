"""DPoP end to end: a certified provider, and an API whose library verifies the proofs."""

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import pytest
import requests
from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Page as BrowserPage

from tests.proofs import PageKey, ath_of
from tests.real.chromium import chromium
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.http import send
from tests.real.manage import manage
from tests.real.oidc_provider import ALL_SCOPE, ORDERS, OidcProvider
from tests.real.page import Page, signed_in_page
from tests.real.processes import wait_until
from tests.real.resource_server import ResourceServer
from tests.real.session import databases

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

    @property
    def calls(self) -> int:
        """How often the app has asked for tokens."""
        return len(self.provider.seen()["token_requests"])


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
                yield World(app, provider, api)


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
    call = f'tokenFetch("{world.api.origin}/orders", {{resource: "{ORDERS}"}})'
    return runs(tab, f"{call}.then((answer) => answer.json())")


def test_a_whole_round(tab: BrowserPage, context: BrowserContext, world: World) -> None:
    """Token, API call, both nonces, renewal, and two tabs with one key."""
    assert orders(tab, world) == {"orders": ["tea"]}
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


def test_a_token_that_is_copied_to_another_origins_page_is_worth_nothing(
    tab: BrowserPage, context: BrowserContext, world: World
) -> None:
    orders(tab, world)
    token = token_of(tab)["access_token"]
    elsewhere = context.new_page()
    elsewhere.goto(f"{world.provider.issuer}/.well-known/openid-configuration")
    use = """([url, token, scheme]) => fetch(url, {headers: {Authorization: `${scheme} ${token}`}})
      .then((answer) => answer.status)"""
    for scheme in ("DPoP", "Bearer"):
        sent = [f"{world.api.origin}/orders", token, scheme]
        assert elsewhere.evaluate(use, sent) == 401
        assert world.api.asked()[-1] == "invalid_token"
    assert orders(tab, world) == {"orders": ["tea"]}


def _claims(token: dict[str, Any]) -> dict[str, Any]:
    return jwt.decode(token["access_token"], options={"verify_signature": False})


# --- what an attacker may send --------------------------------------------------------------------


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

    def ask(self, proof: str | None = None, **query: str) -> requests.Response:
        headers = {"DPoP": self.proof() if proof is None else proof}
        answer = self.page.fetch(f"{TOKEN}?{urlencode(query)}", **headers)
        if answer.status_code == 400 and answer.json()["error"] == "use_dpop_nonce":
            self.nonce = answer.headers["DPoP-Nonce"]
            return self.ask(None if proof is None else proof, **query)
        return answer

    def refused(self, proof: str) -> str:
        answer = self.page.fetch(TOKEN, DPoP=proof)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"])


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    with signed_in_page(world.app) as page:
        yield Client(page)


def call(api: ResourceServer, token: str, key: PageKey | None, scheme: str = "DPoP") -> int:
    """Return the API's status for a request that repeats its nonce."""
    url = f"{api.origin}/orders"
    headers = {"Authorization": f"{scheme} {token}"}
    claims = {"htm": "GET", "htu": url, "ath": ath_of(token)}
    if key is not None:
        first = send("GET", url, headers={**headers, "DPoP": key.proof(**claims)})
        headers["DPoP"] = key.proof(**claims, nonce=first.headers.get("DPoP-Nonce", ...))
    return send("GET", url, headers=headers).status_code


def test_a_stolen_token_is_refused_wherever_it_is_sent(client: Client, world: World) -> None:
    """Nothing that leaves the backend is of use without the page's key."""
    token = client.ask(resource=ORDERS).json()["access_token"]
    assert call(world.api, token, client.key) == 200
    assert call(world.api, token, PageKey()) == 401
    assert call(world.api, token, None) == 401
    assert call(world.api, token, None, "Bearer") == 401
    assert call(world.api, token, client.key, "Bearer") == 401


def test_so_is_that_of_the_sign_in_at_the_provider(client: Client, world: World) -> None:
    """Whose own userinfo verifies the proof."""
    token = client.ask().json()["access_token"]
    url = world.provider.metadata()["userinfo_endpoint"]

    def asked(key: PageKey) -> int:
        claims = {"htm": "GET", "htu": url, "ath": ath_of(token)}
        sent = {"Authorization": f"DPoP {token}", "DPoP": key.proof(**claims)}
        return send("GET", url, headers=sent).status_code

    assert asked(client.key) == 200
    assert asked(PageKey()) == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert send("GET", url, headers=bearer).status_code == 401


def test_what_proves_nothing_gets_nothing_and_the_provider_is_not_asked(
    client: Client, world: World
) -> None:
    assert client.ask().status_code == 200
    proof, calls = client.proof(), world.calls
    assert client.ask(proof).status_code == 200
    thief = PageKey()
    header = {"jwk": client.key.private_jwk}
    for refused in (
        proof,  # It was used.
        client.proof(htu=f"{client.endpoint}/revocation"),
        client.proof(htu=f"{world.api.origin}/orders"),
        client.proof(htm="GET"),
        client.proof(signed_by=thief.private),
        client.proof(header=header),
        client.proof(iat=1),
        thief.proof(htu=client.endpoint),
        "",
    ):
        assert client.refused(refused) == "invalid_dpop_proof"
    assert world.calls == calls


RENEW = """
from django_tmibff import tokens
from django_tmibff.models import TokenSet
print(tokens.renew(TokenSet.objects.latest("pk")).token_type)
"""


def test_an_operator_renews_with_a_key_that_nobody_has(client: Client, world: World) -> None:
    """And with the provider's nonce, where it wants one; the page goes on with its own key."""
    token = client.ask().json()["access_token"]
    renewed = manage(world.app.settings, "shell", "-c", RENEW)
    assert (renewed.status, renewed.out.split()[-1:]) == (0, ["DPoP"]), renewed.err
    assert client.ask().json()["access_token"] == token


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
