"""Sign-in with mozilla-django-oidc: DESIGN (a) and PROTOCOL B6, E3, E9, E11."""

import base64
import json
import logging
import time
from typing import Any

import pytest
import requests
from asgiref.sync import async_to_sync
from django.contrib.auth import (
    aauthenticate,
    authenticate,
    get_user_model,
    update_session_auth_hash,
)
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import IntegrityError
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils.module_loading import import_string
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from django_tmibff import tokens
from django_tmibff.backends import OIDCAuthenticationBackend, SignInRefusedError
from django_tmibff.models import TokenSet
from django_tmibff.views import OIDCCallbackView
from tests.openid_provider import ISSUER, OpenIDProvider, signed_with_nothing
from tests.page import SESSION_INFO, Page
from tests.sealed import contents_of, sealed_of
from tests.users.backends import MemberBackend

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(authorization_server: Any) -> OpenIDProvider:
    return OpenIDProvider(authorization_server)


def is_signed_in(page: Page) -> bool:
    return page.fetch(SESSION_INFO).status_code == 200


class TestFirstSignIn:
    def test_the_page_gets_its_tokens(self, page: Page, provider: OpenIDProvider) -> None:
        assert provider.sign_in(page).headers["Location"] == "/"
        answer = page.token()
        assert answer["access_token"] == "canary-access-of-alice"
        # No scope in the answer means: what was asked for (RFC 6749 §5.1).
        assert answer["scope"] == "openid email"
        info = json.loads(page.fetch(SESSION_INFO).content)
        assert (info["iss"], info["sub"], info["name"]) == (ISSUER, "alice", "alice")

    def test_the_record_says_who_and_where(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.sign_in(page)
        record = token_set()
        assert (record.provider, record.issuer) == ("default", ISSUER)
        assert (record.subject, record.sid, record.scope) == ("alice", "sid-1", "openid email")
        assert record.user == get_user_model().objects.get()
        assert record.access_expires_at < record.expires_at

    def test_the_session_holds_the_handle_and_no_token(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.sign_in(page)
        assert page.session[tokens.SESSION_KEY] == token_set().handle
        assert "canary" not in str(dict(page.session))

    def test_the_sealed_session_key_is_the_one_after_login(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        page.get("/oidc/authenticate/", secure=True)
        before = page.session.session_key
        provider.sign_in(page)
        assert contents_of(token_set()).session_key == page.session.session_key != before

    def test_the_tokens_lifetime_counts_from_before_the_code_exchange(
        self, page: Page, provider: OpenIDProvider, monkeypatch: Any
    ) -> None:
        """R2."""
        provider.tokens = {"expires_in": 100}
        half_a_minute_later = time.time() + 30

        def slow_userinfo(request: Any, context: Any) -> Any:
            monkeypatch.setattr("time.time", lambda: half_a_minute_later)
            return provider._userinfo(request, context)

        provider.server.mocker.get(f"{ISSUER}/userinfo", json=slow_userinfo)
        provider.sign_in(page)
        assert page.token()["expires_in"] <= 70

    def test_scope_from_the_extra_parameters(
        self, page: Page, provider: OpenIDProvider, settings: Any, token_set: Any
    ) -> None:
        settings.OIDC_AUTH_REQUEST_EXTRA_PARAMS = {"scope": "openid email api:read"}
        provider.sign_in(page)
        assert token_set().scope == "openid email api:read"

    def test_a_grant_that_dies_takes_the_session_along(
        self, page: Page, provider: OpenIDProvider, authorization_server: Any
    ) -> None:
        """X6: the sign-in made this session."""
        provider.tokens = {"expires_in": 0}
        provider.sign_in(page)
        authorization_server.refuses("invalid_grant")
        assert page.refusal()["error"] == "invalid_grant"
        assert not is_signed_in(page)

    def test_nothing_secret_is_logged(
        self, page: Page, provider: OpenIDProvider, caplog: Any
    ) -> None:
        """X9."""
        with caplog.at_level(logging.DEBUG):
            provider.sign_in(page)
            page.token(scope="openid")
        assert "canary" not in caplog.text


class TestRenewalByTheSameUser:
    """No login() and no signal: the backend itself stores, into the same token set."""

    @pytest.fixture(autouse=True)
    def signed_in_once(self, page: Page, provider: OpenIDProvider) -> None:
        provider.sign_in(page)

    def test_into_the_same_token_set(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        handle, key = token_set().handle, page.session.session_key
        provider.tokens = {"access_token": "canary-second", "scope": "openid email more"}
        provider.sign_in(page)
        assert token_set().handle == handle == page.session[tokens.SESSION_KEY]
        assert page.session.session_key == key
        assert page.token()["access_token"] == "canary-second"
        assert token_set().scope == "openid email more"

    def test_without_a_refresh_token_the_old_one_is_kept(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.tokens = {"refresh_token": ...}
        provider.sign_in(page)
        assert contents_of(token_set()).refresh_token == "canary-refresh-of-alice"

    def test_the_old_refresh_token_is_not_revoked(
        self, page: Page, provider: OpenIDProvider, authorization_server: Any
    ) -> None:
        """Servers revoke by grant, and both may belong to the same one."""
        provider.tokens = {"refresh_token": "canary-second"}
        provider.sign_in(page)
        assert authorization_server.revoked == []

    def test_the_session_still_ends_with_its_grant(
        self, page: Page, provider: OpenIDProvider, authorization_server: Any
    ) -> None:
        """X6."""
        provider.tokens = {"expires_in": 0}
        provider.sign_in(page)
        authorization_server.refuses("invalid_grant")
        page.refusal()
        assert not is_signed_in(page)

    def test_a_renewal_under_way_does_not_overwrite_it(
        self, page: Page, provider: OpenIDProvider, authorization_server: Any, token_set: Any
    ) -> None:
        def sign_in_again() -> None:
            authorization_server.before_answering = lambda: None
            provider.tokens = {"refresh_token": "canary-newest", "scope": "openid email"}
            provider.sign_in(page.elsewhere())

        authorization_server.before_answering = sign_in_again
        page.token(scope="openid")
        assert contents_of(token_set()).refresh_token == "canary-newest"


class TestSwitchOfUser:
    def test_the_old_token_set_ends_and_is_revoked(
        self,
        page: Page,
        provider: OpenIDProvider,
        authorization_server: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        provider.sign_in(page)
        provider.subject = "bob"
        with django_capture_on_commit_callbacks(execute=True):
            provider.sign_in(page)
        old, new = TokenSet.objects.order_by("pk")
        assert (old.end_reason, sealed_of(old)) == ("another sign-in", None)
        assert (new.subject, new.ended_at) == ("bob", None)
        assert authorization_server.revoked == ["canary-refresh-of-alice"]
        assert page.token()["access_token"] == "canary-access-of-bob"
        # The session was flushed: it had no key when the tokens were stored.
        assert contents_of(new).session_key == page.session.session_key

    def test_a_user_signed_in_by_password_before(
        self, page: Page, provider: OpenIDProvider, django_user_model: Any
    ) -> None:
        page.sign_in(django_user_model.objects.create_user("carol", password="c"))
        provider.sign_in(page)
        assert page.token()["access_token"] == "canary-access-of-alice"


REJECTED: dict[str, dict[str, Any]] = {
    "other-audience": {"id_token": {"aud": "another-client"}},
    "other-audiences": {"id_token": {"aud": ["a", "b"]}},
    "no-audience": {"id_token": {"aud": ...}},
    "audience-number": {"id_token": {"aud": [7]}},
    "other-issuer": {"id_token": {"iss": "https://evil.example"}},
    "issuer-with-slash": {"id_token": {"iss": f"{ISSUER}/"}},
    "no-issuer": {"id_token": {"iss": ...}},
    "no-subject": {"id_token": {"sub": ...}},
    "no-expiry": {"id_token": {"exp": ...}},
    "expired": {"id_token": {"exp": 1_000_000_000}},
    "never-expires": {"id_token": {"exp": float("inf")}},
    "was-never-issued": {"id_token": {"iat": float("-inf")}},
    "not-yet-valid": {"id_token": {"nbf": 9_000_000_000}},
    "from-the-future": {"id_token": {"iat": 9_000_000_000}},
    "other-nonce": {"id_token": {"nonce": "another"}},
    "userinfo-of-another": {"userinfo": {"sub": "mallory"}},
    "userinfo-of-nobody": {"userinfo": {"sub": None}},
    "no-id-token": {"tokens": {"id_token": ...}},
    "id-token-number": {"tokens": {"id_token": 7}},
    "id-token-junk": {"tokens": {"id_token": "a.b.c"}},
    "no-access-token": {"tokens": {"access_token": ...}},
    "access-token-unicode": {"tokens": {"access_token": "tökén"}},
    "access-token-empty": {"tokens": {"access_token": ""}},
    "email-list": {"userinfo": {"email": ["alice@op.example"]}},
    "email-surrogate": {"userinfo": {"email": "\ud800"}},
    "userinfo-nan": {"userinfo": {"balance": float("nan")}},
    "callback-names-another-issuer": {"callback": {"iss": "https://evil.example"}},
}


class TestRejectedSignIn:
    """B6: a failed sign-in, not a 500, and nothing is left behind."""

    @pytest.mark.parametrize("lie", REJECTED.values(), ids=REJECTED.keys())
    def test_b6_what_the_provider_says_must_be_for_us(
        self, page: Page, provider: OpenIDProvider, settings: Any, caplog: Any, lie: Any
    ) -> None:
        settings.OIDC_STORE_ACCESS_TOKEN = settings.OIDC_STORE_ID_TOKEN = True
        vars(provider).update(lie)
        assert provider.sign_in(page).headers["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert not is_signed_in(page)
        assert not TokenSet.objects.exists()
        assert "canary" not in str(dict(page.session))
        assert "refused" in caplog.text or "failed to get or create user" in caplog.text
        assert "canary" not in caplog.text

    @pytest.mark.parametrize("endpoint", ["jwks", "userinfo"])
    @pytest.mark.parametrize(
        "answer",
        [
            {"exc": requests.ConnectionError},
            {"exc": requests.ReadTimeout},
            {"status_code": 500},
            {"text": "<html>"},
            {"json": []},
            {"json": {"keys": [{}]}},
            {"text": "[" * 100_000},
            {"json": None},
        ],
    )
    def test_b6_the_providers_endpoints_failing_is_a_failed_sign_in(
        self,
        page: Page,
        provider: OpenIDProvider,
        settings: Any,
        endpoint: str,
        answer: dict[str, Any],
    ) -> None:
        provider.server.mocker.get(f"{ISSUER}/{endpoint}", **answer)
        assert provider.sign_in(page).headers["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert not is_signed_in(page)

    @pytest.mark.parametrize(
        "answer",
        [
            {"exc": requests.ConnectionError},
            {"status_code": 400, "json": {"error": "invalid_grant", "canary": "canary"}},
            {"status_code": 500},
            {"text": "<html>"},
            {"json": ["canary"]},
            {"json": None},
        ],
    )
    def test_b6_the_token_endpoint_failing_is_a_failed_sign_in(
        self,
        page: Page,
        provider: OpenIDProvider,
        settings: Any,
        caplog: Any,
        answer: dict[str, Any],
    ) -> None:
        state = provider.authorization_request(page)["state"]
        provider.server.answers(**answer)
        callback = page.get("/oidc/callback/", {"code": "canary", "state": state}, secure=True)
        assert callback.headers["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert "canary" not in caplog.text

    def test_x4_a_reason_without_end_is_cut_in_the_log(
        self, page: Page, provider: OpenIDProvider, caplog: Any
    ) -> None:
        state = provider.authorization_request(page)["state"]
        provider.server.refuses("access_denied", error_description="x" * 5000)
        page.get("/oidc/callback/", {"code": "canary", "state": state}, secure=True)
        [refused] = [text for text in caplog.messages if text.startswith("sign-in refused")]
        assert "access_denied: xxx" in refused
        assert len(refused) < 600

    def test_b6_without_a_configured_issuer_the_callback_must_name_the_id_tokens(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_OP_ISSUER = None
        provider.callback = {"iss": "https://evil.example"}
        provider.sign_in(page)
        assert not is_signed_in(page)
        provider.callback = {"iss": ISSUER}
        provider.sign_in(page)
        assert is_signed_in(page)

    def test_b6_no_secret_is_no_key(
        self,
        page: Page,
        provider: OpenIDProvider,
        settings: Any,
        monkeypatch: Any,
        caplog: Any,
    ) -> None:
        settings.OIDC_RP_SIGN_ALGO = "HS256"
        settings.OIDC_RP_CLIENT_SECRET = ""
        monkeypatch.setattr(provider, "signed", signed_with_nothing)
        provider.sign_in(page)
        assert not is_signed_in(page)
        assert "OIDC_RP_CLIENT_SECRET, to verify ID tokens with, is not set" in caplog.text

    def test_b6_an_audience_of_several_with_us_in_it(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        provider.id_token = {"aud": ["another", "client"]}
        provider.sign_in(page)
        assert is_signed_in(page)

    def test_b6_claims_nested_without_end_are_not_kept(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        deep: Any = "x"
        for _ in range(200):
            deep = [deep]
        provider.userinfo = {"name": deep, "picture": ["a", {"b": "c"}]}
        provider.sign_in(page)
        info = json.loads(page.fetch(SESSION_INFO).content)
        assert "name" not in info
        assert info["picture"] == ["a", {"b": "c"}]

    def test_only_the_callback_signs_in_with_a_code(self, provider: OpenIDProvider) -> None:
        """A password form whose address carries an attacker's code is not a callback."""
        request = RequestFactory().post("/login/?code=canary-code&state=anything")
        request.session, request.user = SessionStore(), AnonymousUser()
        credentials = {"username": "alice", "password": "wonderland"}
        assert OIDCAuthenticationBackend().authenticate(request, **credentials) is None
        assert OIDCAuthenticationBackend().authenticate(None) is None
        assert provider.server.calls == 0

    def test_nor_does_it_take_a_password_in_async_code(
        self, user: Any, settings: Any, provider: OpenIDProvider
    ) -> None:
        """Where Django's ModelBackend was taken out, old passwords open nothing."""
        credentials = {"username": user.get_username(), "password": "wonderland"}
        assert async_to_sync(aauthenticate)(HttpRequest(), **credentials) == user
        path = settings.AUTHENTICATION_BACKENDS[0]
        settings.AUTHENTICATION_BACKENDS = [path]
        assert authenticate(HttpRequest(), **credentials) is None
        assert async_to_sync(aauthenticate)(HttpRequest(), **credentials) is None
        assert provider.server.calls == 0

    def test_e3_async_code_finds_the_same_users(self, user: Any) -> None:
        find = async_to_sync(OIDCAuthenticationBackend().aget_user)
        assert find(user.pk) == user
        get_user_model().objects.update(is_active=False)
        assert find(user.pk) is None

    def test_e3_and_goes_by_a_sites_own_rule_for_them(self, user: Any, monkeypatch: Any) -> None:
        backend = OIDCAuthenticationBackend()
        monkeypatch.setattr(backend, "get_user", lambda user_id: None)
        assert async_to_sync(backend.aget_user)(user.pk) is None

    def test_e3_a_deactivated_user_is_not_signed_in(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        provider.sign_in(page)
        TokenSet.objects.all().delete()
        get_user_model().objects.update(is_active=False)
        again = Page()
        provider.sign_in(again)
        assert not is_signed_in(again)
        assert not TokenSet.objects.exists()

    def test_a_renewal_that_is_refused_leaves_the_tokens_as_they_were(
        self, page: Page, provider: OpenIDProvider
    ) -> None:
        provider.sign_in(page)
        provider.tokens = {"access_token": "canary-second"}
        provider.id_token = {"aud": "another-client"}
        provider.sign_in(page)
        assert page.token()["access_token"] == "canary-access-of-alice"

    def test_the_sites_own_mistake_is_its_own_error_without_the_tokens_in_its_frames(
        self, page: Page, provider: OpenIDProvider, monkeypatch: Any
    ) -> None:
        """X9: error trackers and debug pages show the local variables of frames."""

        def mistake(self: Any, *args: Any) -> None:
            raise RuntimeError("a bug of the site's")

        for backend in (OIDCAuthenticationBackend, MemberBackend):
            monkeypatch.setattr(backend, "verify_claims", mistake)
        with pytest.raises(RuntimeError, match="a bug of the site's") as raised:
            provider.sign_in(page)
        frame = raised.tb
        library = []
        while frame is not None:
            if "mozilla_django_oidc/auth" in frame.tb_frame.f_code.co_filename:
                library.append(frame.tb_frame.f_locals)
            frame = frame.tb_next
        assert library
        assert library == [{}] * len(library)


SAID_UNVERIFIED: dict[str, dict[str, Any]] = {
    "userinfo": {"userinfo": {"email_verified": False}},
    "userinfo-text": {"userinfo": {"email_verified": "False"}},
    "userinfo-number": {"userinfo": {"email_verified": 0}},
    "id-token": {"id_token": {"email_verified": False}},
    "id-token-alone": {
        "id_token": {"email_verified": "false"},
        "userinfo": {"email_verified": True},
    },
    "userinfo-alone": {
        "id_token": {"email_verified": True},
        "userinfo": {"email_verified": False},
    },
}


class TestEmailAddress:
    """Users of the default provider are found by theirs: it must be theirs."""

    @pytest.fixture
    def goes_by_email(self, settings: Any) -> bool:
        """Whether the site does: one with users of its own finds them in its own way."""
        return settings.AUTHENTICATION_BACKENDS[0].startswith("django_tmibff.")

    @pytest.fixture
    def victim(self, provider: OpenIDProvider) -> Any:
        """Who has signed in before, and has the address that is tried now."""
        provider.subject = "victim"
        provider.sign_in(Page())
        provider.subject = "mallory"
        provider.userinfo = {"email": "Victim@op.example"}
        return get_user_model().objects.get()

    @pytest.mark.parametrize("said", SAID_UNVERIFIED.values(), ids=SAID_UNVERIFIED.keys())
    def test_one_that_the_provider_calls_unverified_is_nobodys(
        self,
        page: Page,
        provider: OpenIDProvider,
        victim: Any,
        goes_by_email: bool,
        caplog: Any,
        said: dict[str, Any],
    ) -> None:
        provider.userinfo |= said.get("userinfo", {})
        provider.id_token |= said.get("id_token", {})
        provider.sign_in(page)
        assert page.session.get("_auth_user_id") != str(victim.pk)
        assert is_signed_in(page) is not goes_by_email
        assert ("TMIBFF_ACCEPT_UNVERIFIED_EMAIL" in caplog.text) is goes_by_email
        assert "victim@" not in caplog.text.lower()

    def test_nor_may_anybody_occupy_it(
        self, page: Page, provider: OpenIDProvider, settings: Any, goes_by_email: bool
    ) -> None:
        provider.userinfo = {"email_verified": False}
        answer = provider.sign_in(page)
        assert get_user_model().objects.exists() is not goes_by_email
        failed = answer["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert failed is goes_by_email

    @pytest.mark.parametrize("said", [{}, {"email_verified": True}, {"email_verified": None}])
    def test_where_it_is_not_disowned_it_counts(
        self,
        page: Page,
        provider: OpenIDProvider,
        victim: Any,
        goes_by_email: bool,
        said: dict[str, Any],
    ) -> None:
        provider.userinfo |= said
        assert provider.sign_in(page)["Location"] == "/"
        is_victim = page.session["_auth_user_id"] == str(victim.pk)
        assert is_victim is goes_by_email

    def test_and_where_the_site_says_so(
        self,
        page: Page,
        provider: OpenIDProvider,
        victim: Any,
        goes_by_email: bool,
        settings: Any,
    ) -> None:
        settings.TMIBFF_ACCEPT_UNVERIFIED_EMAIL = True
        provider.userinfo |= {"email_verified": False}
        assert provider.sign_in(page)["Location"] == "/"
        is_victim = page.session["_auth_user_id"] == str(victim.pk)
        assert is_victim is goes_by_email

    @pytest.mark.parametrize("value", ["no", "False", 1])
    def test_a_setting_that_is_neither_accepts_nothing(
        self,
        page: Page,
        provider: OpenIDProvider,
        victim: Any,
        goes_by_email: bool,
        settings: Any,
        value: Any,
    ) -> None:
        settings.TMIBFF_ACCEPT_UNVERIFIED_EMAIL = value
        provider.userinfo |= {"email_verified": False}
        provider.sign_in(page)
        assert is_signed_in(page) is not goes_by_email

    def test_a_site_that_finds_its_users_in_another_way_is_not_held_up(
        self, page: Page, provider: OpenIDProvider, victim: Any, settings: Any, monkeypatch: Any
    ) -> None:
        found = get_user_model().objects.filter(pk=victim.pk)
        path = settings.AUTHENTICATION_BACKENDS[0]
        monkeypatch.setattr(f"{path}.filter_users_by_claims", lambda self, claims: found)
        provider.userinfo |= {"email_verified": False}
        assert provider.sign_in(page)["Location"] == "/"
        assert page.session["_auth_user_id"] == str(victim.pk)

    def test_letters_that_only_the_database_takes_for_the_same_are_others(
        self, page: Page, provider: OpenIDProvider, victim: Any
    ) -> None:
        provider.userinfo = {"email": "victím@op.example", "email_verified": True}
        assert provider.sign_in(page)["Location"] == "/"
        assert page.session["_auth_user_id"] != str(victim.pk)

    @pytest.mark.parametrize("name", ["v\N{LATIN SMALL LETTER DOTLESS I}ctim", "wiktim", "victim "])
    def test_whatever_a_database_takes_for_the_same(
        self,
        page: Page,
        provider: OpenIDProvider,
        victim: Any,
        settings: Any,
        monkeypatch: Any,
        name: str,
    ) -> None:
        """CVE-2019-19844; this one finds everybody."""
        settings.OIDC_CREATE_USER = False
        everybody = get_user_model().objects.all()
        monkeypatch.setattr(MozillaBackend, "filter_users_by_claims", lambda *_: everybody)
        provider.userinfo = {"email": f"{name}@op.example", "email_verified": True}
        provider.sign_in(page)
        assert not is_signed_in(page)

    def test_one_for_which_the_database_has_no_room_is_a_failed_sign_in(
        self,
        page: Page,
        provider: OpenIDProvider,
        goes_by_email: bool,
        settings: Any,
        monkeypatch: Any,
        caplog: Any,
    ) -> None:
        """Somebody was faster, or addresses are unique there, whatever their accents."""

        def taken(self: Any, claims: Any) -> Any:
            raise IntegrityError("canary-address")

        monkeypatch.setattr(MozillaBackend, "create_user", taken)
        answer = provider.sign_in(page)
        failed = answer["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert failed is goes_by_email
        assert ("has no room for a new user" in caplog.text) is goes_by_email
        assert "canary-address" not in caplog.text

    def test_what_the_id_token_says_of_another_address_is_not_said_of_a_sites_own(
        self, victim: Any, settings: Any, goes_by_email: bool
    ) -> None:
        backend = import_string(settings.AUTHENTICATION_BACKENDS[0])()
        backend._claims = {"email": "mallory@op.example", "email_verified": False}
        own = {"email": "victim@op.example", "email_verified": True, "sub": "victim"}
        assert list(backend.filter_users_by_claims(own)) == [victim]
        backend._claims = {"email": "VICTIM@op.example", "email_verified": False}
        if goes_by_email:
            with pytest.raises(SignInRefusedError, match="not verified"):
                backend.filter_users_by_claims(own)

    def test_a_site_may_narrow_down_who_is_found(self, victim: Any, settings: Any) -> None:
        backend = import_string(settings.AUTHENTICATION_BACKENDS[0])()
        claims = {"email": "VICTIM@op.example", "sub": "victim"}
        found = backend.filter_users_by_claims(claims)
        assert list(found.filter(pk=victim.pk)) == [victim]
        assert list(found.exclude(pk=victim.pk)) == []

    def test_without_one_there_is_nobody_to_be_taken_for(
        self, page: Page, provider: OpenIDProvider, victim: Any
    ) -> None:
        provider.userinfo = {"email": "", "email_verified": False}
        assert provider.sign_in(page)["Location"] == "/"
        assert page.session["_auth_user_id"] != str(victim.pk)


class TestTimeouts:
    def test_a_sign_in_does_not_wait_for_ever(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        provider.sign_in(page)
        asked = {r.url: seconds(r) for r in provider.server.mocker.request_history}
        assert set(asked) == {f"{ISSUER}/token", f"{ISSUER}/jwks", f"{ISSUER}/userinfo"}
        assert set(asked.values()) == {10}

    def test_the_sites_own_timeout_counts(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_TIMEOUT = 3
        provider.sign_in(page)
        assert {seconds(r) for r in provider.server.mocker.request_history} == {3}

    def test_none_is_no_wish_to_wait_for_good(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_TIMEOUT = None
        provider.sign_in(page)
        assert {seconds(r) for r in provider.server.mocker.request_history} == {10}

    def test_a_pair_of_timeouts_is_one_for_both(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_TIMEOUT = (1, 2)
        provider.sign_in(page)
        asked = {r.url: r.timeout for r in provider.server.mocker.request_history}
        assert asked[f"{ISSUER}/token"].total == 3


def seconds(request: Any) -> float:
    """Return how long this request may take."""
    return float(getattr(request.timeout, "total", request.timeout))


class TestLogout:
    def test_the_token_set_ends_and_is_revoked_after_commit(
        self,
        page: Page,
        provider: OpenIDProvider,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        provider.sign_in(page)
        with django_capture_on_commit_callbacks(execute=True) as callbacks:
            page.post("/oidc/logout/", secure=True)
            assert authorization_server.revoked == []
        assert len(callbacks) == 1
        assert authorization_server.revoked == ["canary-refresh-of-alice"]
        record = token_set()
        assert (record.end_reason, sealed_of(record)) == ("logout", None)
        assert not is_signed_in(page)

    @pytest.mark.parametrize("failure", [{"status_code": 503}, {"exc": requests.ConnectionError}])
    def test_what_could_not_be_revoked_stays_owed_and_does_not_hold_up_the_user(
        self,
        page: Page,
        provider: OpenIDProvider,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
        failure: dict[str, Any],
    ) -> None:
        provider.sign_in(page)
        provider.server.mocker.post(f"{ISSUER}/revoke", **failure)
        with django_capture_on_commit_callbacks(execute=True):
            assert page.post("/oidc/logout/", secure=True).status_code == 302
        owed = contents_of(token_set())
        assert owed.refresh_token == "canary-refresh-of-alice"
        assert (owed.access_tokens, owed.id_token) == ([], None)
        assert owed.claims == {"iss": ISSUER}

    def test_without_a_revocation_endpoint_nothing_is_kept(
        self, page: Page, provider: OpenIDProvider, settings: Any, token_set: Any
    ) -> None:
        settings.OIDC_OP_REVOCATION_ENDPOINT = None
        provider.sign_in(page)
        page.post("/oidc/logout/", secure=True)
        assert (token_set().end_reason, sealed_of(token_set())) == ("logout", None)

    def test_a_renewal_under_way_leaves_no_living_token_behind(
        self, page: Page, provider: OpenIDProvider, authorization_server: Any, token_set: Any
    ) -> None:
        provider.sign_in(page)
        authorization_server.gives(access_token="late", refresh_token="canary-late")
        authorization_server.before_answering = lambda: tokens.end(token_set(), "elsewhere")
        assert page.refusal(scope="openid")["error"] == "invalid_session"
        assert authorization_server.revoked == ["canary-late"]

    def test_a_logout_without_tokens_or_session_is_no_error(
        self, page: Page, django_user_model: Any
    ) -> None:
        from django.contrib.auth.signals import user_logged_out

        page.sign_in(django_user_model.objects.create_user("dave", password="d"))
        page.logout()
        user_logged_out.send(sender=None, request=None, user=None)
        user_logged_out.send(sender=None, request=HttpRequest(), user=None)


class TestSessionKey:
    def test_a_key_that_changes_without_a_signal_is_followed(
        self, page: Page, provider: OpenIDProvider, token_set: Any, django_user_model: Any
    ) -> None:
        provider.sign_in(page)
        request = page.request_of(django_user_model.objects.get())
        request.META = {}
        request.user.set_password("new")
        request.user.save()
        update_session_auth_hash(request, request.user)
        request.session.save()
        page.cookies["sessionid"] = request.session.session_key
        assert contents_of(token_set()).session_key != request.session.session_key
        page.token()
        assert contents_of(token_set()).session_key == request.session.session_key

    def test_but_not_while_somebody_renews(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.sign_in(page)
        TokenSet.objects.take_lease(token_set().handle, "somebody", 60)
        session = page.session
        session.cycle_key()
        page.cookies["sessionid"] = session.session_key
        page.token()
        assert contents_of(token_set()).session_key != session.session_key
        assert token_set().lease_owner == "somebody"

    def test_b2_a_session_that_slides_takes_the_records_end_along(
        self, page: Page, provider: OpenIDProvider, token_set: Any, monkeypatch: Any
    ) -> None:
        provider.tokens = {"expires_in": ...}
        provider.sign_in(page)
        first = token_set().expires_at
        start = time.time()
        for days, moved in ((3, False), (8, True)):
            monkeypatch.setattr("time.time", lambda days=days: start + days * 86400)
            page.token()
            assert (token_set().expires_at > first) is moved

    def test_b2_the_record_ends_with_the_refresh_token_where_its_lifetime_is_told(
        self, page: Page, provider: OpenIDProvider, token_set: Any
    ) -> None:
        provider.tokens = {"refresh_expires_in": 600}
        provider.sign_in(page)
        lifetime = token_set().expires_at - token_set().created_at
        assert 590 < lifetime.total_seconds() < 610


class TestStrictCookies:
    """E9: the provider's redirect arrives without a SameSite=Strict cookie."""

    @pytest.fixture
    def callback(self) -> Any:
        def answer(page: Page, query: dict[str, str], site: str) -> Any:
            request = RequestFactory().get(
                "/oidc/callback/", query, headers={"sec-fetch-site": site}, secure=True
            )
            request.session = page.session
            request.user = None
            return OIDCCallbackView.as_view()(request)

        return answer

    def test_e9_a_page_that_reloads_itself_brings_the_session_along(
        self, page: Page, callback: Any
    ) -> None:
        answer = callback(page, {"code": "canary-code", "state": "canary-state"}, "cross-site")
        content = answer.content.decode()
        assert '<meta http-equiv="refresh" content="0">' in content
        assert "canary" not in content
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "no-store" in answer.headers["Cache-Control"]

    def test_e9_once(self, page: Page, callback: Any, settings: Any) -> None:
        answer = callback(page, {"code": "c", "state": "s"}, "same-origin")
        assert answer.headers["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE

    def test_an_error_that_nobody_asked_for_signs_nobody_out(
        self, page: Page, callback: Any, django_user_model: Any, settings: Any
    ) -> None:
        """Any site can send a browser to the callback with an error."""
        page.sign_in(django_user_model.objects.create_user("erin", password="e"))
        answer = callback(page, {"error": "login_required", "state": "s"}, "same-origin")
        assert answer.headers["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert is_signed_in(page)

    def test_e9_not_when_the_session_is_there(
        self, page: Page, provider: OpenIDProvider, callback: Any, settings: Any
    ) -> None:
        state = provider.authorization_request(page)["state"]
        provider.server.answers(status_code=500)
        answer = callback(page, {"code": "c", "state": state}, "cross-site")
        assert answer.headers["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE


def test_basic_authentication_form_encodes_both_halves(
    page: Page, provider: OpenIDProvider, settings: Any
) -> None:
    """B3, RFC 6749 §2.3.1."""
    provider.sign_in(page)
    settings.OIDC_RP_CLIENT_ID, settings.OIDC_RP_CLIENT_SECRET = "odd:id", "p%+ s:ecret/"
    page.token(scope="openid")
    sent = provider.server.headers[-1]["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "odd%3Aid:p%25%2B+s%3Aecret%2F"
    assert "client_secret" not in provider.server.requests[-1]


def test_the_secret_goes_into_the_form_where_the_site_says_so(
    page: Page, provider: OpenIDProvider, settings: Any
) -> None:
    """B3."""
    provider.sign_in(page)
    settings.TMIBFF_CLIENT_AUTH = {"method": "client_secret_post"}
    page.token(scope="openid")
    assert provider.server.requests[-1]["client_secret"] == ["canary-client-secret"]
    assert "Authorization" not in provider.server.headers[-1]


def test_sessions_of_a_rejected_sign_in_are_as_empty_as_before(
    page: Page, provider: OpenIDProvider
) -> None:
    provider.tokens = {"id_token": "junk"}
    provider.sign_in(page)
    [session] = Session.objects.all()
    left = session.get_decoded()
    assert left.pop("oidc_states") == {}
    assert left.pop("oidc_login_next") is None
    assert left == {}
