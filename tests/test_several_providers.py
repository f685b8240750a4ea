"""Providers beside the default one: TMIBFF_PROVIDERS, each with its own sign-in (B6)."""

import functools
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from django_tmibff import conf
from django_tmibff.models import Identity, IdentityManager, TokenSet
from tests.authorization_server import AuthorizationServer
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import SESSION_INFO, Page
from tests.sealed import contents_of

pytestmark = pytest.mark.django_db

PARTNER = "https://partner.example"
PARTNER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
MEMBERS = {
    "issuer": PARTNER,
    "authorization_endpoint": f"{PARTNER}/authorize",
    "token_endpoint": f"{PARTNER}/token",
    "userinfo_endpoint": f"{PARTNER}/userinfo",
    "revocation_endpoint": f"{PARTNER}/revoke",
    "jwks_endpoint": f"{PARTNER}/jwks",
    "client_id": "our-client-there",
    "client_secret": "canary-secret-there",
    "authorization_params": {"prompt": "consent"},
}
NEEDED = MEMBERS.keys() - {"issuer", "revocation_endpoint", "authorization_params"}


@pytest.fixture(autouse=True)
def partner_is_set_up(settings: Any) -> None:
    settings.TMIBFF_PROVIDERS = {"partner": MEMBERS}


@pytest.fixture
def usual(authorization_server: AuthorizationServer) -> OpenIDProvider:
    """The provider of the ``OIDC_*`` settings."""
    return OpenIDProvider(authorization_server)


@pytest.fixture
def partner(authorization_server: AuthorizationServer) -> OpenIDProvider:
    """The provider of ``TMIBFF_PROVIDERS``."""
    server = AuthorizationServer(authorization_server.mocker, PARTNER)
    return OpenIDProvider(server, name="partner", client_id=MEMBERS["client_id"], key=PARTNER_KEY)


def users() -> Any:
    return get_user_model().objects.all()


def signed_in_as(page: Page) -> dict[str, Any]:
    return json.loads(page.fetch(SESSION_INFO).content)


class TestSignIn:
    def test_the_page_gets_that_providers_tokens(
        self, page: Page, partner: OpenIDProvider, token_set: Any
    ) -> None:
        assert partner.sign_in(page)["Location"] == "/"
        assert page.token()["access_token"] == "canary-access-of-alice"
        assert (token_set().provider, token_set().issuer) == ("partner", PARTNER)
        assert signed_in_as(page)["iss"] == PARTNER

    def test_it_is_asked_for_there_with_pkce_by_our_client_there(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        """B1: whatever the settings say of the default provider."""
        settings.OIDC_USE_PKCE = settings.OIDC_USE_NONCE = False
        answer = page.navigate("/bff/login?provider=partner")
        assert answer["Location"].startswith(f"{PARTNER}/authorize?")
        asked = {k: v for k, [v] in parse_qs(urlsplit(answer["Location"]).query).items()}
        assert asked["client_id"] == "our-client-there"
        assert asked["redirect_uri"] == "https://app.example/bff/callback/partner"
        assert asked["code_challenge_method"] == "S256"
        assert asked["prompt"] == "consent"
        assert asked["nonce"]

    def test_the_code_goes_there_and_nowhere_else(
        self, page: Page, partner: OpenIDProvider
    ) -> None:
        partner.sign_in(page)
        asked = [r for r in partner.server.mocker.request_history if "op.example" in r.url]
        assert asked == []
        [sent] = partner.server.requests
        assert sent["redirect_uri"] == ["https://app.example/bff/callback/partner"]
        assert sent["code_verifier"]
        assert partner.server.headers[0]["Authorization"].startswith("Basic ")

    def test_it_renews_and_revokes_there(
        self,
        page: Page,
        partner: OpenIDProvider,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        partner.tokens = {"expires_in": 0}
        partner.sign_in(page)
        assert page.token()["access_token"] == "fresh-2"
        with django_capture_on_commit_callbacks(execute=True):
            page.logout()
        assert partner.server.revoked == ["canary-refresh-of-alice"]

    def test_two_live_side_by_side(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        other_page = Page()
        usual.tokens = {"access_token": "of-the-usual-one"}
        usual.sign_in(page)
        partner.sign_in(other_page)
        assert page.token()["access_token"] == "of-the-usual-one"
        assert other_page.token()["access_token"] == "canary-access-of-alice"
        alive = TokenSet.objects.filter(ended_at=None).values_list("provider", flat=True)
        assert sorted(alive) == ["default", "partner"]

    def test_another_sign_in_of_one_browser_ends_the_first_ones_tokens(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        usual.sign_in(page)
        partner.sign_in(page)
        ended = TokenSet.objects.get(provider="default")
        assert ended.end_reason == "another sign-in"
        assert page.token()["access_token"] == "canary-access-of-alice"

    def test_a_renewal_of_the_same_session_stays_in_its_token_set(
        self, page: Page, partner: OpenIDProvider, token_set: Any
    ) -> None:
        partner.sign_in(page)
        partner.tokens = {"access_token": "newer"}
        partner.sign_in(page)
        assert page.token()["access_token"] == "newer"
        assert token_set().ended_at is None

    def test_e11_where_every_view_wants_a_sign_in_this_one_still_works(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
        ]
        assert partner.sign_in(page)["Location"] == "/"
        assert page.token()["access_token"] == "canary-access-of-alice"

    def test_x8_the_page_is_sent_back_to_the_same_provider(
        self, page: Page, partner: OpenIDProvider
    ) -> None:
        partner.tokens = {"expires_in": 0, "refresh_token": ...}
        partner.sign_in(page)
        assert page.refusal()["login_url"] == "/bff/login?provider=partner"

    def test_x8_the_default_ones_page_to_that_one(self, page: Page, usual: OpenIDProvider) -> None:
        usual.tokens = {"expires_in": 0, "refresh_token": ...}
        usual.sign_in(page)
        assert page.refusal()["login_url"] == "/bff/login"


class TestUsers:
    """Beside the default provider a user is (iss, sub), and never an e-mail address."""

    def test_the_same_e_mail_address_is_another_user(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        usual.subject = "victim"
        partner.userinfo = {"email": "victim@op.example"}
        usual.sign_in(page)
        partner.sign_in(Page())
        assert len(users()) == 2
        assert page.session["_auth_user_id"] != str(Identity.objects.get().user.pk)

    def test_nor_does_the_default_provider_find_them_by_it(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        usual.subject = "victim"
        partner.userinfo = {"email": "victim@op.example"}
        partner.sign_in(Page())
        usual.sign_in(page)
        assert len(users()) == 2
        assert page.session["_auth_user_id"] != str(Identity.objects.get().user.pk)

    def test_whether_it_is_verified_there_means_nothing(
        self, page: Page, partner: OpenIDProvider
    ) -> None:
        partner.userinfo = {"email_verified": False}
        assert partner.sign_in(page)["Location"] == "/"

    def test_who_comes_back_is_the_same_user_although_the_e_mail_address_has_changed(
        self, page: Page, partner: OpenIDProvider
    ) -> None:
        partner.sign_in(page)
        partner.userinfo = {"email": "alice@married.example"}
        partner.sign_in(Page())
        assert len(users()) == 1

    def test_another_subject_is_another_user_in_every_letter(
        self, page: Page, partner: OpenIDProvider
    ) -> None:
        for subject in ("alice", "Alice", "alice "):
            partner.subject = subject
            partner.sign_in(Page())
        assert len(users()) == 3

    def test_nobody_new_comes_in_where_the_site_says_so(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_CREATE_USER = False
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert not users()
        known = get_user_model().objects.create_user("known", password="k")
        Identity.objects.link(known, PARTNER, "alice")
        partner.sign_in(page)
        assert page.session["_auth_user_id"] == str(known.pk)

    def test_what_it_says_changes_no_user(
        self, page: Page, partner: OpenIDProvider, settings: Any, monkeypatch: Any
    ) -> None:
        """A site's own update_user believes e-mail addresses and groups."""
        seen: list[Any] = []
        path = settings.AUTHENTICATION_BACKENDS[0]
        monkeypatch.setattr(f"{path}.update_user", lambda self, user, claims: seen.append(claims))
        for _ in range(2):
            assert partner.sign_in(Page())["Location"] == "/"
        assert seen == []

    def test_session_refresh_leaves_them_alone(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        """It would make them whoever they are at the default provider."""
        settings.OIDC_RENEW_ID_TOKEN_EXPIRY_SECONDS = -1
        settings.MIDDLEWARE = [
            *settings.MIDDLEWARE,
            "mozilla_django_oidc.middleware.SessionRefresh",
        ]
        partner.sign_in(page)
        assert page.navigate("/").status_code == 200

    def test_who_is_deactivated_stays_out(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        partner.sign_in(Page())
        users().update(is_active=False)
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_claims_that_the_site_does_not_accept(
        self, page: Page, partner: OpenIDProvider, settings: Any, monkeypatch: Any
    ) -> None:
        path = settings.AUTHENTICATION_BACKENDS[0]
        monkeypatch.setattr(f"{path}.verify_claims", lambda self, claims: False)
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert not users()

    def test_two_first_sign_ins_at_once_make_one_user(
        self, page: Page, partner: OpenIDProvider, monkeypatch: Any
    ) -> None:
        winner = get_user_model().objects.create_user("winner", password="w")
        user_of = IdentityManager.user_of

        def somebody_is_faster(manager: Any, issuer: str, subject: str) -> Any:
            found = user_of(manager, issuer, subject)
            if found is None:
                manager.link(winner, issuer, subject)
            return found

        monkeypatch.setattr(IdentityManager, "user_of", somebody_is_faster)
        partner.sign_in(page)
        assert page.session["_auth_user_id"] == str(winner.pk)
        assert list(users()) == [winner]

    def test_a_name_that_is_taken_is_the_sites_mistake(
        self, page: Page, partner: OpenIDProvider, settings: Any, monkeypatch: Any
    ) -> None:
        taken = get_user_model().objects.create_user("taken", password="t")
        name = getattr(taken, taken.USERNAME_FIELD)
        path = settings.AUTHENTICATION_BACKENDS[0]
        create = get_user_model().objects.create_user
        monkeypatch.setattr(f"{path}.create_user", lambda self, claims: create(name))
        with pytest.raises(IntegrityError):
            partner.sign_in(page)
        assert list(users()) == [taken]


class TestMixUp:
    """RFC 9700 §4.4: a code of one provider must not get to another."""

    @pytest.fixture(autouse=True, params=["tests.urls", "tests.mozillas_urls"])
    def callback(self, request: Any, settings: Any) -> None:
        """The default provider's callback is ours, or mozilla-django-oidc's own."""
        settings.ROOT_URLCONF = request.param

    def test_a_partners_sign_in_does_not_come_in_at_the_default_callback(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        usual.authorization_request(page)
        state = partner.authorization_request(page)["state"]
        page.get("/oidc/callback/", {"code": "c", "state": state}, secure=True)
        assert usual.server.calls == 0

    def test_nor_after_it_came_in_without_a_code(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        """The partner may send the browser to both callbacks, one after the other."""
        state = partner.authorization_request(page)["state"]
        page.get("/bff/callback/partner", {"state": state}, secure=True)
        page.get("/oidc/callback/", {"code": "c", "state": state}, secure=True)
        assert usual.server.calls == 0

    def test_but_at_its_own(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider
    ) -> None:
        usual.authorization_request(page)
        assert partner.sign_in(page)["Location"] == "/"

    def test_nor_the_default_ones_at_the_partners(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider, settings: Any
    ) -> None:
        state = usual.authorization_request(page)["state"]
        answer = page.get("/bff/callback/partner", {"code": "c", "state": state}, secure=True)
        assert answer["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert partner.server.calls == 0

    @pytest.mark.parametrize("outcome", ["code", "error"])
    def test_a_state_is_good_once(
        self, page: Page, partner: OpenIDProvider, settings: Any, outcome: str
    ) -> None:
        state = partner.authorization_request(page)["state"]
        partner.server.answers(status_code=400)
        for _ in range(2):
            query = {outcome: "x", "state": state}
            answer = page.get("/bff/callback/partner", query, secure=True)
            assert answer["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert partner.server.calls == (1 if outcome == "code" else 0)

    @pytest.mark.parametrize(
        "lie", [{"iss": ISSUER}, {"aud": "client"}, {"iss": f"{PARTNER}/"}, {"nonce": "other"}]
    )
    def test_b6_an_id_token_of_the_other_one_is_refused(
        self, page: Page, partner: OpenIDProvider, settings: Any, lie: dict[str, str]
    ) -> None:
        partner.id_token = lie
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert not users()

    def test_b6_one_signed_with_the_other_ones_key_is_refused(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider, settings: Any
    ) -> None:
        partner.key = usual.key
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_b6_the_issuer_at_the_callback_must_be_that_providers(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        partner.callback = {"iss": ISSUER}
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert partner.server.calls == 0

    def test_b6_and_may_be_named_there(self, page: Page, partner: OpenIDProvider) -> None:
        partner.callback = {"iss": PARTNER}
        assert partner.sign_in(page)["Location"] == "/"

    def test_b6_its_nonce_counts_whatever_the_default_one_may(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_USE_NONCE = False
        partner.id_token = {"nonce": "other"}
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_what_is_refused_no_other_backend_may_try(
        self, page: Page, usual: OpenIDProvider, partner: OpenIDProvider, settings: Any
    ) -> None:
        """It would send the partner's code to the default provider."""
        settings.AUTHENTICATION_BACKENDS = [
            settings.AUTHENTICATION_BACKENDS[0],
            "mozilla_django_oidc.auth.OIDCAuthenticationBackend",
        ]
        partner.id_token = {"nonce": "other"}
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert usual.server.calls == 0

    def test_unsigned_tokens_are_refused_whatever_the_default_one_may(
        self, page: Page, partner: OpenIDProvider, settings: Any, monkeypatch: Any
    ) -> None:
        settings.OIDC_ALLOW_UNSECURED_JWT = True
        unsigned = functools.partial(jwt.encode, key=None, algorithm="none")
        monkeypatch.setattr(partner, "signed", unsigned)
        assert partner.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_a_flood_of_sign_ins_is_bounded(
        self, page: Page, partner: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_MAX_STATES = 3
        states = [partner.authorization_request(page)["state"] for _ in range(5)]
        assert list(page.session["_tmibff_states"]) == states[-3:]

    def test_e9_strict_cookies_work_there_too(self, page: Page, partner: OpenIDProvider) -> None:
        query = {"code": "c", "state": "of-a-session-that-did-not-come-along"}
        answer = page.get(
            "/bff/callback/partner", query, secure=True, headers={"sec-fetch-site": "cross-site"}
        )
        assert '<meta http-equiv="refresh" content="0">' in answer.content.decode()


class TestSetUp:
    @pytest.mark.parametrize("path", ["/bff/login?provider=nobody", "/bff/callback/nobody"])
    def test_one_that_there_is_not_is_not_found(self, page: Page, path: str) -> None:
        assert page.navigate(path).status_code == 404

    @pytest.mark.parametrize("member", sorted(NEEDED))
    def test_it_says_what_it_lacks(
        self, page: Page, settings: Any, caplog: Any, member: str
    ) -> None:
        members = {name: value for name, value in MEMBERS.items() if name != member}
        settings.TMIBFF_PROVIDERS = {"partner": members}
        assert page.navigate("/bff/login?provider=partner").status_code == 404
        assert f"provider partner is not set up: TMIBFF_PROVIDERS lacks its {member}" in caplog.text

    def test_nothing_of_the_default_one_is_taken_over(self, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"partner": {"issuer": PARTNER}}
        provider = conf.settings.provider("partner")
        assert provider.jwks_endpoint is None
        assert provider.client_secret == ""
        assert provider.missing_for_sign_in == [
            "authorization_endpoint",
            "token_endpoint",
            "userinfo_endpoint",
            "client_id",
            "client_secret",
            "jwks_endpoint",
        ]

    def test_another_client_of_the_same_issuer_shares_all_else(self, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"second": {"client_id": "second"}}
        provider = conf.settings.provider("second")
        assert provider.token_endpoint == settings.OIDC_OP_TOKEN_ENDPOINT
        assert provider.client_secret == settings.OIDC_RP_CLIENT_SECRET

    def test_the_admin_and_the_record_name_it(
        self, page: Page, partner: OpenIDProvider, token_set: Any
    ) -> None:
        partner.sign_in(page)
        assert contents_of(token_set()).provider == "partner"
        assert str(Identity.objects.get()) == f"alice of {PARTNER}"
