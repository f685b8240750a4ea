"""The demo of ``make demo``: its provider, its API, the app between them, and the launcher."""

import base64
import hashlib
import secrets
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
import requests

from testproject.demo import (
    MORE_SCOPES,
    PROJECT,
    SCOPES,
    SERVERS,
    DemoError,
    Plan,
    Running,
    taken_port,
)
from testproject.idp.accounts import API, APP
from tests.real.browser import Browser
from tests.real.demo import Demo, Launcher, free_ports, launch_command
from tests.real.http import send
from tests.real.processes import answers_http, wait_until

pytestmark = pytest.mark.real

LIFETIME_SECONDS = 4
TIMEOUT_SECONDS = 30


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The three servers; access tokens are short-lived."""
    folder = tmp_path_factory.mktemp("demo")
    with Demo(folder, access_token_seconds=LIFETIME_SECONDS) as demo:
        yield demo


class Page:
    """The app's page in its user's browser."""

    def __init__(self, demo: Demo, browser: Browser) -> None:
        self.demo = demo
        self.browser = browser

    def sign_in(self, username: str) -> requests.Response:
        """Sign in at the provider, return the page on which that ends."""
        form = self.browser.navigate(f"{self.demo.app}/oidc/authenticate/")
        assert urlsplit(form.url).netloc == urlsplit(self.demo.idp).netloc
        password = self.demo.users[username]
        return self.browser.submit_form(form, username=username, password=password)

    def sign_out(self) -> requests.Response:
        """Sign out at the app, return the provider's question."""
        return self.browser.submit_form(self.browser.navigate(f"{self.demo.app}/"))

    def ask(self, query: str = "") -> requests.Response:
        """Return the answer of bff-token."""
        return self.browser.fetch(f"{self.demo.app}/.well-known/bff-token{query}")

    def token(self, query: str = "") -> dict[str, Any]:
        """Return the token answer, which must be a success."""
        answer = self.ask(query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def refusal(self, query: str = "") -> str:
        """Return the error that bff-token answers."""
        answer = self.ask(query)
        assert answer.status_code == 400, answer.text
        return str(answer.json()["error"])

    def orders(
        self,
        token: dict[str, Any] | None,
        *,
        origin: str | None = None,
        item: str = "",
        host: str | None = None,
    ) -> requests.Response:
        """Call the API as a page of that origin would; ``item`` is ordered, ``host`` a header."""
        headers = {"Origin": origin or self.demo.app, "Host": host}
        if token is not None:
            headers["Authorization"] = f"Bearer {token['access_token']}"
        url = f"{self.demo.api}/orders"
        if item:
            return send("POST", url, headers=headers, json={"item": item})
        return send("GET", url, headers=headers)

    def cancel_all(self, token: dict[str, Any] | None = None) -> requests.Response:
        """Let the API cancel all orders, with the default token unless one is given."""
        authorization = f"Bearer {(token or self.token())['access_token']}"
        headers = {"Origin": self.demo.app, "Authorization": authorization}
        return send("POST", f"{self.demo.api}/cancellation", headers=headers)

    def is_for_the_whole_api(self, token: dict[str, Any]) -> bool:
        """Return whether it is only its scope that keeps the token from cancelling."""
        return 'error="insufficient_scope"' in challenge(self.cancel_all(token))

    def is_good(self, token: dict[str, Any]) -> bool:
        """Return whether the API takes the token."""
        return self.orders(token).status_code == 200

    def wait_for_expiry(self, token: dict[str, Any]) -> None:
        """Return when the API no longer takes the token."""
        wait_until(lambda: not self.is_good(token), LIFETIME_SECONDS * 2, "token expired")


@pytest.fixture(scope="module")
def bobs_page(demo: Demo) -> Iterator[Page]:
    """The app's page, into which bob has signed in; he stays."""
    with Browser() as browser:
        page = Page(demo, browser)
        page.sign_in("bob")
        yield page


@pytest.fixture
def page(demo: Demo) -> Iterator[Page]:
    """The app's page, into which alice has just signed in."""
    with Browser() as browser:
        page = Page(demo, browser)
        page.sign_in("alice")
        yield page


def challenge(answer: requests.Response) -> str:
    """Return the answer's ``WWW-Authenticate``."""
    return answer.headers["WWW-Authenticate"]


def test_the_app_knows_the_endpoints_that_the_provider_publishes(demo: Demo) -> None:
    openid_connect, oauth = (
        send("GET", f"{demo.idp}/.well-known/{name}").json()
        for name in ("openid-configuration", "oauth-authorization-server")
    )
    published = {**oauth, **openid_connect}
    settings = demo.plan.app_settings()
    for name, setting in {
        "issuer": "OIDC_OP_ISSUER",
        "authorization_endpoint": "OIDC_OP_AUTHORIZATION_ENDPOINT",
        "token_endpoint": "OIDC_OP_TOKEN_ENDPOINT",
        "userinfo_endpoint": "OIDC_OP_USER_ENDPOINT",
        "jwks_uri": "OIDC_OP_JWKS_ENDPOINT",
        "revocation_endpoint": "OIDC_OP_REVOCATION_ENDPOINT",
        "end_session_endpoint": "OIDC_OP_END_SESSION_ENDPOINT",
    }.items():
        assert published[name] == settings[setting]
    assert published["code_challenge_methods_supported"] == ["S256"]
    assert set(published["scopes_supported"]) == {*SCOPES.split(), *MORE_SCOPES}


def test_a_password_at_the_provider_signs_in_at_the_app(demo: Demo) -> None:
    with Browser() as browser:
        page = Page(demo, browser)
        arrived = page.sign_in("bob")
        assert arrived.url == f"{demo.app}/"
        steps = [urlsplit(step.url) for step in arrived.history]
        [asked] = [parse_qs(step.query) for step in steps if step.path == "/authorize/"]
        assert asked["code_challenge_method"] == ["S256"]
        info = browser.fetch(f"{demo.app}/.well-known/bff-sessioninfo").json()
    assert (info["iss"], info["name"]) == (demo.idp, "Bob Mortar")
    assert (info["email"], info["preferred_username"]) == ("bob@example.test", "bob")


def test_a_wrong_password_is_said_on_the_form(demo: Demo) -> None:
    with Browser() as browser:
        form = browser.navigate(f"{demo.app}/oidc/authenticate/")
        again = browser.submit_form(form, username="alice", password="wrong")
        assert 'role="alert"' in again.text
        assert urlsplit(again.url).netloc == urlsplit(demo.idp).netloc
        arrived = browser.submit_form(again, password=demo.users["alice"])
    assert arrived.url == f"{demo.app}/"


def test_the_provider_wants_pkce(demo: Demo, bobs_page: Page) -> None:
    callback = f"{demo.app}/oidc/callback/"
    query = f"client_id={APP.client_id}&response_type=code&scope=openid&redirect_uri={callback}"
    refused = bobs_page.browser.fetch(f"{demo.idp}/authorize/?{query}")
    assert "error=invalid_request" in refused.headers["Location"]


def test_the_provider_answers_a_foreign_redirect_uri_itself(demo: Demo, bobs_page: Page) -> None:
    query = f"client_id={APP.client_id}&response_type=code&redirect_uri=http://evil.example/"
    refused = bobs_page.browser.navigate(f"{demo.idp}/authorize/?{query}")
    assert refused.status_code == 400
    assert "This did not work" in refused.text


def test_pages_of_the_provider_allow_no_script_and_no_frame(demo: Demo) -> None:
    policy = send("GET", f"{demo.idp}/sign-in/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["app:testproject/page.js", "idp:idp/idp.css"])
def test_static_files_are_served(demo: Demo, path: str) -> None:
    server, _, file = path.partition(":")
    assert send("GET", f"{demo.plan.origin(server)}/static/{file}").status_code == 200


def test_the_page_reads_and_places_orders_with_its_token(bobs_page: Page) -> None:
    token = bobs_page.token()
    assert set(token["scope"].split()) == set(SCOPES.split())
    placed = bobs_page.orders(token, item="A teapot")
    assert placed.status_code == 201
    assert placed.json()["orders"][-1]["item"] == "A teapot"
    assert bobs_page.orders(token).json() == placed.json()


def test_only_the_apps_page_may_read_the_answers(bobs_page: Page, demo: Demo) -> None:
    token = bobs_page.token()
    ours = bobs_page.orders(token)
    assert ours.headers["Access-Control-Allow-Origin"] == demo.app
    assert "WWW-Authenticate" in ours.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in ours.headers
    for origin in ("http://evil.example", demo.idp):
        assert "Access-Control-Allow-Origin" not in bobs_page.orders(token, origin=origin).headers


def test_a_browser_may_send_the_token_across_origins(demo: Demo) -> None:
    preflight = {
        "Origin": demo.app,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = send("OPTIONS", f"{demo.api}/orders", headers=preflight)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == demo.app
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_without_a_token_the_api_only_says_what_it_wants(bobs_page: Page) -> None:
    answer = bobs_page.orders(None)
    assert (answer.status_code, challenge(answer)) == (401, "Bearer")


@pytest.mark.parametrize("token", ["wrong", 'not"a token', ""])
def test_a_wrong_token_is_an_invalid_token(bobs_page: Page, token: str) -> None:
    answer = bobs_page.orders({"access_token": token})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in challenge(answer)
    assert answer.headers["Access-Control-Allow-Origin"] == bobs_page.demo.app


def test_a_malformed_order_is_refused(bobs_page: Page) -> None:
    assert bobs_page.orders(bobs_page.token(), item="x" * 101).status_code == 400


def test_a_narrower_token_may_do_less_and_the_grant_stays_whole(page: Page) -> None:
    wide = page.token()
    narrow = page.token("?scope=orders:read")
    assert narrow["scope"] == "orders:read"
    assert page.is_good(narrow)
    refused = page.orders(narrow, item="A teapot")
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in challenge(refused)
    assert 'scope="orders:write"' in challenge(refused)
    # The app still serves it, so the API must still take it.
    assert page.orders(wide, item="A teapot").status_code == 201
    page.wait_for_expiry(wide)
    later = page.token()
    assert set(later["scope"].split()) == set(SCOPES.split())
    assert page.orders(later, item="A teapot").status_code == 201


def test_a_scope_that_was_not_granted_is_had_where_login_url_leads(page: Page) -> None:
    """X8: the refresh cannot widen the grant, so the user is asked; nothing else changes."""
    refusal = page.ask("?scope=orders:cancel").json()
    assert refusal["error"] == "invalid_scope"
    assert refusal["login_url"] == "/bff/login?scope=orders%3Acancel"
    back = page.browser.follow(f"{page.demo.app}{refusal['login_url']}&next=/")
    assert back.url == f"{page.demo.app}/"
    assert set(page.token()["scope"].split()) == {*SCOPES.split(), *MORE_SCOPES}


def test_a_resource_that_was_not_granted_is_had_where_login_url_leads(page: Page) -> None:
    """X8, RFC 8707: its token works there only, and the token for the whole API stays one."""
    orders = quote(f"{page.demo.api}/orders", "")
    refusal = page.ask(f"?resource={orders}").json()
    assert refusal["error"] == "invalid_target"
    page.browser.follow(f"{page.demo.app}{refusal['login_url']}&next=/")
    whole = page.token()
    assert page.is_for_the_whole_api(whole)
    token = page.token(f"?resource={orders}")
    assert token["origins"] == [page.demo.api]
    assert page.is_good(token)
    elsewhere = page.cancel_all(token)
    assert elsewhere.status_code == 401
    assert 'error="invalid_token"' in challenge(elsewhere)
    # Neither has the refresh narrowed the grant.
    page.wait_for_expiry(whole)
    assert page.is_for_the_whole_api(page.token())


def test_a_token_is_for_the_api_that_it_names_whatever_the_host_header_says(
    bobs_page: Page,
) -> None:
    """RFC 8707 §3: another API that was given a token of its own cannot use it here."""
    elsewhere = "localhost:9"
    token = sign_in_as_the_app(bobs_page, resource=f"http://{elsewhere}/orders")
    assert not bobs_page.is_good(token)
    assert bobs_page.orders(token, host=elsewhere).status_code == 401
    ours = sign_in_as_the_app(bobs_page, resource=f"{bobs_page.demo.api}/orders")
    assert bobs_page.is_good(ours)


def test_a_refresh_gives_no_resource_beyond_those_of_the_sign_in(bobs_page: Page) -> None:
    """RFC 8707 §2.2: what is refused costs nothing, and what was named can be had."""
    demo = bobs_page.demo
    orders, cancellation = f"{demo.api}/orders", f"{demo.api}/cancellation"
    token = sign_in_as_the_app(bobs_page, resource=orders)["refresh_token"]
    for asked in ([cancellation], [orders, cancellation]):
        refused = refresh(demo, token, resource=asked)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target")
    assert refresh(demo, token, resource=[orders]).status_code == 200


def test_what_cannot_be_taken_back_takes_a_sign_in_of_the_last_minute(
    demo: Demo, page: Page
) -> None:
    """RFC 9470: the API says how young, the page passes it on, the provider asks again."""
    page.browser.follow(f"{demo.app}/bff/login?scope=orders:cancel")
    demo.let_an_hour_pass_at_the_provider()
    refused = page.cancel_all()
    assert refused.status_code == 401
    assert 'error="insufficient_user_authentication"' in challenge(refused)
    assert 'max_age="60"' in challenge(refused)
    form = page.browser.follow(f"{demo.app}/bff/login?max_age=60&next=/?page=2")
    assert urlsplit(form.url).netloc == urlsplit(demo.idp).netloc
    back = page.browser.submit_form(form, username="alice", password=demo.users["alice"])
    assert back.url == f"{demo.app}/?page=2"
    assert page.cancel_all().json() == {"orders": []}


def test_a_silent_attempt_that_finds_nobody_comes_back_and_signs_nobody_out(
    demo: Demo, page: Page
) -> None:
    for cookie in [one for one in page.browser.cookies if one.name.startswith("idp")]:
        page.browser.cookies.clear(cookie.domain, cookie.path, cookie.name)
    back = page.browser.follow(f"{demo.app}/bff/login?prompt=none&next=/")
    assert back.url == f"{demo.app}/?bff_error=login_required"
    assert page.token()["access_token"]


def test_a_silent_attempt_renews_in_place(demo: Demo, page: Page) -> None:
    first = page.token()
    back = page.browser.follow(f"{demo.app}/bff/login?prompt=none&next=/orders")
    assert [answer.url for answer in back.history][-1].startswith(f"{demo.app}/oidc/callback/")
    assert page.token()["access_token"] != first["access_token"]


def test_an_expired_token_is_refused_and_the_next_one_is_good(page: Page) -> None:
    first = page.token()
    page.wait_for_expiry(first)
    assert 'error="invalid_token"' in challenge(page.orders(first))
    second = page.token()
    assert second["access_token"] != first["access_token"]
    assert page.is_good(second)


def test_a_refresh_token_used_twice_ends_all_tokens_of_its_sign_in(
    demo: Demo, bobs_page: Page
) -> None:
    other = bobs_page.token()
    first = sign_in_as_the_app(bobs_page)
    second = refresh(demo, first["refresh_token"]).json()
    assert bobs_page.is_good(first)
    assert bobs_page.is_good(second)
    again = refresh(demo, first["refresh_token"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert refresh(demo, second["refresh_token"]).json()["error"] == "invalid_grant"
    assert not bobs_page.is_good(first)
    assert not bobs_page.is_good(second)
    assert bobs_page.is_good(other)


def test_signing_out_ends_the_tokens_and_asks_whether_at_the_provider_too(page: Page) -> None:
    wide, narrow = page.token(), page.token("?scope=orders:read")
    question = page.sign_out()
    assert urlsplit(question.url).netloc == urlsplit(page.demo.idp).netloc
    assert page.refusal() == "invalid_session"
    assert not page.is_good(wide)
    assert not page.is_good(narrow)
    signed_out = page.browser.submit_form(question, allow="yes")
    assert signed_out.url == f"{page.demo.app}/"
    # Both want the password now.
    assert "Password" in page.browser.navigate(f"{page.demo.app}/oidc/authenticate/").text


def test_who_stays_signed_in_at_the_provider_needs_no_password(page: Page) -> None:
    question = page.sign_out()
    assert f'href="{page.demo.app}/"' in question.text
    again = page.browser.navigate(f"{page.demo.app}/oidc/authenticate/")
    assert again.url == f"{page.demo.app}/"
    assert page.is_good(page.token())


def test_x5_with_the_provider_stopped_it_is_said_and_passes(page: Page) -> None:
    token = page.token()
    page.wait_for_expiry(token)
    page.demo.stop_idp()
    try:
        assert page.refusal() == "temporarily_unavailable"
        at_the_api = page.orders(token)
        assert at_the_api.status_code == 503
        assert at_the_api.json()["error"] == "temporarily_unavailable"
        assert at_the_api.headers["Access-Control-Allow-Origin"] == page.demo.app
    finally:
        page.demo.start_idp()
    # What was learned of the outage lasts for a moment.
    wait_until(lambda: page.ask("").ok, 20, "a token after the outage")
    assert page.is_good(page.token())


def test_the_apis_client_gets_no_tokens(demo: Demo) -> None:
    form = {"grant_type": "client_credentials", "scope": "orders:write"}
    answer = send("POST", f"{demo.idp}/token/", data=form, auth=(API.client_id, API.secret))
    assert answer.json()["error"] == "unauthorized_client"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Where a demo of the launcher's own is to run."""
    return Plan(tmp_path / "data", free_ports())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_all_servers(
    demo: Demo, plan: Plan, tmp_path: Path, number: signal.Signals
) -> None:
    copy_databases(demo, plan)
    with Launcher(tmp_path, plan) as launcher:
        for name in SERVERS:
            assert send("GET", f"{plan.origin(name)}/").status_code == 200
        assert launcher.signal(number) == 0
        assert taken_port(plan.port) is None
    assert f"The demo is at http://localhost:{plan.port}" in launcher.log()
    assert "alice (password wonderland)" in launcher.log()
    assert "Traceback" not in launcher.log()


def test_its_page_can_stop_the_provider_and_start_it_again(plan: Plan, tmp_path: Path) -> None:
    """X5: what a page sees meanwhile is in tests/test_browser.py."""
    switch = f"{plan.origin('app')}/demo/provider"
    with Launcher(tmp_path, plan), Browser() as browser:
        browser.navigate(plan.origin("app"))
        csrf = {"csrfmiddlewaretoken": str(browser.cookies.get("app_csrftoken"))}
        assert browser.post_form(switch, stopped="yes", **csrf).json() == {"stopped": True}
        wait_until(lambda: not answers_http(plan.origin("idp")), TIMEOUT_SECONDS, "it is stopped")
        assert browser.post_form(switch, stopped="no", **csrf).json() == {"stopped": False}
        wait_until(lambda: answers_http(plan.origin("idp")), TIMEOUT_SECONDS, "it is back")


def test_a_signal_during_the_preparations_ends_it_without_a_traceback(plan: Plan) -> None:
    process = start_launcher(plan)
    wait_until((plan.folder / "idp-key.pem").exists, TIMEOUT_SECONDS, "preparations begun")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0
    assert output.strip() == "The demo has ended."


def test_a_server_that_dies_is_named_and_none_is_left(demo: Demo, plan: Plan) -> None:
    copy_databases(demo, plan)
    running = Running(plan)
    try:
        running.start()
        wait_until(running.are_ready, TIMEOUT_SECONDS, "demo ready")
        running.check()
        running.processes["idp"].kill()
        running.processes["idp"].wait(TIMEOUT_SECONDS)
        with pytest.raises(DemoError, match="idp ended with status -9"):
            running.check()
    finally:
        running.stop()
    assert taken_port(plan.port) is None


@pytest.mark.parametrize("server", SERVERS)
def test_a_taken_port_is_named_and_the_way_out_told(plan: Plan, server: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", plan.port_of(server)))
        listener.listen()
        status, output = launch(plan)
    assert status == 1
    assert output.startswith(f"Port {plan.port_of(server)} is taken. Use others: make demo PORT=")
    assert len(output.splitlines()) == 1


def test_a_second_demo_in_the_same_folder_is_refused(
    demo: Demo, plan: Plan, tmp_path: Path
) -> None:
    copy_databases(demo, plan)
    with Launcher(tmp_path, plan):
        status, output = launch(Plan(plan.folder, free_ports()))
    assert status == 1
    assert output.startswith("Another demo is running")


def start_launcher(plan: Plan) -> subprocess.Popen[str]:
    """Start the launcher with what it prints in a pipe."""
    return subprocess.Popen(
        launch_command(plan),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def launch(plan: Plan) -> tuple[int, str]:
    """Return the status and the output of a launcher that ends by itself."""
    process = start_launcher(plan)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output


def copy_databases(demo: Demo, plan: Plan) -> None:
    """Save the launcher the time to make its own."""
    plan.folder.mkdir()
    for name in ("app.sqlite3", "idp.sqlite3"):
        with (
            closing(sqlite3.connect(demo.plan.folder / name)) as source,
            closing(sqlite3.connect(plan.folder / name)) as target,
        ):
            source.backup(target)


def sign_in_as_the_app(page: Page, **named: str) -> dict[str, Any]:
    """Return the provider's own token response to a sign-in; both requests name ``named``."""
    verifier = secrets.token_urlsafe(48)
    digest = hashlib.sha256(verifier.encode()).digest()
    request = {
        "client_id": APP.client_id,
        "response_type": "code",
        "scope": SCOPES,
        "redirect_uri": f"{page.demo.app}/oidc/callback/",
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
        **named,
    }
    answer = page.browser.fetch(f"{page.demo.idp}/authorize/?{urlencode(request)}")
    [code] = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": request["redirect_uri"],
        "code_verifier": verifier,
        **named,
    }
    found: dict[str, Any] = ask_for_tokens(page.demo, form).json()
    return found


def refresh(demo: Demo, refresh_token: str, **more: Any) -> requests.Response:
    """Use a refresh token as the app does."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, **more}
    return ask_for_tokens(demo, form)


def ask_for_tokens(demo: Demo, form: dict[str, Any]) -> requests.Response:
    """Return the token endpoint's answer to the app."""
    return send("POST", f"{demo.idp}/token/", data=form, auth=(APP.client_id, APP.secret))
