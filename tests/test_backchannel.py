"""OpenID Connect Back-Channel Logout 1.0: what a provider sends when a user signs out there."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from django.db import DatabaseError
from django.test import Client

from django_tmibff import crypto, key_sets, logout_token, stores, tokens
from django_tmibff.conf import settings as app_settings
from django_tmibff.models import TokenSet
from tests.openid_provider import ISSUER, OpenIDProvider, signed_with_nothing
from tests.page import Page

pytestmark = pytest.mark.django_db

PATH = "/bff/backchannel-logout"
EVENTS = {logout_token.EVENT: {}}
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def provider(authorization_server: Any) -> OpenIDProvider:
    return OpenIDProvider(authorization_server)


@pytest.fixture
def signed_in_page(page: Page, provider: OpenIDProvider) -> Page:
    """Alice's page, signed in at the provider's session ``sid-1``."""
    provider.sign_in(page)
    return page


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {
        "iss": ISSUER,
        "aud": "client",
        "iat": now,
        "exp": now + 120,
        "jti": "jti-1",
        "events": EVENTS,
        "sid": "sid-1",
    }
    return {name: value for name, value in {**usual, **changed}.items() if value is not ...}


def send(token: str | None, commit: Any, **options: Any) -> Any:
    """Return the answer to a provider that sends ``token``."""
    sent = {} if token is None else {"logout_token": token}
    with commit(execute=True):
        return Client().post(
            PATH,
            options.pop("data", None) or "&".join(f"{k}={v}" for k, v in sent.items()),
            content_type="application/x-www-form-urlencoded",
            headers={"host": "app.example"},
            secure=True,
        )


@pytest.fixture
def told(provider: OpenIDProvider, django_capture_on_commit_callbacks: Any) -> Any:
    """Let the provider send a logout token with these claims; return the answer."""

    def tell(**changed: Any) -> Any:
        return send(provider.signed(claims(**changed)), django_capture_on_commit_callbacks)

    return tell


def assert_refused(answer: Any, why: str) -> None:
    """Refused as §2.8 says, and nothing has ended."""
    assert answer.status_code == 400
    assert json.loads(answer.content)["error"] == "invalid_request"
    assert why in json.loads(answer.content)["error_description"]
    assert "no-store" in answer["Cache-Control"]
    assert not TokenSet.objects.exclude(ended_at=None).exists()


class TestAccepted:
    @pytest.mark.parametrize(
        "named",
        [
            {"sid": "sid-1"},
            {"sid": ..., "sub": "alice"},
            {"sid": "sid-1", "sub": "alice"},
            {"aud": ["other", "client"]},
            {"events": {**EVENTS, "urn:other": {}}},
            {"unknown": "member"},
        ],
    )
    def test_the_session_ends_and_its_refresh_token_is_revoked(
        self, signed_in_page: Page, told: Any, provider: OpenIDProvider, named: dict[str, Any]
    ) -> None:
        answer = told(**named)
        assert answer.status_code == 200
        assert "no-store" in answer["Cache-Control"]
        assert TokenSet.objects.get().end_reason == "back-channel logout"
        assert "_auth_user_id" not in signed_in_page.session
        assert provider.server.revoked == ["canary-refresh-of-alice"]

    def test_of_a_subject_all_sessions_end(
        self, signed_in_page: Page, provider: OpenIDProvider, told: Any
    ) -> None:
        provider.id_token = {"sid": "sid-2"}
        provider.sign_in(Page())
        assert told(sid=..., sub="alice").status_code == 200
        assert not TokenSet.objects.filter(ended_at=None).exists()

    @pytest.mark.parametrize(
        "named",
        [
            {"sid": "sid-2"},
            {"sid": "SID-1"},
            {"sid": "sid-1 "},
            {"sid": ..., "sub": "bob"},
            {"sid": ..., "sub": "Alice"},
            {"sid": "sid-1", "sub": "bob"},
        ],
    )
    def test_nobody_else_is_signed_out(
        self, signed_in_page: Page, told: Any, named: dict[str, Any]
    ) -> None:
        """Who is signed out already counts as signed out: 200 (§2.8)."""
        assert told(**named).status_code == 200
        assert TokenSet.objects.get().ended_at is None
        assert signed_in_page.token()

    def test_without_exp_it_lives_two_minutes_and_is_accepted_once(
        self, signed_in_page: Page, told: Any
    ) -> None:
        """§4; before errata set 1 the specification did not ask for one."""
        issued_at = int(time.time()) - 100
        assert told(exp=..., iat=issued_at).status_code == 200
        assert TokenSet.objects.get().end_reason == "back-channel logout"
        again = told(exp=..., iat=issued_at)
        assert "sent before" in json.loads(again.content)["error_description"]

    @pytest.mark.parametrize("jti", ["x" * 1000, "\0", "\ud800"])
    def test_once_whatever_its_name_is(
        self, signed_in_page: Page, told: Any, settings: Any, jti: str
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.db"
        assert told(jti=jti, sid="sid-2").status_code == 200
        assert told(jti=f"{jti}a", sid="sid-2").status_code == 200
        assert told(jti=f"{jti}A").status_code == 200
        again = told(jti=jti)
        assert "sent before" in json.loads(again.content)["error_description"]

    def test_a_clock_that_is_a_little_off_does_no_harm(
        self, signed_in_page: Page, told: Any
    ) -> None:
        now = int(time.time())
        assert told(iat=now + 30, exp=now + 150).status_code == 200

    def test_another_providers_session_of_that_name_stays(
        self, signed_in_page: Page, told: Any
    ) -> None:
        TokenSet.objects.update(provider="other")
        assert told().status_code == 200
        assert TokenSet.objects.get().ended_at is None

    def test_a_shared_secret_signs_where_the_site_uses_one(
        self,
        signed_in_page: Page,
        settings: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        settings.OIDC_RP_SIGN_ALGO = "HS256"
        settings.OIDC_RP_CLIENT_SECRET = "canary" * 10
        token = jwt.encode(claims(), "canary" * 10, algorithm="HS256")
        assert send(token, django_capture_on_commit_callbacks).status_code == 200
        assert TokenSet.objects.get().ended_at is not None

    def test_no_secret_is_no_key(
        self,
        signed_in_page: Page,
        settings: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        settings.OIDC_RP_SIGN_ALGO = "HS256"
        settings.OIDC_RP_CLIENT_SECRET = ""
        token = signed_with_nothing(claims())
        answer = send(token, django_capture_on_commit_callbacks)
        assert_refused(answer, "its key is not known")

    def test_a_key_of_the_settings_is_used_instead_of_the_providers_set(
        self,
        signed_in_page: Page,
        settings: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        settings.OIDC_RP_IDP_SIGN_KEY = OTHER_KEY.public_key()
        token = jwt.encode(claims(), OTHER_KEY, algorithm="RS256")
        assert send(token, django_capture_on_commit_callbacks).status_code == 200
        assert TokenSet.objects.get().ended_at is not None


class TestRefused:
    @pytest.mark.parametrize(
        ("changed", "why"),
        [
            ({"iss": "https://evil.example"}, "not from a provider of this site"),
            ({"iss": f"{ISSUER}/"}, "not from a provider of this site"),
            ({"iss": ...}, "not from a provider of this site"),
            ({"aud": "another-client"}, "not from a provider of this site"),
            ({"aud": ...}, "not from a provider of this site"),
            ({"aud": {"client": 1}}, "not from a provider of this site"),
            ({"exp": 1000}, "ExpiredSignature"),
            ({"exp": None}, "does not verify"),
            ({"exp": "soon"}, "does not verify"),
            ({"exp": float("inf")}, "does not verify"),
            ({"exp": float("nan")}, "does not verify"),
            ({"iat": float("-inf")}, "does not verify"),
            ({"iat": 32_503_680_000}, "ImmatureSignature"),
            ({"iat": ...}, "MissingRequiredClaim"),
            ({"jti": ...}, "MissingRequiredClaim"),
            ({"jti": ""}, "no name of its own"),
            ({"events": ...}, "MissingRequiredClaim"),
            ({"events": {}}, "another event"),
            ({"events": [logout_token.EVENT]}, "another event"),
            ({"events": {logout_token.EVENT: True}}, "another event"),
            ({"nonce": "n"}, "an ID token"),
            ({"sid": ...}, "neither a subject nor a session"),
            ({"sid": ""}, "neither a subject nor a session"),
            ({"sid": 5}, "neither a subject nor a session"),
            ({"sub": ["alice"]}, "InvalidSubject"),
        ],
        ids=lambda value: json.dumps(value, default=str) if isinstance(value, dict) else "",
    )
    def test_what_a_logout_token_must_say(
        self, signed_in_page: Page, told: Any, changed: dict[str, Any], why: str, caplog: Any
    ) -> None:
        assert_refused(told(**changed), why)
        assert "logout token refused" in caplog.text

    @pytest.mark.parametrize("age", [200, 10**6, 10**12])
    def test_an_old_one_without_exp(self, signed_in_page: Page, told: Any, age: int) -> None:
        assert_refused(told(exp=..., iat=int(time.time()) - age), "too old")

    @pytest.mark.parametrize(
        "changed",
        [
            {"exp": 10**400},
            {"exp": "9" * 400},
            {"exp": ..., "iat": -(10**400)},
            {"exp": ..., "iat": f"-{'9' * 400}"},
        ],
        ids=["exp", "exp-text", "iat", "iat-text"],
    )
    def test_a_time_that_no_clock_shows(
        self, signed_in_page: Page, told: Any, changed: dict[str, Any]
    ) -> None:
        assert_refused(told(**changed), "its exp or iat is out of range")

    def test_sent_twice(self, signed_in_page: Page, told: Any) -> None:
        assert told(sid="sid-of-nobody").status_code == 200
        assert_refused(told(), "sent before")

    def test_signed_by_somebody_else(
        self, signed_in_page: Page, django_capture_on_commit_callbacks: Any
    ) -> None:
        forged = jwt.encode(claims(), OTHER_KEY, algorithm="RS256", headers={"kid": "k"})
        assert_refused(send(forged, django_capture_on_commit_callbacks), "does not verify")

    def test_not_signed(
        self, signed_in_page: Page, django_capture_on_commit_callbacks: Any, settings: Any
    ) -> None:
        unsigned = jwt.encode(claims(), None, algorithm="none")
        assert_refused(send(unsigned, django_capture_on_commit_callbacks), "not signed with RS256")
        settings.OIDC_RP_SIGN_ALGO = "none"
        assert_refused(send(unsigned, django_capture_on_commit_callbacks), "not signed with none")

    @pytest.mark.parametrize("alg", ["HS256", "ES256", "PS256"])
    def test_signed_with_another_algorithm(
        self, signed_in_page: Page, django_capture_on_commit_callbacks: Any, alg: str
    ) -> None:
        """A public key as a shared secret is the oldest of these tricks."""
        keys = {"HS256": "public-key" * 8, "ES256": ec.generate_private_key(ec.SECP256R1())}
        forged = jwt.encode(claims(), keys.get(alg, OTHER_KEY), alg, headers={"kid": "k"})
        assert_refused(send(forged, django_capture_on_commit_callbacks), "not signed with RS256")

    @pytest.mark.parametrize("typ", ["at+jwt", "dpop+jwt", 5])
    def test_a_token_of_another_type(
        self,
        signed_in_page: Page,
        provider: OpenIDProvider,
        django_capture_on_commit_callbacks: Any,
        typ: Any,
    ) -> None:
        token = provider.signed(claims(), typ=typ)
        assert_refused(send(token, django_capture_on_commit_callbacks), "")

    def test_an_id_token(self, signed_in_page: Page, provider: OpenIDProvider, told: Any) -> None:
        assert_refused(told(events=..., nonce="n", sub="alice"), "")

    @pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "..", "é", "e" * 20_000])
    def test_what_is_no_token(
        self, signed_in_page: Page, django_capture_on_commit_callbacks: Any, token: str | None
    ) -> None:
        assert_refused(send(token, django_capture_on_commit_callbacks), "")

    def test_an_issuer_that_is_not_set_matches_none(
        self, signed_in_page: Page, told: Any, settings: Any
    ) -> None:
        settings.OIDC_OP_ISSUER = None
        assert_refused(told(iss=...), "not from a provider")

    @pytest.mark.parametrize("method", ["get", "put", "delete", "options", "head"])
    def test_another_method(self, client: Client, method: str) -> None:
        answer = getattr(client, method)(PATH, secure=True, headers={"host": "app.example"})
        assert (answer.status_code, answer["Allow"]) == (405, "POST")

    def test_another_media_type(self, client: Client) -> None:
        answer = client.post(
            PATH,
            {"logout_token": "x"},
            content_type="application/json",
            secure=True,
            headers={"host": "app.example"},
        )
        assert answer.status_code == 400

    def test_a_database_that_fails_says_so_and_the_provider_may_repeat_it(
        self, signed_in_page: Page, told: Any, monkeypatch: Any
    ) -> None:
        def down(*args: Any) -> None:
            raise DatabaseError("down")

        with monkeypatch.context() as broken:
            broken.setattr(tokens, "end", down)
            answer = told()
        assert json.loads(answer.content)["error"] == "temporarily_unavailable"
        assert answer.status_code == 400
        assert TokenSet.objects.get().ended_at is None

    def test_x9_no_secret_is_logged(self, signed_in_page: Page, told: Any, caplog: Any) -> None:
        told(exp=1000)
        told()
        assert "canary" not in caplog.text
        assert "eyJ" not in caplog.text


class TestKeySet:
    @pytest.fixture(autouse=True)
    def jwks_requests(self, provider: OpenIDProvider) -> Any:
        def count() -> int:
            history = provider.server.mocker.request_history
            return sum(request.url == f"{ISSUER}/jwks" for request in history)

        return count

    def test_it_is_fetched_once_for_many(self, told: Any, jwks_requests: Any) -> None:
        for number in range(3):
            assert told(jti=str(number)).status_code == 200
        assert jwks_requests() == 1

    def test_a_new_key_is_fetched(
        self, told: Any, provider: OpenIDProvider, jwks_requests: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(key_sets, "_REFETCH_SECONDS", 0)
        told()
        provider.change_key("k-2")
        assert told(jti="2").status_code == 200
        assert jwks_requests() == 2

    def test_unknown_keys_do_not_become_load(
        self, provider: OpenIDProvider, django_capture_on_commit_callbacks: Any, jwks_requests: Any
    ) -> None:
        for number in range(5):
            token = provider.signed(claims(), kid=f"unknown-{number}")
            assert send(token, django_capture_on_commit_callbacks).status_code == 400
        assert jwks_requests() == 1

    def test_without_a_kid_all_that_fit_are_tried(
        self, provider: OpenIDProvider, django_capture_on_commit_callbacks: Any
    ) -> None:
        others = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        provider.publishes(
            {**provider.jwk(others), "kid": "other"},
            {"kty": "oct", "k": "AAAA"},
            {**provider.jwk(), "use": "enc"},
            "junk",
            provider.jwk(),
        )
        token = provider.signed(claims(), kid=None)
        assert send(token, django_capture_on_commit_callbacks).status_code == 200

    @pytest.mark.parametrize(
        "answer",
        [
            {"status_code": 500},
            {"text": "junk"},
            {"json": []},
            {"json": {"keys": 5}},
            {"exc": ConnectionError},
            {"status_code": 404, "json": {"keys": []}},
        ],
        ids=str,
    )
    def test_one_that_cannot_be_had_refuses(
        self, told: Any, provider: OpenIDProvider, answer: dict[str, Any]
    ) -> None:
        provider.server.mocker.get(f"{ISSUER}/jwks", **answer)
        assert_refused(told(), "its key is not known")

    def test_one_whose_endpoint_is_not_known_refuses(self, told: Any, settings: Any) -> None:
        settings.OIDC_OP_JWKS_ENDPOINT = None
        assert_refused(told(), "its key is not known")

    @pytest.mark.parametrize("store", ["db", "cached_db", "cache"])
    def test_one_that_somebody_else_has_put_into_the_store_is_not_believed(
        self,
        signed_in_page: Page,
        provider: OpenIDProvider,
        settings: Any,
        django_capture_on_commit_callbacks: Any,
        store: str,
    ) -> None:
        """Whoever writes a shared cache would sign everybody out, with a key of their own."""
        settings.TMIBFF_STORE = f"django_tmibff.stores.{store}"
        forged = jwt.encode(claims(), OTHER_KEY, algorithm="RS256", headers={"kid": "other"})
        theirs = [{**provider.jwk(OTHER_KEY), "kid": "other"}]
        sealed = crypto.seal(json.dumps(theirs).encode()).decode()
        for planted in (theirs, json.dumps(theirs), sealed, {}, 7):
            for fact in (key_sets._fact(app_settings.provider()), "jwks:default"):
                stores.current().remember(fact, planted, 60)
            answer = send(forged, django_capture_on_commit_callbacks)
            assert_refused(answer, "its key is not known")

    def test_one_of_another_server_is_not_believed(
        self,
        signed_in_page: Page,
        provider: OpenIDProvider,
        told: Any,
        settings: Any,
    ) -> None:
        """Settings that point to another server leave nothing of the old one behind."""
        assert told(sid="sid-2").status_code == 200
        kept = stores.current().recall(key_sets._fact(app_settings.provider()))
        settings.OIDC_OP_JWKS_ENDPOINT = f"{ISSUER}/jwks-of-another"
        provider.server.mocker.get(f"{ISSUER}/jwks-of-another", json={"keys": []})
        stores.current().remember(key_sets._fact(app_settings.provider()), kept, 60)
        assert_refused(told(jti="2"), "its key is not known")

    def test_a_site_with_other_keys_does_not_get_in_the_way(
        self, told: Any, settings: Any, jwks_requests: Any
    ) -> None:
        """Two sites on one cache, with one provider."""
        assert told().status_code == 200
        settings.SECRET_KEY = "another site's"
        assert told(jti="2").status_code == 200
        assert jwks_requests() == 2
