"""B3: how this site proves to an authorization server that it is its client."""

import base64
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from django.core.exceptions import ImproperlyConfigured

from django_tmibff import client_auth, oauth
from django_tmibff.conf import settings as our_settings
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import Page
from tests.real.certificates import Paths, make_certificate

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS = {
    "RS256": RSA,
    "RS512": RSA,
    "PS256": RSA,
    "PS384": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
ODD_ID, ODD_SECRET = "odd:id", "canary p%+ s:ecret/=&"


def pem(key: Any, encryption: KeySerializationEncryption | None = None) -> str:
    encryption = encryption or NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def jwk(key: Any, alg: str) -> dict[str, Any]:
    text = jwt.get_algorithm_by_name(alg).to_jwk(key)
    return {**json.loads(text), "kid": "jwk-kid", "alg": alg}


def form(request: Any) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(request.text).items()}


@pytest.fixture
def round_trip(
    page: Page,
    authorization_server: Any,
    db: None,
    django_capture_on_commit_callbacks: Any,
) -> Any:
    """Sign in, renew, sign out; return the three requests in which the client authenticates."""

    def take() -> list[Any]:
        OpenIDProvider(authorization_server).sign_in(page)
        page.token(scope="openid")
        with django_capture_on_commit_callbacks(execute=True):
            page.logout()
        history = authorization_server.mocker.request_history
        found = [r for r in history if r.url in (f"{ISSUER}/token", f"{ISSUER}/revoke")]
        assert [form(r).get("grant_type") for r in found] == [
            "authorization_code",
            "refresh_token",
            None,
        ]
        return found

    return take


def assert_assertion(request: Any, key: Any, alg: str, audience: str = ISSUER) -> dict[str, Any]:
    """Return the header of a client assertion that is as RFC 7523 §3 wants it."""
    sent = form(request)
    assert sent["client_assertion_type"] == client_auth.ASSERTION_TYPE
    assert "client_secret" not in sent
    assert "Authorization" not in request.headers
    claims = jwt.decode(sent["client_assertion"], key, algorithms=[alg], audience=audience)
    assert (claims["iss"], claims["sub"]) == ("client", "client")
    assert 0 < claims["exp"] - time.time() <= 60
    return jwt.get_unverified_header(sent["client_assertion"])


class TestSecrets:
    def test_b3_in_the_header_both_halves_are_form_encoded(
        self, round_trip: Any, settings: Any
    ) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "client_secret_basic"}
        settings.OIDC_RP_CLIENT_ID, settings.OIDC_RP_CLIENT_SECRET = ODD_ID, ODD_SECRET
        settings.OIDC_OP_ISSUER = None
        with pytest.MonkeyPatch.context() as patch:
            # The ID token of the test's provider is for another client.
            patch.setattr("tests.openid_provider.settings.OIDC_RP_CLIENT_ID", ODD_ID)
            requests = round_trip()
        for request in requests:
            encoded = request.headers["Authorization"].removeprefix("Basic ")
            user, password = base64.b64decode(encoded).decode().split(":")
            assert (unquote_plus(user), unquote_plus(password)) == (ODD_ID, ODD_SECRET)
            assert not {"client_id", "client_secret"} & set(form(request))

    def test_b3_in_the_form(self, round_trip: Any, settings: Any) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "client_secret_post"}
        for request in round_trip():
            assert form(request)["client_secret"] == "canary-client-secret"
            assert form(request)["client_id"] == "client"

    @pytest.mark.parametrize("basic", [True, False])
    def test_the_default_follows_mozilla_django_oidc(
        self, round_trip: Any, settings: Any, basic: bool
    ) -> None:
        settings.OIDC_TOKEN_USE_BASIC_AUTH = basic
        for request in round_trip():
            assert ("Authorization" in request.headers) is basic

    def test_b3_a_jwt_signed_with_it(self, round_trip: Any, settings: Any) -> None:
        settings.OIDC_RP_CLIENT_SECRET = "canary" * 12
        settings.TMIBFF_CLIENT_AUTH = {"method": "client_secret_jwt", "alg": "HS512"}
        for request in round_trip():
            assert_assertion(request, "canary" * 12, "HS512")


class TestPrivateKeys:
    @pytest.mark.parametrize("alg", KEYS)
    @pytest.mark.parametrize("form_of_key", ["pem", "jwk"])
    def test_b3_each_request_carries_a_signed_assertion(
        self, round_trip: Any, settings: Any, alg: str, form_of_key: str
    ) -> None:
        key = KEYS[alg]
        settings.TMIBFF_CLIENT_AUTH = {
            "method": "private_key_jwt",
            "key": pem(key) if form_of_key == "pem" else jwk(key, alg),
            "alg": alg,
            **({"kid": "pem-kid"} if form_of_key == "pem" else {}),
        }
        requests = round_trip()
        for request in requests:
            header = assert_assertion(request, key.public_key(), alg)
            assert header["kid"] == f"{form_of_key}-kid"
        names = [
            jwt.decode(form(r)["client_assertion"], options={"verify_signature": False})["jti"]
            for r in requests
        ]
        assert len(set(names)) == 3

    def test_b3_a_client_with_a_key_needs_no_secret(self, round_trip: Any, settings: Any) -> None:
        del settings.OIDC_RP_CLIENT_SECRET
        settings.TMIBFF_CLIENT_AUTH = {"method": "private_key_jwt", "key": pem(RSA)}
        for request in round_trip():
            assert_assertion(request, RSA.public_key(), "RS256")

    def test_the_audience_can_be_chosen(self, round_trip: Any, settings: Any) -> None:
        settings.TMIBFF_CLIENT_AUTH = {
            "method": "private_key_jwt",
            "key": pem(RSA),
            "aud": "https://op.example/token",
        }
        for request in round_trip():
            assert_assertion(request, RSA.public_key(), "RS256", "https://op.example/token")

    @pytest.mark.parametrize(
        ("key", "alg"),
        [
            (pem(RSA), "ES256"),
            ("canary-no-key", "RS256"),
            ({"kty": "canary"}, "RS256"),
            (pem(RSA), "none"),
            (pem(RSA), "XX"),
            (5, "RS256"),
        ],
    )
    @pytest.mark.django_db
    def test_a_key_that_cannot_be_used_is_no_500_and_is_not_shown(
        self,
        signed_in: Any,
        authorization_server: Any,
        settings: Any,
        key: Any,
        alg: str,
        caplog: Any,
    ) -> None:
        page = signed_in(expires_in=0)
        settings.TMIBFF_CLIENT_AUTH = {"method": "private_key_jwt", "key": key, "alg": alg}
        assert page.refusal()["error"] == "backend_not_ready"
        assert "TMIBFF_CLIENT_AUTH" in caplog.text
        assert "canary" not in caplog.text
        assert authorization_server.calls == 0

    @pytest.mark.django_db
    def test_nor_does_it_break_the_sign_in_page(
        self, page: Page, authorization_server: Any, settings: Any, caplog: Any
    ) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "private_key_jwt", "key": "canary"}
        assert OpenIDProvider(authorization_server).sign_in(page).status_code == 302
        assert "_auth_user_id" not in page.session
        assert "TMIBFF_CLIENT_AUTH" in caplog.text


class TestMutualTls:
    @pytest.fixture
    def paths(self, tmp_path: Path) -> Paths:
        """A certificate and its key."""
        return make_certificate(tmp_path)

    @pytest.mark.parametrize("pair", [tuple, list])
    def test_b3_the_connection_has_the_certificate_and_the_form_the_client(
        self, round_trip: Any, settings: Any, paths: Paths, pair: Any
    ) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "tls_client_auth", "certificate": pair(paths)}
        for request in round_trip():
            assert request.cert == (str(paths[0]), str(paths[1]))
            assert form(request)["client_id"] == "client"
            assert "client_secret" not in form(request)

    def test_one_file_may_have_both(
        self, round_trip: Any, settings: Any, paths: Paths, tmp_path: Path
    ) -> None:
        both = tmp_path / "both.pem"
        both.write_text("".join(path.read_text() for path in paths))
        settings.TMIBFF_CLIENT_AUTH = {"method": "tls_client_auth", "certificate": both}
        for request in round_trip():
            assert request.cert == str(both)

    @pytest.mark.parametrize(
        "key",
        [
            None,
            "",
            pem(KEYS["ES256"]),
            pem(KEYS["ES256"], BestAvailableEncryption(b"password")),
        ],
        ids=["missing", "empty", "of another", "encrypted"],
    )
    @pytest.mark.django_db
    def test_one_that_cannot_be_used_is_no_500_and_is_named(
        self,
        signed_in: Any,
        authorization_server: Any,
        settings: Any,
        paths: Paths,
        tmp_path: Path,
        caplog: Any,
        key: str | None,
    ) -> None:
        page = signed_in(expires_in=0)
        if key is not None:
            (tmp_path / "a.key").write_text(key)
        settings.TMIBFF_CLIENT_AUTH = {
            "method": "self_signed_tls_client_auth",
            "certificate": (paths[0], tmp_path / "a.key"),
        }
        assert page.refusal()["error"] == "backend_not_ready"
        assert "The certificate in TMIBFF_CLIENT_AUTH cannot be used" in caplog.text
        assert authorization_server.calls == 0


class TestSetting:
    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ({"method": "none"}, r"\['method'\] must be one of"),
            ("private_key_jwt", r"\['method'\] must be one of"),
            ({"method": "private_key_jwt"}, r"\['key'\] must be a private key"),
            ({"method": "tls_client_auth"}, r"\['certificate'\] must be the path"),
            (
                {"method": "tls_client_auth", "certificate": ["one", "two", "three"]},
                r"\['certificate'\] must be the path",
            ),
            (
                {"method": "tls_client_auth", "certificate": 5},
                r"\['certificate'\] must be the path",
            ),
            ({"method": "client_secret_post", "colour": "red"}, "unknown member"),
        ],
    )
    def test_what_cannot_be_used_is_said(self, settings: Any, value: Any, said: str) -> None:
        settings.TMIBFF_CLIENT_AUTH = value
        with pytest.raises(ImproperlyConfigured, match=said):
            our_settings.provider()

    def test_of_another_provider(self, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"other": {"client_auth": {"method": "magic"}}}
        with pytest.raises(
            ImproperlyConfigured, match=r"TMIBFF_PROVIDERS\['other'\]\['client_auth"
        ):
            our_settings.provider("other")
        settings.TMIBFF_PROVIDERS = {"other": {"client_auth": {"method": "client_secret_jwt"}}}
        assert our_settings.provider("other").client_auth.method == "client_secret_jwt"

    def test_x9_no_key_in_a_repr(self, settings: Any) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "private_key_jwt", "key": pem(RSA)}
        provider = our_settings.provider()
        assert "PRIVATE" not in repr(provider)
        assert "canary" not in repr(client_auth.credentials(provider))


def test_an_authorization_code_that_is_refused_is_not_repeated_in_the_error(
    authorization_server: Any,
) -> None:
    authorization_server.refuses("invalid_grant", error_description="canary-code is unknown")
    with pytest.raises(oauth.TokenError) as raised:
        oauth.exchange_code(our_settings.provider(), {"code": "canary-code"}, seconds=5)
    assert "canary" not in str(raised.value)
