"""B3: each way of authenticating this site, at a certified OpenID Provider."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.real.browser import Browser
from tests.real.certificates import Paths, make_certificate, public_jwk
from tests.real.gunicorn import Gunicorn, migrate
from tests.real.oidc_provider import OidcProvider
from tests.real.page import Page, signed_in_page
from tests.real.processes import wait_until
from tests.real.session import databases

pytestmark = pytest.mark.real

SECONDS = 5.0
KID = "2026-01"
# What a header must encode (RFC 6749 §2.3.1), and long enough to sign with.
SECRET = "canary 100%+ :&=/ for the provider"
SECRET_METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
TLS_METHODS = ("tls_client_auth", "self_signed_tls_client_auth")
FORMS = ("pem", "jwk")
NEW_KEY = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "PS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
NAMES = [*SECRET_METHODS, *(f"{alg}-{form}" for alg in NEW_KEY for form in FORMS), *TLS_METHODS]


@dataclass(frozen=True)
class Client:
    """A client as the provider registers it; members that make this site that client, or almost."""

    registered: Mapping[str, Any]
    right: Mapping[str, Any]
    wrong: Mapping[str, Any]


def by_secret(method: str) -> Client:
    """Return a client whose id, too, must be encoded."""
    client_id = f"odd:id+{method}"
    registered = {"client_id": client_id, "client_secret": SECRET}
    right = {**registered, "client_auth": {"method": method}}
    return Client(
        {**registered, "token_endpoint_auth_method": method},
        right,
        {**right, "client_secret": f"not the {SECRET}"},
    )


def by_key(alg: str) -> dict[str, Client]:
    """Return a client that signs with ``alg``: once with the key as PEM, once as JWK."""
    key, other, former = (NEW_KEY[alg]() for _ in range(3))
    registered = {
        "client_id": alg,
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": alg,
        # As while keys are changed: the kid tells which.
        "jwks": {"keys": [jwk(former.public_key(), alg, "2025-12"), jwk(key.public_key(), alg)]},
    }
    return {
        f"{alg}-{form}": Client(registered, signing(key, alg, form), signing(other, alg, form))
        for form in FORMS
    }


def by_certificate(method: str, folder: Path, authority: Paths) -> Client:
    """Return a client that shows a certificate: one of the authority, or one it has registered."""
    folder.mkdir()
    self_signed = make_certificate(folder, name="shop")
    signed = make_certificate(folder, name="shop-signed", issuer=authority)
    if method == "tls_client_auth":
        right, wrong = signed, self_signed
        of_certificate: dict[str, Any] = {"tls_client_auth_subject_dn": "CN=shop-signed"}
    else:
        right, wrong = self_signed, signed
        of_certificate = {"jwks": {"keys": [public_jwk(right[0])]}}
    return Client(
        {"client_id": method, "token_endpoint_auth_method": method, **of_certificate},
        showing(method, right),
        showing(method, wrong),
    )


def signing(key: Any, alg: str, form: str) -> dict[str, Any]:
    """Return the members of a client with that private key."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    as_it_is_given = {"key": pem, "kid": KID} if form == "pem" else {"key": jwk(key, alg)}
    client_auth = {"method": "private_key_jwt", "alg": alg, **as_it_is_given}
    return {"client_id": alg, "client_secret": "", "client_auth": client_auth}


def showing(method: str, paths: Paths) -> dict[str, Any]:
    """Return the members of a client with that certificate and key."""
    client_auth = {"method": method, "certificate": [str(path) for path in paths]}
    return {"client_id": method, "client_secret": "", "client_auth": client_auth}


def jwk(key: Any, alg: str, kid: str = KID) -> dict[str, Any]:
    text = jwt.get_algorithm_by_name(alg).to_jwk(key)
    return {**json.loads(text), "kid": kid, "use": "sig", "alg": alg}


def all_clients(folder: Path, authority: Paths) -> dict[str, Client]:
    """Return the clients by the names that they have as providers in this site's settings."""
    clients = {method: by_secret(method) for method in SECRET_METHODS}
    for alg in NEW_KEY:
        clients |= by_key(alg)
    for method in TLS_METHODS:
        clients[method] = by_certificate(method, folder / method, authority)
    return clients


def registered(clients: Mapping[str, Client], origins: Sequence[str]) -> list[dict[str, Any]]:
    """Return the clients as the provider registers them, each with its names' redirect URIs."""
    found: dict[str, dict[str, Any]] = {}
    for name, client in clients.items():
        one = found.setdefault(
            client.registered["client_id"], {**client.registered, "redirect_uris": []}
        )
        one["redirect_uris"] += [f"{origin}/bff/callback/{name}" for origin in origins]
    return list(found.values())


@dataclass(frozen=True)
class Sites:
    """The provider; this site as all of its clients, and in another process as almost all."""

    clients: Mapping[str, Client]
    provider: OidcProvider
    right: Gunicorn
    wrong: Gunicorn

    def is_active(self, answer: Mapping[str, Any]) -> bool:
        return bool(self.provider.introspect(answer["access_token"])["active"])


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """All of them running; both processes of the site have the same sessions."""
    folder = tmp_path_factory.mktemp("sites")
    certificate = make_certificate(folder)
    clients = all_clients(folder, certificate)
    right, wrong = Gunicorn(folder, workers=1), Gunicorn(folder, workers=1)
    provider = OidcProvider(
        right.origin,
        folder,
        clients=registered(clients, [right.origin, wrong.origin]),
        certificate=certificate,
    )
    with databases("sqlite", folder) as found, provider:
        usual = {
            **provider.django_settings("rotate"),
            "DATABASES": found,
            "OIDC_VERIFY_SSL": str(certificate[0]),
        }
        aliases = provider.metadata()["mtls_endpoint_aliases"]
        endpoints = {name: aliases if name in TLS_METHODS else {} for name in clients}
        of_right = {name: {**client.right, **endpoints[name]} for name, client in clients.items()}
        of_wrong = {name: {**client.wrong, **endpoints[name]} for name, client in clients.items()}
        right.settings = {**usual, "TMIBFF_PROVIDERS": of_right}
        wrong.settings = {**usual, "TMIBFF_PROVIDERS": of_wrong}
        migrate(usual)
        with right, wrong:
            yield Sites(clients, provider, right, wrong)
    for secret in (SECRET, "PRIVATE", '"d":'):
        assert secret not in right.log()
        assert secret not in wrong.log()


@pytest.fixture
def page(sites: Sites, name: str) -> Iterator[Page]:
    """A page of the site into which alice has signed in at that client's provider."""
    with signed_in_page(sites.right, f"/bff/login?provider={name}") as page:
        yield page


@pytest.mark.parametrize("name", NAMES)
def test_b3_sign_in_renewal_and_revocation_succeed(sites: Sites, page: Page, name: str) -> None:
    first, renewed = page.token(), page.token("?scope=openid")
    client_id = sites.clients[name].registered["client_id"]
    for answer in (first, renewed):
        assert sites.provider.introspect(answer["access_token"])["client_id"] == client_id
    assert renewed["scope"] == "openid"
    page.post("/bff/logout")
    # With the refresh token the provider ends all that came of the sign-in.
    wait_until(lambda: not sites.is_active(first), SECONDS, "revoked")
    assert not sites.is_active(renewed)


@pytest.mark.parametrize("name", NAMES)
def test_x5_a_wrong_one_is_an_invalid_client_and_harms_no_session(
    sites: Sites, page: Page, name: str
) -> None:
    first, there = page.token(), Page(sites.wrong, page.browser)
    logged = len(sites.wrong.log())
    answer = there.fetch("/.well-known/bff-token?scope=openid").json()
    assert answer.get("error") == "invalid_client"
    assert "login_url" not in answer
    assert page.token("?scope=openid")["scope"] == "openid"
    # Nor does anybody sign in with it, and what cannot be revoked stays owed.
    with Browser() as browser:
        arrived = browser.sign_in(f"{sites.wrong.origin}/bff/login?provider={name}", "bob")
    assert arrived.url == f"{sites.wrong.origin}/?sign-in=failed"
    there.post("/bff/logout")
    assert page.refusal() == "invalid_session"
    revoked = "not revoked: invalid_client"
    wait_until(lambda: revoked in sites.wrong.log()[logged:], SECONDS, "logged")
    assert sites.is_active(first)
    assert "not renewed: invalid_client" in sites.wrong.log()[logged:]
    assert "gave no tokens (invalid_client" in sites.wrong.log()[logged:]
