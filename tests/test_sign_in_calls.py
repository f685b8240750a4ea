"""The calls that a sign-in makes for keys and claims, against real sockets: B6, DESIGN (c) 3."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.core.exceptions import SuspiciousOperation
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from django_tmibff.backends import OIDCAuthenticationBackend
from tests.openid_provider import ISSUER, OpenIDProvider
from tests.page import SESSION_INFO, Page
from tests.real.raw_server import RawServer, http

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("new_pool")]

# What each endpoint is called in the settings, and in what is logged when it fails.
ENDPOINTS = {
    "OIDC_OP_JWKS_ENDPOINT": "the provider's token does not verify",
    "OIDC_OP_USER_ENDPOINT": "the provider's userinfo endpoint gave no claims",
}
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


@pytest.fixture
def provider(authorization_server: Any) -> OpenIDProvider:
    return OpenIDProvider(authorization_server)


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: Any) -> str:
    """The setting of an endpoint that a sign-in reads from."""
    return request.param


@pytest.fixture
def refused(page: Page, provider: OpenIDProvider, settings: Any, caplog: Any, endpoint: str) -> Any:
    """Sign in with that endpoint at a server; return what the log says of the failure."""

    def sign_in(server: RawServer) -> str:
        provider.server.mocker.get(server.url, real_http=True)
        setattr(settings, endpoint, server.url)
        with caplog.at_level(logging.WARNING):
            callback = provider.sign_in(page)
        assert callback["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE
        assert page.fetch(SESSION_INFO).status_code != 200
        assert len(server.requests) == 1
        [line] = [m for m in caplog.messages if ENDPOINTS[endpoint] in m]
        assert "canary" not in caplog.text
        return line

    return sign_in


class TestLimits:
    def test_no_redirect_is_followed(self, refused: Any) -> None:
        """What is behind it may be an address that only this host reaches."""
        with RawServer(lambda: [http(b'{"keys": [], "sub": "alice"}')]) as elsewhere:
            moved = http(b"", status="302 Found", headers=f"Location: {elsewhere.url}\r\n")
            with RawServer(lambda: [moved]) as server:
                line = refused(server)
            assert elsewhere.requests == []
        assert "302" in line
        assert "no redirect is followed" in line

    def test_an_answer_without_end_is_not_read_to_it(self, refused: Any) -> None:
        def script() -> Iterator[bytes]:
            yield ENDLESS
            while True:
                yield b" " * 65536

        with RawServer(script) as server:
            assert "larger than 262144 bytes" in refused(server)

    def test_a_server_that_drips_is_hung_up_on_in_time(self, refused: Any, settings: Any) -> None:
        settings.OIDC_TIMEOUT = 0.4
        stop = threading.Event()

        def script() -> Iterator[bytes]:
            yield ENDLESS
            while not stop.wait(0.05):
                yield b" "

        with RawServer(script) as server:
            started = time.monotonic()
            line = refused(server)
            took = time.monotonic() - started
            stop.set()
        assert "no complete answer came within 0.4 seconds (OIDC_TIMEOUT)" in line
        assert 0.3 < took < 2.0

    def test_a_refusal_is_told_of(self, refused: Any) -> None:
        with RawServer(lambda: [http(b"{}", status="403 Forbidden")]) as server:
            assert "status 403" in refused(server)


class TestRequest:
    @pytest.fixture(autouse=True)
    def netrc(self, tmp_path: Path, monkeypatch: Any) -> None:
        """A file with credentials, which requests looks into by itself."""
        file = tmp_path / "netrc"
        file.write_text("machine 127.0.0.1 login wrong password wrong\n")
        monkeypatch.setenv("NETRC", str(file))

    def test_credentials_are_not_taken_from_a_netrc_file(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        claims = http(json.dumps({"sub": "alice", "email": "alice@op.example"}).encode())
        keys = http(json.dumps({"keys": [provider.jwk()]}).encode())
        with RawServer(lambda: [claims]) as userinfo, RawServer(lambda: [keys]) as jwks:
            for name, server in (("USER", userinfo), ("JWKS", jwks)):
                provider.server.mocker.get(server.url, real_http=True)
                setattr(settings, f"OIDC_OP_{name}_ENDPOINT", server.url)
            assert provider.sign_in(page)["Location"] == "/"
        assert b"Authorization: Bearer canary-access-of-alice\r\n" in userinfo.requests[0]
        assert b"Authorization" not in jwks.requests[0]

    def test_the_sites_certificates_and_proxies_count(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        settings.OIDC_VERIFY_SSL = "/the/ca.pem"
        settings.OIDC_PROXY = {"https": "http://proxy.example"}
        provider.sign_in(page)
        asked = {r.url: r for r in provider.server.mocker.request_history}
        for name in ("jwks", "userinfo"):
            request = asked[f"{ISSUER}/{name}"]
            assert request.verify == "/the/ca.pem"
            assert request.proxies["https"] == "http://proxy.example"


class TestUserinfo:
    def test_it_may_come_as_a_jwt(
        self, page: Page, provider: OpenIDProvider, settings: Any
    ) -> None:
        said = {"sub": "alice", "email": "alice@op.example", "name": "Alice of the JWT"}
        signed = {
            "text": provider.signed(said),
            "headers": {"Content-Type": "Application/JWT; charset=utf-8"},
        }
        provider.server.mocker.get(f"{ISSUER}/userinfo", **signed)
        assert provider.sign_in(page)["Location"] == "/"
        assert json.loads(page.fetch(SESSION_INFO).content)["name"] == "Alice of the JWT"

    @pytest.mark.parametrize("text", ["a.b.c", "\xff", ""])
    def test_one_that_does_not_verify_is_refused(
        self, page: Page, provider: OpenIDProvider, settings: Any, text: str
    ) -> None:
        answer = {"content": text.encode("latin-1"), "headers": {"Content-Type": "application/jwt"}}
        provider.server.mocker.get(f"{ISSUER}/userinfo", **answer)
        assert provider.sign_in(page)["Location"] == settings.LOGIN_REDIRECT_URL_FAILURE


NAMED = {"kid": "k", "alg": "RS256"}
KEY_SETS: dict[str, list[dict[str, Any]]] = {
    "the-one": [NAMED],
    "another-name": [{**NAMED, "kid": "other"}],
    "one-of-two": [{**NAMED, "kid": "other"}, NAMED],
    "another-algorithm": [{**NAMED, "alg": "RS512"}],
    "same-name-two-algorithms": [{**NAMED, "alg": "RS512"}, NAMED],
    "no-algorithm": [{"kid": "k"}],
    "no-name": [{"alg": "RS256"}],
    "no-name-beside": [NAMED, {"alg": "RS256"}],
    "twice": [NAMED, {**NAMED, "use": "sig"}],
    "for-encryption": [{**NAMED, "use": "enc"}],
    "name-number": [{**NAMED, "kid": 7}],
    "none": [],
}


class TestKey:
    """Which key counts is what mozilla-django-oidc says; the call for it is ours."""

    @pytest.mark.parametrize("verifies_kid", [True, False])
    @pytest.mark.parametrize("header", [{}, {"kid": None}, {"kid": "unknown"}], ids=str)
    @pytest.mark.parametrize("published", KEY_SETS.values(), ids=KEY_SETS.keys())
    def test_it_is_the_one_that_mozilla_django_oidc_takes(
        self,
        provider: OpenIDProvider,
        settings: Any,
        published: list[dict[str, Any]],
        header: dict[str, Any],
        verifies_kid: bool,
    ) -> None:
        settings.OIDC_VERIFY_KID = verifies_kid
        material = {n: v for n, v in provider.jwk().items() if n not in NAMED}
        provider.publishes(*({**material, **members} for members in published))
        token = provider.signed({"sub": "alice"}, **header)
        ours, theirs = (self.taken(of, token) for of in (OIDCAuthenticationBackend, MozillaBackend))
        assert ours == theirs

    @staticmethod
    def taken(backend: Any, token: str) -> Any:
        """Return the members of the key that is taken; nothing where none is."""
        try:
            return backend().retrieve_matching_jwk(token)._jwk_data
        except (SuspiciousOperation, jwt.PyJWTError, LookupError):
            return None
