"""GET /bff/login: asking the user when it takes the user (X8), and what comes back."""

import html
import json
import re
import secrets
import time
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.test.utils import override_script_prefix

from django_tmibff.http import own_sign_in
from django_tmibff.views import OIDCCallbackView
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import NAVIGATION, SESSION_INFO, Page

pytestmark = pytest.mark.django_db

ORDERS, MAIL = "https://api.example/orders", "https://api.example/mail"
AN_ORDER, A_MAIL = quote(ORDERS, ""), quote(MAIL, "")
LOGIN = "/bff/login"


@pytest.fixture(autouse=True)
def site(settings: Any) -> None:
    """A site that lists two resources and one more scope."""
    settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "orders"}, MAIL: {}}
    settings.TMIBFF_SCOPES = ["calendar"]


@pytest.fixture
def provider(authorization_server: Any) -> OpenIDProvider:
    return OpenIDProvider(authorization_server)


def asked(answer: Any) -> dict[str, list[str]]:
    """Return what the provider is asked for."""
    assert answer.status_code == 302, answer.content
    assert answer["Location"].startswith(f"{ISSUER}/authorize?")
    return parse_qs(urlsplit(answer["Location"]).query)


def come_back(page: Page, answer: Any, **query: str) -> Any:
    """Return the answer at the callback of the sign-in that ``answer`` began."""
    [state] = asked(answer)["state"]
    sent = {"state": state, **query}
    return page.get("/oidc/callback/", sent, secure=True, headers={"sec-fetch-site": "cross-site"})


def finish(page: Page, answer: Any, provider: OpenIDProvider, **tokens: Any) -> Any:
    """Let the provider sign the user in."""
    provider.tokens = tokens
    [nonce] = asked(answer)["nonce"]
    provider.server.gives(**provider._token_response(nonce))
    return come_back(page, answer, code="canary-code")


class TestWhatIsAsked:
    def test_a_plain_sign_in_with_pkce(self, page: Page) -> None:
        query = asked(page.navigate(LOGIN))
        assert query["scope"] == ["openid email"]
        assert query["code_challenge_method"] == ["S256"]
        assert query["redirect_uri"] == ["https://app.example/oidc/callback/"]
        assert not query.keys() & {"resource", "prompt", "max_age", "acr_values", "login_hint"}

    def test_each_resource_with_its_scope(self, page: Page) -> None:
        query = asked(page.navigate(LOGIN, {"resource": [ORDERS, MAIL]}))
        assert query["resource"] == [ORDERS, MAIL]
        assert query["scope"] == ["openid email orders"]

    def test_a_scope_on_top_of_what_was_granted(self, page: Page, signed_in: Any) -> None:
        signed_in(scope="openid email profile")
        query = asked(page.navigate(LOGIN, {"scope": "calendar openid"}))
        assert query["scope"] == ["openid email profile calendar"]

    def test_a_resource_on_top_of_those_that_were_named_and_are_still_listed(
        self, page: Page, user: Any
    ) -> None:
        page.sign_in(user)
        page.store(resources=[ORDERS, "https://api.example/closed"])
        assert asked(page.navigate(LOGIN, {"resource": MAIL}))["resource"] == [MAIL, ORDERS]
        page.store()
        assert asked(page.navigate(LOGIN))["resource"] == [ORDERS]

    def test_not_on_top_of_what_another_provider_has_granted(
        self, page: Page, user: Any, settings: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"other": {}}
        page.sign_in(user)
        page.store({"scope": "theirs"}, provider="other", resources=[ORDERS])
        query = asked(page.navigate(LOGIN))
        assert query["scope"] == ["openid email"]
        assert "resource" not in query

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("acr_values", "urn:mace:silver phr"),
            ("max_age", "0"),
            ("max_age", "60"),
            ("prompt", "none"),
            ("prompt", "login consent"),
            ("login_hint", "alice@op.example"),
        ],
    )
    def test_how_the_user_is_to_be_asked(self, page: Page, name: str, value: str) -> None:
        assert asked(page.navigate(LOGIN, {name: value}))[name] == [value]

    def test_what_the_site_always_says_stays(self, page: Page, settings: Any) -> None:
        settings.OIDC_AUTH_REQUEST_EXTRA_PARAMS = {"prompt": "consent", "ui_locales": "tr"}
        query = asked(page.navigate(LOGIN, {"prompt": "login"}))
        assert (query["prompt"], query["ui_locales"]) == (["login"], ["tr"])

    @pytest.mark.parametrize(
        ("query", "error"),
        [
            ("resource=https://api.example/secrets", "invalid_target"),
            ("resource=orders", "invalid_target"),
            ("scope=admin", "invalid_scope"),
            ("scope=a%22b", "invalid_scope"),
            ("scope=openid&scope=email", "invalid_request"),
            ("prompt=maybe", "invalid_request"),
            ("prompt=none+login", "invalid_request"),
            ("prompt=login&prompt=consent", "invalid_request"),
            ("max_age=soon", "invalid_request"),
            ("max_age=-1", "invalid_request"),
            ("max_age=%D9%A1", "invalid_request"),
            ("acr_values=a%00b", "invalid_request"),
            (f"acr_values={'a' * 1001}", "invalid_request"),
            ("login_hint=a%0Ab", "invalid_request"),
            (f"login_hint={'a' * 1001}", "invalid_request"),
        ],
    )
    def test_anything_else_is_refused_with_a_reason_and_nobody_is_asked(
        self, page: Page, query: str, error: str
    ) -> None:
        answer = page.navigate(f"{LOGIN}?{query}")
        assert answer.status_code == 400
        refusal = json.loads(answer.content)
        assert refusal["error"] == error
        assert refusal["error_description"]
        assert "oidc_states" not in page.session

    def test_unknown_and_empty_parameters_are_ignored(self, page: Page) -> None:
        query = asked(page.navigate(f"{LOGIN}?colour=red&scope=&resource=&prompt="))
        assert query["scope"] == ["openid email"]
        assert "colour" not in query

    def test_a_site_without_openid_connect_has_none(self, page: Page, settings: Any) -> None:
        del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
        assert page.navigate(LOGIN).status_code == 404

    @pytest.mark.parametrize("method", ["post", "put", "delete"])
    def test_another_method(self, page: Page, method: str) -> None:
        assert getattr(page, method)(LOGIN, secure=True).status_code == 405

    @pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin", "websocket"])
    @pytest.mark.parametrize("site", ["same-origin", "cross-site"])
    def test_e5_what_no_window_shows_is_refused(self, page: Page, site: str, mode: str) -> None:
        """An image with this address would fill the session with sign-ins that nobody sees."""
        sent = {**NAVIGATION, "sec-fetch-site": site, "sec-fetch-mode": mode}
        answer = page.get(LOGIN, secure=True, headers=sent)
        assert answer.status_code == 403
        assert "oidc_states" not in page.session

    @pytest.mark.parametrize("header", ["sec-purpose", "purpose"])
    def test_e5_what_nobody_wants_yet_is_refused(self, page: Page, header: str) -> None:
        answer = page.get(LOGIN, secure=True, headers={**NAVIGATION, header: "prefetch"})
        assert answer.status_code == 403
        assert "oidc_states" not in page.session


class TestFromElsewhere:
    """Whoever sends the user here must not choose as whom, or with what, they sign in."""

    @pytest.mark.parametrize("where", ["cross-site", "same-site", "none", None])
    def test_nothing_is_kept_but_next(self, page: Page, settings: Any, where: str | None) -> None:
        settings.TMIBFF_PROVIDERS = {"other": {"client_id": "other"}}
        sent = {
            "scope": "calendar",
            "resource": ORDERS,
            "login_hint": "mallory",
            "prompt": "none",
            "acr_values": "low",
            "max_age": "99999",
            "provider": "other",
            "next": "/orders",
        }
        headers = {} if where is None else {"sec-fetch-site": where}
        query = asked(page.get(LOGIN, sent, secure=True, headers=headers))
        assert query["scope"] == ["openid email"]
        assert query["client_id"] == ["client"]
        assert not query.keys() & (sent.keys() - {"scope"})
        assert page.session["oidc_login_next"] == "/orders"

    @pytest.mark.parametrize("where", ["cross-site", "same-site", "none"])
    def test_nor_are_resources_named_but_those_that_the_session_has_already(
        self, page: Page, provider: OpenIDProvider, where: str
    ) -> None:
        finish(page, page.navigate(LOGIN, {"resource": ORDERS}), provider)
        sent = {"resource": [MAIL, "https://evil.example/"]}
        headers = {"sec-fetch-site": where}
        for _ in range(2):
            begun = page.get(LOGIN, sent, secure=True, headers=headers)
            assert asked(begun)["resource"] == [ORDERS]
            finish(page, begun, provider)

    def test_nor_those_of_a_sign_in_of_another_session(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        """Whose state somebody has sent the browser back with."""
        theirs = Page()
        begun = theirs.navigate(LOGIN, {"resource": MAIL})
        finish(page, page.navigate(LOGIN, {"resource": ORDERS}), provider)
        handle = page.session["_tmibff_token_set"]
        come_back(page, begun, code="code-of-mallory")
        assert asked(page.navigate(LOGIN))["resource"] == [ORDERS]
        assert page.session["_tmibff_token_set"] == handle

    def test_a_flood_does_not_push_out_a_sign_in_that_the_user_has_begun(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        begun = page.navigate(LOGIN, {"next": "/mine"})
        for _ in range(60):
            page.get(LOGIN, {"next": "/theirs"}, headers={"sec-fetch-site": "cross-site"})
        assert len(page.session["oidc_states"]) == 11
        assert finish(page, begun, provider)["Location"] == "/mine"

    def test_nor_where_few_are_kept(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_MAX_STATES = 5
        begun = page.navigate(LOGIN, {"next": "/mine"})
        for _ in range(20):
            page.get(LOGIN, headers={"sec-fetch-site": "cross-site"})
        assert finish(page, begun, provider)["Location"] == "/mine"

    def test_nor_one_at_another_provider(self, page: Page, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {
            "other": {"client_id": "other", "authorization_endpoint": f"{ISSUER}/authorize"}
        }
        begun = page.navigate(LOGIN, {"provider": "other"})
        for _ in range(60):
            page.get(LOGIN, headers={"sec-fetch-site": "cross-site"})
        assert list(page.session["_tmibff_states"]) == asked(begun)["state"]

    @pytest.mark.parametrize(
        "engine", ["django.contrib.sessions.backends.signed_cookies", "tests.cookie_sessions"]
    )
    def test_nor_does_it_fill_a_session_that_lives_in_its_cookie(
        self, page: Page, provider: OpenIDProvider, settings: Any, engine: str
    ) -> None:
        """Browsers leave out what is larger, and with it the sign-in that the user begins."""
        settings.SESSION_ENGINE = engine
        for _ in range(20):
            elsewhere = {"next": f"/{secrets.token_urlsafe(740)}"}
            page.get(LOGIN, elsewhere, secure=True, headers={"sec-fetch-site": "cross-site"})
        begun = page.navigate(LOGIN, {"next": "/mine"})
        assert len(begun.cookies["sessionid"].OutputString()) < 4096
        assert finish(page, begun, provider)["Location"] == "/mine"


def test_the_callback_is_no_transaction() -> None:
    """It calls the provider, and would hold the session's row meanwhile."""
    assert "default" in OIDCCallbackView.as_view()._non_atomic_requests


class TestStrictCookies:
    """E9: a navigation from another site arrives without a SameSite=Strict cookie."""

    FROM_ELSEWHERE: ClassVar = {**NAVIGATION, "sec-fetch-site": "cross-site"}

    @pytest.fixture(autouse=True)
    def strict(self, settings: Any) -> None:
        settings.SESSION_COOKIE_SAMESITE = "Strict"

    @staticmethod
    def refreshed(answer: Any) -> str:
        """Return where the page goes by itself."""
        found = re.search('http-equiv="refresh" content="0; url=([^"]*)"', answer.content.decode())
        assert found is not None
        return html.unescape(found[1])

    def arrive(self, page: Page, **query: str) -> Any:
        return page.get(LOGIN, query, secure=True, headers=self.FROM_ELSEWHERE)

    def test_e9_the_session_that_was_left_behind_is_not_replaced(
        self, page: Page, signed_in: Any
    ) -> None:
        """Any link would sign the user out."""
        answer = self.arrive(page, next="/orders?a=1&b=2")
        assert (answer.status_code, dict(answer.cookies)) == (200, {})
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "no-store" in answer.headers["Cache-Control"]
        signed_in()
        before = page.cookies["sessionid"].value
        query = asked(page.navigate(self.refreshed(answer)))
        assert query["scope"] == ["openid email"]
        assert page.cookies["sessionid"].value == before
        assert page.session["oidc_login_next"] == "/orders?a=1&b=2"

    def test_e9_nobody_signed_in_goes_the_same_way(self, page: Page) -> None:
        assert asked(page.navigate(self.refreshed(self.arrive(page))))["scope"] == ["openid email"]

    def test_e9_it_stays_another_sites(self, page: Page, provider: OpenIDProvider) -> None:
        begun = page.navigate(LOGIN, {"next": "/mine"})
        path = f"{LOGIN}?from_elsewhere=1&next=/theirs&login_hint=mallory"
        for _ in range(60):
            theirs = page.navigate(path)
        assert "login_hint" not in asked(theirs)
        assert len(page.session["oidc_states"]) == 11
        assert finish(page, begun, provider)["Location"] == "/mine"

    def test_e9_what_comes_from_the_query_cannot_leave_the_attribute(self, page: Page) -> None:
        answer = self.arrive(page, next="/'\"><script>alert(1)</script>", login_hint="mallory")
        assert b"<script" not in answer.content
        assert b"mallory" not in answer.content

    @pytest.mark.parametrize(
        ("same_site", "site"), [("Lax", "cross-site"), ("Strict", "same-site"), ("Strict", "none")]
    )
    def test_e9_not_where_the_cookie_would_have_been_sent(
        self, page: Page, settings: Any, same_site: str, site: str
    ) -> None:
        settings.SESSION_COOKIE_SAMESITE = same_site
        assert asked(page.get(LOGIN, secure=True, headers={"sec-fetch-site": site}))

    def test_e9_not_when_the_session_is_there(self, page: Page, signed_in: Any) -> None:
        signed_in()
        assert asked(self.arrive(page))


class TestNext:
    @pytest.mark.parametrize(
        "path", ["/", "/orders", "/orders?page=2", "/orders/1#top", "/a%20b", "/?next=//x"]
    )
    def test_a_path_of_ours(self, page: Page, provider: OpenIDProvider, path: str) -> None:
        begun = page.navigate(f"{LOGIN}?next={quote(path, safe='')}")
        assert finish(page, begun, provider)["Location"] == path

    def test_an_address_of_ours_becomes_its_path(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        begun = page.navigate(LOGIN, {"next": "https://app.example/orders?page=2"})
        assert finish(page, begun, provider)["Location"] == "/orders?page=2"

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example",
            "https://evil.example/app.example",
            "//evil.example",
            "///evil.example",
            "////evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "\t//evil.example",
            "https:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "https://app.example@evil.example",
            "https://app.example.evil.example",
            "https://app.example:444/",
            "https://app.example%2eevil.example",
            "https://evil.example\\@app.example",
            "http://app.example/",
            "ftp://app.example/",
            "javascript:alert(1)",
            "data:text/html,x",
            "orders",
            "./orders",
            "../orders",
            "?page=2",
            "https://app.example//evil.example",
            "https://app.example/\\evil.example",
            "\x00/orders",
            " https://evil.example",
            "http:///app.example",
            "/\x0b/evil.example",
            "https://[::1",
        ],
    )
    @pytest.mark.parametrize("headers", [NAVIGATION, {"sec-fetch-site": "cross-site"}])
    def test_elsewhere_is_ignored(
        self, page: Page, provider: OpenIDProvider, settings: Any, url: str, headers: Any
    ) -> None:
        settings.OIDC_REDIRECT_ALLOWED_HOSTS = ["evil.example"]
        begun = page.get(LOGIN, {"next": url}, secure=True, headers=headers)
        assert finish(page, begun, provider)["Location"] == settings.LOGIN_REDIRECT_URL

    @pytest.mark.parametrize(
        "path",
        [
            "/bff/login?login_hint=mallory",
            "/bff/%6Cogin?login_hint=mallory",
            "https://app.example/bff/login?scope=calendar",
            "/oidc/authenticate/",
            "/oidc/authenticate?scope=calendar",
            "/./bff/login?login_hint=mallory",
            "/orders/../bff/login?login_hint=mallory",
            "/orders/%2e%2E/bff/login?login_hint=mallory",
            "/bff//login?login_hint=mallory",
            "/oidc/x/../authenticate",
        ],
    )
    def test_e9_one_that_begins_a_sign_in_is_ignored(
        self, page: Page, provider: OpenIDProvider, settings: Any, path: str
    ) -> None:
        """Where strict cookies work by a reload, that would count as our own page's."""
        headers = {"sec-fetch-site": "cross-site"}
        begun = page.get(LOGIN, {"next": path}, secure=True, headers=headers)
        assert finish(page, begun, provider)["Location"] == settings.LOGIN_REDIRECT_URL

    @pytest.mark.parametrize(
        "path", ["/shop/bff/login?login_hint=mallory", "/bff/login", "/shop/x/../bff/login"]
    )
    def test_e9_nor_is_one_of_a_site_below_a_path(self, page: Page, path: str) -> None:
        with override_script_prefix("/shop/"):
            page.get(LOGIN, {"next": path}, secure=True, headers={"sec-fetch-site": "cross-site"})
        assert page.session["oidc_login_next"] is None

    def test_without_one_another_sites_is_not_taken(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        begun = page.navigate(LOGIN)
        headers = {"sec-fetch-site": "cross-site"}
        page.get(LOGIN, {"next": "/theirs"}, secure=True, headers=headers)
        assert finish(page, begun, provider)["Location"] == settings.LOGIN_REDIRECT_URL

    def test_a_long_one_is_ignored(self, page: Page) -> None:
        page.navigate(LOGIN, {"next": f"/{'a' * 1000}"})
        assert page.session["oidc_login_next"] is None

    def test_each_sign_in_has_its_own(self, page: Page, provider: OpenIDProvider) -> None:
        first = page.navigate(LOGIN, {"next": "/first"})
        page.navigate(LOGIN, {"next": "/second"})
        assert finish(page, first, provider)["Location"] == "/first"

    def test_it_is_there_although_another_user_signs_in(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        page.sign_in(get_user_model().objects.create_user("bob", password="b"))
        begun = page.navigate(LOGIN, {"next": "/orders"})
        assert finish(page, begun, provider)["Location"] == "/orders"


class TestWhatComesBack:
    def test_the_token_set_is_renewed_in_place(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        finish(page, page.navigate(LOGIN), provider)
        handle = token_set().handle
        begun = page.navigate(LOGIN, {"scope": "calendar", "next": "/orders"})
        scope = "openid email calendar"
        answer = finish(page, begun, provider, scope=scope, access_token="wider")
        assert answer["Location"] == "/orders"
        assert token_set().handle == handle
        assert (page.token()["access_token"], page.token()["scope"]) == ("wider", scope)

    @pytest.mark.parametrize(
        "error", ["login_required", "consent_required", "interaction_required", "access_denied"]
    )
    def test_a_refusal_is_told_to_the_page_and_signs_nobody_out(
        self, page: Page, signed_in: Any, error: str
    ) -> None:
        signed_in()
        begun = page.navigate(LOGIN, {"prompt": "none", "next": "/orders?page=2#top"})
        answer = come_back(page, begun, error=error)
        assert answer["Location"] == f"/orders?page=2&bff_error={error}#top"
        assert page.fetch(SESSION_INFO).status_code == 200
        assert come_back(page, begun, error=error)["Content-Type"].startswith("text/html")

    @pytest.mark.parametrize("error", ["<script>", "a" * 65, "Login Required", "é"])
    def test_what_is_no_error_word_is_not_repeated(
        self, page: Page, provider: OpenIDProvider, error: str
    ) -> None:
        begun = page.navigate(LOGIN, {"next": "/"})
        assert come_back(page, begun, error=error)["Location"] == "/?bff_error=server_error"

    def test_of_another_sites_attempt_the_page_hears_nothing(
        self, page: Page, settings: Any
    ) -> None:
        headers = {"sec-fetch-site": "cross-site"}
        begun = page.get(LOGIN, {"next": "/orders"}, secure=True, headers=headers)
        answer = come_back(page, begun, error="access_denied")
        assert answer["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_without_next_it_is_a_failed_sign_in(self, page: Page, settings: Any) -> None:
        answer = come_back(page, page.navigate(LOGIN), error="access_denied")
        assert answer["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_what_session_refresh_has_begun_still_signs_out(
        self, page: Page, user: Any, settings: Any
    ) -> None:
        """It would send the browser to the provider again and again otherwise."""
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "mozilla_django_oidc.middleware.SessionRefresh",
        ]
        page.force_login(user, backend=settings.AUTHENTICATION_BACKENDS[0])
        begun = page.navigate("/")
        assert asked(begun)["prompt"] == ["none"]
        come_back(page, begun, error="login_required")
        assert "_auth_user_id" not in page.session


class TestMaxAge:
    """OpenID Connect Core §3.1.3.7, 13: who asks for a fresh sign-in checks that it is one."""

    @pytest.mark.parametrize(("age", "signed_in"), [(30, True), (100, True), (130, False)])
    def test_the_sign_in_is_no_older_than_was_asked_and_a_minute(
        self, page: Page, provider: OpenIDProvider, age: int, signed_in: bool
    ) -> None:
        begun = page.navigate(LOGIN, {"max_age": "60", "next": "/orders"})
        provider.id_token = {"auth_time": int(time.time()) - age}
        answer = finish(page, begun, provider)
        assert (answer["Location"] == "/orders") is signed_in

    @pytest.mark.parametrize("auth_time", [..., "now", None, [1]])
    def test_one_that_does_not_say_is_refused(
        self, page: Page, provider: OpenIDProvider, settings: Any, auth_time: Any
    ) -> None:
        begun = page.navigate(LOGIN, {"max_age": "60"})
        provider.id_token = {"auth_time": auth_time}
        assert finish(page, begun, provider)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_nobody_asked_and_any_age_is_good(self, page: Page, provider: OpenIDProvider) -> None:
        begun = page.navigate(LOGIN, {"next": "/orders"})
        provider.id_token = {"auth_time": 1}
        assert finish(page, begun, provider)["Location"] == "/orders"


class TestLoginUrl:
    """X8: it has what would satisfy the refused request."""

    @pytest.fixture
    def refused(self, signed_in: Any) -> Any:
        page = signed_in(expires_in=0, refresh_token=...)
        return lambda **query: page.refusal(**query)["login_url"]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({}, ""),
            ({"scope": "calendar"}, "?scope=calendar"),
            ({"scope": "openid email calendar"}, "?scope=openid+email+calendar"),
            (
                {"resource": [ORDERS, MAIL]},
                f"?resource={quote(ORDERS, '')}&resource={quote(MAIL, '')}",
            ),
            (
                {"resource": ORDERS, "scope": "orders"},
                f"?resource={quote(ORDERS, '')}&scope=orders",
            ),
        ],
    )
    def test_x8_what_was_asked_for(self, refused: Any, query: Any, expected: str) -> None:
        assert refused(**query) == f"/bff/login{expected}"

    def test_x8_nothing_asked_means_the_sites_default(self, refused: Any, settings: Any) -> None:
        settings.TMIBFF_DEFAULT_RESOURCE, settings.TMIBFF_DEFAULT_SCOPE = MAIL, "read"
        assert refused() == f"/bff/login?resource={A_MAIL}&scope=read"

    def test_x8_and_it_works(self, page: Page, provider: OpenIDProvider, refused: Any) -> None:
        query = asked(page.navigate(refused(resource=ORDERS)))
        assert query["resource"] == [ORDERS]
        assert "orders" in query["scope"][0].split()


class TestOrigins:
    """Where the page may send a token: what tmibff.js goes by."""

    @pytest.fixture(autouse=True)
    def named(self, settings: Any) -> None:
        settings.TMIBFF_RESOURCES = {
            ORDERS: {"origins": ["https://api.example", "https://eu.api.example"]},
            MAIL: {"origins": ["https://mail.example"]},
            "https://[::1]:8443/": {},
            "HTTPS://API.example:443/v2": {},
            "urn:plain": {},
            "https://api.example:port/": {},
        }

    @pytest.mark.parametrize(
        ("resources", "expected"),
        [
            ([ORDERS], ["https://api.example", "https://eu.api.example"]),
            (
                [MAIL, ORDERS],
                ["https://api.example", "https://mail.example", "https://eu.api.example"],
            ),
            (["https://[::1]:8443/"], ["https://[::1]:8443"]),
            (["HTTPS://API.example:443/v2"], ["https://api.example"]),
            (["urn:plain"], None),
            (["https://api.example:port/"], None),
            ([], None),
        ],
    )
    def test_they_come_with_the_token(
        self, signed_in: Any, authorization_server: Any, resources: Any, expected: Any
    ) -> None:
        answer = signed_in().token(resource=resources)
        assert answer.get("origins") == expected

    def test_those_of_the_default_resource(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        """A page that names no resource cannot know whose token it gets."""
        settings.TMIBFF_DEFAULT_RESOURCE = "https://default.example/v1"
        assert signed_in().token()["origins"] == ["https://default.example"]

    def test_those_of_the_sign_ins_token(self, signed_in: Any, settings: Any) -> None:
        settings.TMIBFF_ORIGINS = ["https://api.example"]
        assert signed_in().token()["origins"] == ["https://api.example"]


@pytest.mark.urls("tests.own_sign_in_urls")
class TestTheSitesOwnSignIn:
    """Where people sign in without OpenID Connect, or with another library: ``LOGIN_URL``."""

    @pytest.fixture(autouse=True)
    def its_settings(self, settings: Any) -> None:
        del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
        settings.LOGIN_URL = "who"

    def test_x8_a_page_is_sent_there_and_back(self, page: Page) -> None:
        assert json.loads(page.fetch().content)["login_url"] == LOGIN
        answer = page.navigate(LOGIN, {"next": "/orders?a=b", "scope": "calendar"})
        assert (answer.status_code, answer["Location"]) == (302, "/who/?next=/orders%3Fa%3Db")

    def test_without_next_it_is_the_page_alone(self, page: Page) -> None:
        assert page.navigate(LOGIN)["Location"] == "/who/"

    @pytest.mark.parametrize(
        "url", ["https://evil.example/", "//evil.example/", LOGIN, "/who/../bff/login"]
    )
    def test_no_other_sites_next_is_passed_on(self, page: Page, url: str) -> None:
        assert page.navigate(LOGIN, {"next": url})["Location"] == "/who/"

    def test_without_a_word_to_the_user_it_cannot_be_done(self, page: Page) -> None:
        answer = page.navigate(LOGIN, {"prompt": "none", "next": "/orders"})
        assert answer["Location"] == "/orders?bff_error=interaction_required"

    def test_also_where_another_providers_tokens_came_from_elsewhere(
        self, page: Page, user: Any, settings: Any
    ) -> None:
        members = {"token_endpoint": "https://partner.example/token", "client_id": "ours"}
        settings.TMIBFF_PROVIDERS = {"partner": members}
        page.sign_in(user)
        page.store({"refresh_token": ...}, provider="partner")
        url = page.refusal(scope="calendar")["login_url"]
        assert url == f"{LOGIN}?provider=partner&scope=calendar"
        assert page.navigate(f"{url}&next=/")["Location"] == "/who/?next=/"

    def test_below_a_path_too(self) -> None:
        with override_script_prefix("/shop/"):
            assert own_sign_in() == "/shop/who/"

    @pytest.mark.parametrize("url", ["tmibff-login", "/nowhere/", "https://sso.example/", "none"])
    def test_without_such_a_page_there_is_none(self, page: Page, settings: Any, url: str) -> None:
        settings.LOGIN_URL = url
        assert "login_url" not in json.loads(page.fetch().content)
        assert page.navigate(LOGIN).status_code == 404
