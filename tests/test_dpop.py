"""DPoP (RFC 9449): tokens that are bound to a key of the page's."""

import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_tmibff import dpop, single_flight, stores, tokens
from django_tmibff.checks import values
from django_tmibff.conf import LEEWAY_SECONDS
from django_tmibff.conf import settings as our_settings
from django_tmibff.contents import TokenKey
from django_tmibff.exceptions import InvalidDpopProof
from django_tmibff.models import TokenSet
from tests.addresses import ISSUER, TOKEN_ENDPOINT
from tests.authorization_server import AuthorizationServer
from tests.dpop_site import BOUND, ORDERS, ask, given_token, refused
from tests.openid_provider import OpenIDProvider
from tests.page import SESSION_INFO, Page
from tests.proofs import PageKey, ath_of, claims_in
from tests.sealed import contents_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("dpop_required")]


@pytest.fixture
def server(authorization_server: Any) -> Any:
    """An authorization server that binds its tokens."""
    for number in range(1, 5):
        authorization_server.gives(access_token=f"bound-{number}", **BOUND)
    return authorization_server


class TestRound:
    def test_the_proof_goes_to_the_authorization_server_and_its_token_to_the_page(
        self, signed_in: Any, server: Any, key: PageKey
    ) -> None:
        """R4."""
        page, proof = signed_in(), key.proof()
        answer = json.loads(ask(page, proof).content)
        assert (answer["access_token"], answer["token_type"]) == ("bound-1", "DPoP")
        assert server.headers[0]["DPoP"] == proof

    def test_a_stored_one_is_handed_out_for_another_proof_of_the_same_key(
        self, signed_in: Any, server: Any, key: PageKey
    ) -> None:
        page = signed_in()
        assert given_token(page, key) == given_token(page, key)
        assert server.calls == 1

    def test_each_scope_and_resource_has_its_own(
        self, signed_in: Any, server: Any, key: PageKey
    ) -> None:
        page = signed_in()
        asked = [{}, {"scope": "email"}, {"resource": ORDERS}, {"scope": "openid email"}]
        got = [given_token(page, key, **query)["access_token"] for query in asked]
        assert got == ["bound-1", "bound-2", "bound-3", "bound-1"]
        assert all("DPoP" in headers for headers in server.headers)

    def test_one_that_is_about_to_expire_is_renewed_with_the_proof(
        self, signed_in: Any, authorization_server: Any, key: PageKey
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="short", token_type="DPoP", expires_in=0)
        authorization_server.gives(access_token="next", token_type="DPoP")
        assert given_token(page, key)["access_token"] == "short"
        assert given_token(page, key)["access_token"] == "next"

    def test_in_a_post_too(self, signed_in: Any, server: Any, key: PageKey) -> None:
        answer = signed_in().fetch(method="POST", headers={"DPoP": key.proof()})
        assert json.loads(answer.content)["access_token"] == "bound-1"

    def test_code_on_the_server_may_bring_a_proof(
        self, signed_in: Any, server: Any, key: PageKey, token_set: Any
    ) -> None:
        signed_in()
        assert tokens.get(token_set(), proof=key.proof()).value == "bound-1"
        with pytest.raises(InvalidDpopProof, match="TMIBFF_DPOP"):
            tokens.get(token_set())


class TestBearer:
    def test_that_of_the_sign_in_is_forgotten(self, signed_in: Any, token_set: Any) -> None:
        page = signed_in()
        assert contents_of(token_set()).access_tokens == []
        assert token_set().access_expires_at is None
        assert refused(page, None)["error"] == "invalid_dpop_proof"

    def test_one_from_before_it_was_required_is_not_handed_out(
        self, signed_in: Any, server: Any, settings: Any, key: PageKey
    ) -> None:
        settings.TMIBFF_DPOP = "off"
        page = signed_in()
        page.token()
        settings.TMIBFF_DPOP = "required"
        assert refused(page, None)["error"] == "invalid_dpop_proof"
        assert given_token(page, key)["access_token"] == "bound-1"

    @pytest.mark.parametrize("choice", ["ask", "ask-strict", "serve"])
    def test_nor_in_place_of_a_narrower_one_that_is_bound(
        self, signed_in: Any, server: Any, settings: Any, key: PageKey, choice: str
    ) -> None:
        """R7."""
        settings.TMIBFF_DPOP = "off"
        settings.TMIBFF_NARROWER_SCOPE = choice
        page = signed_in()
        settings.TMIBFF_DPOP = "required"
        server._queue[0]["json"]["scope"] = "openid"
        assert given_token(page, key, scope="openid")["access_token"] == "bound-1"
        assert "DPoP" in server.headers[0]

    def test_in_place_of_a_bound_one_it_is_refused_and_the_refresh_token_kept(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any, caplog: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(
            access_token="canary-bearer", token_type="Bearer", refresh_token="canary-rotated"
        )
        answer = refused(page, key.proof())
        assert answer["error"] == "server_error"
        assert "login_url" not in answer
        assert "gives bearer tokens in spite of a proof" in caplog.text
        kept = contents_of(token_set())
        assert (kept.access_tokens, kept.refresh_token) == ([], "canary-rotated")

    def test_where_it_is_allowed_it_is_served_as_what_it_is(
        self, signed_in: Any, authorization_server: Any, key: PageKey, settings: Any
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        page = signed_in()
        authorization_server.gives(access_token="bearer", token_type="Bearer")
        assert given_token(page, key)["token_type"] == "Bearer"
        assert "DPoP" in authorization_server.headers[0]

    def test_where_it_is_allowed_a_page_without_a_key_is_served_as_ever(
        self, signed_in: Any, server: Any, key: PageKey, settings: Any
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        page = signed_in()
        assert given_token(page, key)["access_token"] == "bound-1"
        assert page.token()["access_token"] == "canary-access-token"
        assert page.token(scope="openid")["access_token"] == "bound-2"
        assert "DPoP" not in server.headers[1]

    def test_where_it_is_allowed_a_bound_one_of_the_sign_in_is_of_no_use(
        self, signed_in: Any, settings: Any, token_set: Any
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        signed_in(token_type="DPoP")
        assert contents_of(token_set()).access_tokens == []


class TestOff:
    @pytest.fixture(autouse=True)
    def off(self, dpop_required: None, settings: Any) -> None:
        settings.TMIBFF_DPOP = "off"

    def test_a_proof_is_not_looked_at(self, signed_in: Any, django_assert_num_queries: Any) -> None:
        page = signed_in()
        page.token()
        with django_assert_num_queries(_queries(page)):
            answer = ask(page, "no proof")
        assert json.loads(answer.content)["access_token"] == "canary-access-token"
        assert contents_of(TokenSet.objects.get()).jkt is None

    def test_nor_sent_on(self, signed_in: Any, authorization_server: Any, key: PageKey) -> None:
        given_token(signed_in(expires_in=0), key)
        assert "DPoP" not in authorization_server.headers[0]

    def test_and_pages_hear_nothing_of_it(self, signed_in: Any) -> None:
        assert "dpop" not in json.loads(signed_in().fetch(SESSION_INFO).content)


def _queries(page: Page) -> int:
    with CaptureQueriesContext(connection) as captured:
        page.token()
    return len(captured)


class TestPin:
    """The first key of a sign-in is its only one."""

    def test_another_key_is_refused(self, signed_in: Any, server: Any, key: PageKey) -> None:
        page = signed_in()
        given_token(page, key)
        answer = refused(page, PageKey().proof())
        assert answer["error"] == "invalid_dpop_proof"
        assert answer["login_url"] == "/bff/login"
        assert refused(page, PageKey().proof(), scope="email")["error"] == "invalid_dpop_proof"
        assert server.calls == 1

    def test_and_keeps_nobody_from_renewing(
        self, signed_in: Any, server: Any, key: PageKey, monkeypatch: Any
    ) -> None:
        page = signed_in()
        given_token(page, key)
        monkeypatch.setattr(type(TokenSet.objects), "take_lease", None)
        assert refused(page, PageKey().proof())["error"] == "invalid_dpop_proof"

    def test_also_after_a_call_that_came_to_nothing(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        page = signed_in()
        authorization_server.refuses("invalid_scope")
        refused(page, key.proof(), scope="email")
        assert contents_of(token_set()).jkt == dpop.thumbprint(key.jwk)
        assert refused(page, PageKey().proof())["error"] == "invalid_dpop_proof"

    def test_of_two_keys_at_once_one_wins(self, signed_in: Any, server: Any, key: PageKey) -> None:
        """The second one's request was looked at before the first one's key was kept."""
        page = signed_in()
        [token_set] = TokenSet.objects.all()
        second = PageKey().proof()
        verified = dpop.verified(second, our_settings.provider())
        before = contents_of(token_set)
        given_token(page, key)
        with pytest.raises(InvalidDpopProof):
            single_flight.obtain(before, TokenKey(jkt=verified.jkt), proof=verified)
        assert server.calls == 1
        assert given_token(page, key)["access_token"] == "bound-1"

    def test_a_sign_in_that_nobody_has_seen_does_not_lift_it(
        self, signed_in: Any, server: Any, key: PageKey, page: Page
    ) -> None:
        given_token(signed_in(), key)
        page.store()
        assert refused(page, PageKey().proof())["error"] == "invalid_dpop_proof"
        assert given_token(page, key)["access_token"] == "bound-2"

    def test_one_that_was_seen_does(
        self, signed_in: Any, server: Any, key: PageKey, page: Page
    ) -> None:
        given_token(signed_in(), key)
        page.store(lifts_pin=True)
        assert given_token(page, PageKey())["access_token"] == "bound-2"
        assert refused(page, key.proof())["error"] == "invalid_dpop_proof"

    def test_one_at_another_provider_does_not(
        self, signed_in: Any, server: Any, key: PageKey, page: Page, settings: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"other": {}}
        given_token(signed_in(), key)
        page.store(provider="other")
        assert refused(page, PageKey().proof())["error"] == "invalid_dpop_proof"


class TestSignIn:
    """How a sign-in is seen: at the top level, and not silent."""

    @pytest.fixture
    def provider(self, authorization_server: Any) -> OpenIDProvider:
        return OpenIDProvider(authorization_server)

    @pytest.fixture
    def bound(self, page: Page, provider: OpenIDProvider, key: PageKey) -> Page:
        """A page whose key is pinned."""
        provider.sign_in(page)
        provider.server.gives(access_token="bound", **BOUND)
        given_token(page, key)
        return page

    def sign_in(
        self, page: Page, provider: OpenIDProvider, begin: str = "/bff/login", **headers: str
    ) -> None:
        redirect = page.navigate(begin)
        asked = parse_qs(urlsplit(redirect["Location"]).query)
        self.before_returning(page)
        provider.server.gives(**provider._token_response(asked["nonce"][0]))
        query = {"code": "canary-code", "state": asked["state"][0]}
        sent = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
        answer = page.get("/oidc/callback/", query, secure=True, headers={**sent, **headers})
        assert answer.headers["Location"] == "/"
        provider.server.gives(access_token="after", **BOUND)

    def before_returning(self, page: Page) -> None:
        """What happens while the user is at the provider."""

    def test_one_that_our_view_did_not_begin_leaves_it(
        self, bound: Page, provider: OpenIDProvider, monkeypatch: Any
    ) -> None:
        """mozilla-django-oidc's own, SessionRefresh's silent ones among them, are all alike."""

        def forget(page: Page) -> None:
            session = page.session
            for state in session["oidc_states"].values():
                state.pop("tmibff")
            session.save()

        monkeypatch.setattr(self, "before_returning", forget)
        self.sign_in(bound, provider)
        assert refused(bound, PageKey().proof())["error"] == "invalid_dpop_proof"

    def test_one_that_was_seen_lifts_the_pin(
        self, bound: Page, provider: OpenIDProvider, key: PageKey
    ) -> None:
        self.sign_in(bound, provider)
        assert given_token(bound, PageKey())["access_token"] == "after"

    @pytest.mark.parametrize(
        ("begin", "headers"),
        [
            ("/bff/login?prompt=none", {}),
            ("/bff/login", {"sec-fetch-dest": "iframe"}),
            ("/bff/login", {"sec-fetch-dest": "empty"}),
            ("/bff/login", {"sec-fetch-dest": ""}),
            ("/bff/login", {"sec-purpose": "prefetch;prerender"}),
            ("/bff/login", {"purpose": "prefetch"}),
        ],
    )
    def test_one_that_was_not_leaves_it(
        self, bound: Page, provider: OpenIDProvider, key: PageKey, begin: str, headers: Any
    ) -> None:
        self.sign_in(bound, provider, begin, **headers)
        assert refused(bound, PageKey().proof())["error"] == "invalid_dpop_proof"
        assert given_token(bound, key)["access_token"] == "after"

    def test_what_the_site_always_says_may_make_it_silent(
        self, bound: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_AUTH_REQUEST_EXTRA_PARAMS = {"prompt": "none"}
        self.sign_in(bound, provider)
        assert refused(bound, PageKey().proof())["error"] == "invalid_dpop_proof"


class TestNonce:
    def test_the_authorization_servers_is_passed_on_and_remembered(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any, caplog: Any
    ) -> None:
        page = signed_in()
        authorization_server.refuses("use_dpop_nonce")
        authorization_server._queue[-1]["headers"] = {"DPoP-Nonce": "n-1"}
        answer = ask(page, key.proof())
        assert json.loads(answer.content) == {"error": "use_dpop_nonce"}
        assert answer.headers["DPoP-Nonce"] == "n-1"
        assert token_set().last_error == ""
        info = json.loads(page.fetch(SESSION_INFO).content)["dpop"]
        assert info["nonce"] == "n-1"
        authorization_server.gives(access_token="bound", **BOUND)
        assert given_token(page, key)["access_token"] == "bound"

    def test_that_of_an_answer_too(
        self, signed_in: Any, authorization_server: Any, key: PageKey
    ) -> None:
        page = signed_in()
        authorization_server.answers(
            json={"access_token": "bound", **BOUND}, headers={"DPoP-Nonce": "n-2"}
        )
        given_token(page, key)
        assert json.loads(page.fetch(SESSION_INFO).content)["dpop"]["nonce"] == "n-2"

    def test_that_of_another_refusal_is_remembered_and_not_passed_on(
        self, signed_in: Any, authorization_server: Any, key: PageKey
    ) -> None:
        """A page would take it for a request to repeat."""
        page = signed_in()
        authorization_server.refuses("invalid_scope")
        authorization_server._queue[-1]["headers"] = {"DPoP-Nonce": "n-3"}
        assert "DPoP-Nonce" not in ask(page, key.proof(), scope="email").headers
        assert json.loads(page.fetch(SESSION_INFO).content)["dpop"]["nonce"] == "n-3"

    @pytest.mark.parametrize("nonce", ["two words", 'quo"ted', "x" * 600, "é", "a, b"])
    def test_one_that_is_none_is_not_passed_on(
        self, signed_in: Any, authorization_server: Any, key: PageKey, nonce: str
    ) -> None:
        authorization_server.refuses("use_dpop_nonce")
        authorization_server._queue[-1]["headers"] = {"DPoP-Nonce": nonce}
        answer = ask(signed_in(), key.proof())
        assert answer.status_code == 400
        assert "DPoP-Nonce" not in answer.headers

    def test_the_page_is_told_although_its_token_still_works(
        self, signed_in: Any, authorization_server: Any, key: PageKey, monkeypatch: Any
    ) -> None:
        """Not R10: it has the next one at once."""
        page = signed_in()
        authorization_server.gives(access_token="due", **{**BOUND, "expires_in": 100})
        given_token(page, key)
        now = time.time() + 80
        monkeypatch.setattr("time.time", lambda: now)
        authorization_server.refuses("use_dpop_nonce")
        assert refused(page, key.proof())["error"] == "use_dpop_nonce"
        authorization_server.refuses("invalid_dpop_proof")
        assert given_token(page, key)["access_token"] == "due"


class TestNonceOfOneProvider:
    @pytest.fixture
    def servers(self, authorization_server: Any, settings: Any) -> Any:
        endpoint = "https://partner.example/token"
        settings.TMIBFF_PROVIDERS = {
            "partner": {"issuer": "https://partner.example", "token_endpoint": endpoint}
        }
        partner = AuthorizationServer(authorization_server.mocker, "https://partner.example")
        return {"default": authorization_server, "partner": partner}

    @pytest.fixture
    def pages(self, servers: Any, user: Any) -> Any:
        """Pages of two sessions, each signed in at one of them."""
        pages = {name: Page() for name in servers}
        for name, page in pages.items():
            page.sign_in(user)
            page.store(provider=name)
        return pages

    @pytest.mark.parametrize(("one", "other"), [("partner", "default"), ("default", "partner")])
    def test_neither_pages_nor_operators_take_it_to_another(
        self, servers: Any, pages: Any, key: PageKey, one: str, other: str
    ) -> None:
        servers[one].refuses("use_dpop_nonce")
        servers[one]._queue[-1]["headers"] = {"DPoP-Nonce": "n-1"}
        proof = key.proof(htu=servers[one].token_endpoint)
        assert refused(pages[one], proof)["error"] == "use_dpop_nonce"
        told = {
            name: json.loads(page.fetch(SESSION_INFO).content)["dpop"]
            for name, page in pages.items()
        }
        assert told[one]["nonce"] == "n-1"
        assert told[other]["token_endpoint"] == servers[other].token_endpoint
        assert "nonce" not in told[other]
        for name, server in servers.items():
            server.gives(access_token="nobodys", **BOUND)
            tokens.renew(TokenSet.objects.get(provider=name))
        sent = [servers[name].headers[-1]["DPoP"] for name in (one, other)]
        assert [claims_in(proof).get("nonce") for proof in sent] == ["n-1", None]


class TestSessionInfo:
    def test_what_a_page_needs_for_its_proofs(self, signed_in: Any) -> None:
        """S2."""
        page = signed_in()
        info = json.loads(page.fetch(SESSION_INFO).content)["dpop"]
        assert abs(info.pop("now") - time.time()) < 5
        assert info == {"token_endpoint": TOKEN_ENDPOINT, "signing_algs": ["ES256"]}

    def test_beside_what_the_site_says(self, signed_in: Any, settings: Any) -> None:
        settings.TMIBFF_SESSION_INFO = "tests.test_dpop.own_info"
        info = json.loads(signed_in().fetch(SESSION_INFO).content)
        assert (info["mine"], info["dpop"]["token_endpoint"]) == (True, TOKEN_ENDPOINT)

    def test_without_the_query_of_the_endpoint(self, signed_in: Any, settings: Any) -> None:
        """RFC 9449 §4.2."""
        settings.OIDC_OP_TOKEN_ENDPOINT = f"{TOKEN_ENDPOINT}?tenant=1"
        info = json.loads(signed_in().fetch(SESSION_INFO).content)["dpop"]
        assert info["token_endpoint"] == TOKEN_ENDPOINT

    def test_not_for_a_session_without_tokens(self, page: Page, user: Any) -> None:
        page.sign_in(user)
        assert "dpop" not in json.loads(page.fetch(SESSION_INFO).content)


def own_info(request: Any) -> dict[str, Any]:
    return {"mine": True}


OTHER = PageKey()
WRONG: dict[str, Any] = {
    "another signature": {"signed_by": OTHER.private},
    "another method": {"htm": "GET"},
    "another endpoint": {"htu": f"{ISSUER}/revoke"},
    "another server": {"htu": "https://evil.example/token"},
    "the API": {"htu": ORDERS},
    "no endpoint": {"htu": ...},
    "an endpoint with a query": {"htu": f"{TOKEN_ENDPOINT}?a=b"},
    "no time": {"iat": ...},
    "a text for a time": {"iat": "now"},
    "no number": {"iat": True},
    "an endless number": {"iat": 10**400},
    "too old": {"iat": int(time.time()) - 3600},
    "of the future": {"iat": int(time.time()) + 3600},
    "no name": {"jti": ...},
    "an empty name": {"jti": ""},
    "a number for a name": {"jti": 7},
    "a long name": {"jti": "x" * 300},
    "a lone surrogate": {"jti": "\ud800"},
    "another type": {"header": {"typ": "JWT"}},
    "no type": {"header": {"typ": None}},
    "no key": {"header": {"jwk": ...}},
    "a critical member": {"header": {"crit": ["x"], "x": 1}},
    "a text for a key": {"header": {"jwk": "key"}},
    "a private key": {"header": {"jwk": OTHER.private_jwk}, "signed_by": OTHER.private},
    "a secret key": {"header": {"jwk": {"kty": "oct", "k": "c2VjcmV0"}}},
    "half a key": {"header": {"jwk": {**OTHER.jwk, "y": ...}}},
    "a point beside the curve": {"header": {"jwk": {**OTHER.jwk, "x": OTHER.jwk["y"]}}},
    "a curve of another size": {"header": {"jwk": PageKey(ec.SECP384R1()).jwk}},
    "an HMAC": {"signed_by": "secret" * 10, "alg": "HS256"},
    "no signature": {"signed_by": "", "alg": "none"},
}


class TestRefused:
    """RFC 9449 §4.3: before a refresh token is spent, and for a stored token too."""

    @pytest.mark.parametrize("wrong", WRONG, ids=str)
    def test_a_proof_that_proves_nothing(
        self, signed_in: Any, server: Any, key: PageKey, wrong: str
    ) -> None:
        proof = _wrong_proof(key, WRONG[wrong])
        page = signed_in()
        for _ in range(2):
            answer = refused(page, proof)
            assert answer["error"] == "invalid_dpop_proof"
            assert "login_url" not in answer
            assert server.calls == 0
        given_token(page, key)
        assert refused(page, _wrong_proof(key, WRONG[wrong]))["error"] == "invalid_dpop_proof"
        assert server.calls == 1

    def test_one_that_was_used(self, signed_in: Any, server: Any, key: PageKey) -> None:
        page, proof = signed_in(), key.proof()
        assert ask(page, proof).status_code == 200
        answer = refused(page, proof)
        assert "used before" in answer["error_description"]
        warm = key.proof()
        assert ask(page, warm).status_code == 200
        assert refused(page, warm)["error"] == "invalid_dpop_proof"
        assert server.calls == 1

    def test_one_of_another_key_that_has_the_same_name_was_not(self, key: PageKey) -> None:
        for one in (key, PageKey()):
            dpop.use_up(dpop.verified(one.proof(jti="same"), our_settings.provider()))

    def test_two_in_one_header(self, signed_in: Any, server: Any, key: PageKey) -> None:
        page = signed_in()
        for comma in (",", ", "):
            answer = refused(page, comma.join([key.proof(), key.proof()]))
            assert "once" in answer["error_description"]
        assert server.calls == 0

    def test_a_huge_one(self, signed_in: Any, server: Any, key: PageKey) -> None:
        answer = refused(signed_in(), key.proof(more="x" * 5000))
        assert answer["error"] == "invalid_dpop_proof"

    def test_a_signature_of_an_rsa_key(self, signed_in: Any, server: Any) -> None:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
        proof = PageKey().proof(signed_by=private, alg="RS256", header={"jwk": jwk})
        assert refused(signed_in(), proof)["error"] == "invalid_dpop_proof"

    def test_a_key_that_is_written_in_another_way(self, key: PageKey) -> None:
        """It would have a second thumbprint."""
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        last = alphabet[alphabet.index(key.jwk["x"][-1]) + 1]
        jwk = {**key.jwk, "x": key.jwk["x"][:-1] + last}
        with pytest.raises(InvalidDpopProof, match="curve"):
            dpop.verified(key.proof(header={"jwk": jwk}), our_settings.provider())

    def test_nobody_signed_in_comes_first(self, page: Page) -> None:
        """R6."""
        assert refused(page, "no proof")["error"] == "invalid_session"

    def test_a_site_without_a_token_endpoint(
        self, signed_in: Any, key: PageKey, settings: Any
    ) -> None:
        page = signed_in()
        settings.OIDC_OP_TOKEN_ENDPOINT = None
        assert refused(page, key.proof())["error"] == "invalid_dpop_proof"
        assert "dpop" not in json.loads(page.fetch(SESSION_INFO).content)

    def test_what_others_say_of_the_same_key_does_not_matter(self, key: PageKey) -> None:
        jwk = {**key.jwk, "kid": "k", "ext": True, "key_ops": ["verify"]}
        proof = dpop.verified(key.proof(header={"jwk": jwk}), our_settings.provider())
        assert proof.jkt == dpop.thumbprint(key.jwk)


def _wrong_proof(key: PageKey, changed: Any) -> str:
    header = changed.get("header", {})
    if isinstance(header.get("jwk"), dict):
        jwk = {name: value for name, value in header["jwk"].items() if value is not ...}
        header = {**header, "jwk": jwk}
    return key.proof(**{**changed, "header": header})


class TestThumbprint:
    def test_of_a_key_that_another_specification_names(self) -> None:
        """RFC 9449 §6.1's key and thumbprint; RFC 7638's own example is an RSA key."""
        jwk = {
            "kty": "EC",
            "crv": "P-256",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        }
        assert dpop.thumbprint(jwk) == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


class TestBoundClient:
    """RFC 9449 §5.2: one that was registered with dpop_bound_access_tokens."""

    @pytest.fixture(autouse=True)
    def bound(self, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"default": {"dpop_bound_access_tokens": True}}

    @pytest.fixture
    def provider(self, authorization_server: Any) -> OpenIDProvider:
        provider = OpenIDProvider(authorization_server)
        provider.tokens = {"token_type": "DPoP"}
        return provider

    def test_the_code_is_exchanged_with_a_proof_of_our_own(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.sign_in(page)
        sent = provider.server.headers[0]["DPoP"]
        dpop.verified(sent, our_settings.provider())
        [userinfo] = [r for r in provider.server.mocker.request_history if "userinfo" in r.url]
        assert userinfo.headers["Authorization"] == "DPoP canary-access-of-alice"
        proof = claims_in(userinfo.headers["DPoP"])
        assert proof["ath"] == ath_of("canary-access-of-alice")
        assert (proof["htm"], proof["htu"]) == ("GET", f"{ISSUER}/userinfo")
        key = [jwt.get_unverified_header(r)["jwk"] for r in (sent, userinfo.headers["DPoP"])]
        assert key[0] == key[1]
        kept = contents_of(token_set())
        assert (kept.access_tokens, kept.jkt) == ([], None)

    def test_and_once_more_with_the_nonce_that_is_wanted(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        provider.server.refuses("use_dpop_nonce")
        provider.server._queue[-1]["headers"] = {"DPoP-Nonce": "n-1"}
        provider.sign_in(page)
        first, second = (claims_in(headers["DPoP"]) for headers in provider.server.headers)
        assert "nonce" not in first
        assert (second["nonce"], second["jti"] != first["jti"]) == ("n-1", True)
        assert page.session.get("_auth_user_id")

    def test_so_is_userinfo(self, page: Page, provider: OpenIDProvider) -> None:
        wants = {"status_code": 401, "headers": {"DPoP-Nonce": "n-2"}}
        gives = {"json": {"sub": "alice", "email": "alice@op.example"}}
        provider.server.mocker.get(f"{ISSUER}/userinfo", [wants, gives])
        provider.sign_in(page)
        assert page.session.get("_auth_user_id")

    def test_userinfo_that_is_refused_is_a_failed_sign_in(
        self, page: Page, provider: OpenIDProvider, caplog: Any
    ) -> None:
        provider.server.mocker.get(f"{ISSUER}/userinfo", status_code=401)
        provider.sign_in(page)
        assert "_auth_user_id" not in page.session
        assert "the provider's userinfo endpoint gave no claims" in caplog.text

    def test_a_page_without_a_proof_is_refused_wherever_it_is_allowed(
        self, signed_in: Any, settings: Any
    ) -> None:
        settings.TMIBFF_DPOP = "allowed"
        assert refused(signed_in(), None)["error"] == "invalid_dpop_proof"

    def test_an_operators_renewal_has_a_key_that_nobody_keeps(
        self, signed_in: Any, server: Any, token_set: Any
    ) -> None:
        signed_in()
        assert tokens.renew(token_set()).value == "bound-1"
        dpop.verified(server.headers[0]["DPoP"], our_settings.provider())
        kept = contents_of(token_set())
        assert (kept.access_tokens, kept.jkt) == ([], None)


class TestInvalidGrant:
    def test_x6_a_resource_without_consent_is_told_from_a_dead_grant_with_another_proof(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        """The authorization server takes each proof once."""
        page = signed_in()
        authorization_server.refuses("invalid_grant")
        authorization_server.gives(access_token="nobodys", **BOUND)
        assert refused(page, key.proof(), resource=ORDERS)["error"] == "invalid_grant"
        first, second = (headers["DPoP"] for headers in authorization_server.headers)
        assert first != second
        dpop.verified(second, our_settings.provider())
        kept = contents_of(token_set())
        assert kept.access_tokens == []
        assert kept.jkt == dpop.thumbprint(key.jwk)

    def test_x6_nor_is_a_grant_dead_whose_server_does_not_like_the_proof(
        self, signed_in: Any, authorization_server: Any, key: PageKey, token_set: Any
    ) -> None:
        """Seen: a certified server says so of a proof that it has seen."""
        page = signed_in()
        authorization_server.refuses("invalid_grant")
        authorization_server.gives(access_token="nobodys", refresh_token="rotated", **BOUND)
        assert refused(page, key.proof())["error"] == "invalid_dpop_proof"
        kept = contents_of(token_set())
        assert (kept.access_tokens, kept.refresh_token) == ([], "rotated")
        authorization_server.gives(access_token="bound", **BOUND)
        assert given_token(page, key)["access_token"] == "bound"

    def test_x6_one_that_is_dead_is_believed_dead(
        self, signed_in: Any, authorization_server: Any, key: PageKey
    ) -> None:
        page = signed_in()
        for _ in range(2):
            authorization_server.refuses("invalid_grant")
        assert refused(page, key.proof())["error"] == "invalid_grant"
        assert refused(page, key.proof())["error"] == "backend_not_ready"
        assert authorization_server.calls == 2

    def test_a_proof_is_sent_once(self, key: PageKey) -> None:
        proof = dpop.verified(key.proof(), our_settings.provider())
        assert proof.to_send() == proof.text
        with pytest.raises(tokens.TokenError) as raised:
            proof.to_send()
        assert raised.value.passing


class TestSettings:
    def test_e002_a_word_that_it_does_not_know(self, settings: Any) -> None:
        settings.TMIBFF_DPOP = "on"
        [message] = values.check_settings_usable(None)
        assert "TMIBFF_DPOP must be one of off, allowed, required" in message.msg
        with pytest.raises(ImproperlyConfigured):
            _ = our_settings.dpop

    def test_e002_a_bound_client_without_it(self, settings: Any) -> None:
        settings.TMIBFF_DPOP = "off"
        settings.TMIBFF_PROVIDERS = {"default": {"dpop_bound_access_tokens": True}}
        [message] = values.check_settings_usable(None)
        assert "['dpop_bound_access_tokens'] needs TMIBFF_DPOP" in message.msg

    @pytest.mark.parametrize("age", [-50, 0, 55])
    def test_a_used_proof_is_remembered_as_long_as_it_is_good_anywhere(
        self, key: PageKey, monkeypatch: Any, age: int
    ) -> None:
        """Where a host's clock is behind it is good for longer."""
        said: list[float] = []
        store = type(stores.current())
        monkeypatch.setattr(store, "once", lambda self, key, seconds: said.append(seconds) or True)
        dpop.use_up(dpop.verified(key.proof(iat=time.time() - age), our_settings.provider()))
        longest = dpop.WINDOW_SECONDS - age + LEEWAY_SECONDS
        assert longest - 5 < said[0] <= longest
