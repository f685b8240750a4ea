"""A certified OpenID Provider (npm's oidc-provider) on a free loopback port."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.real.components import node
from tests.real.http import get_json, json_of, send
from tests.real.npm import install_packages
from tests.real.processes import Server, answers_http, free_port

HERE = Path(__file__).resolve().parent
IDENTITY_SCOPE = "openid email profile"
ORDERS = "https://api.example/orders"
MAIL = "https://api.example/mail"
PAYMENTS = "https://api.example/payments"
# Every scope that there is: a refresh can narrow a sign-in's scope, never widen it.
ALL_SCOPE = f"{IDENTITY_SCOPE} orders:read orders:write mail:read payments"


class OidcProvider(Server):
    """The OpenID Provider of one relying party; ``issuer`` is its URL.

    Clients: ``rotate``, ``rotate-post`` (its secret goes in the body), ``norotate``, and
    ``strict``, which gets only the resources that its sign-in named.
    """

    def __init__(
        self,
        rp_origin: str,
        folder: Path,
        *,
        access_token_ttl: int = 300,
        refresh_token_ttl: int = 3600,
        clients: Iterable[Mapping[str, Any]] = (),
        dpop_nonce_clients: Iterable[str] = (),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """Take the app's origin, the log's folder, and the tokens' lifetimes in seconds.

        ``clients``: what they have beside what all have, as they would be registered (OpenID
        Connect Dynamic Client Registration §2). ``dpop_nonce_clients``: those whose DPoP proofs
        must repeat a nonce. ``certificate``: with its key; then clients can
        show theirs, at ``mtls_endpoint_aliases``, and it is the authority for them.
        """
        port = free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        config = {
            "port": port,
            "issuer": self.issuer,
            "redirect_uris": [f"{rp_origin}/oidc/callback/"],
            "post_logout_redirect_uris": [f"{rp_origin}/"],
            # The provider's host may find ::1 under that name, where nobody listens.
            "backchannel_logout_uri": rp_origin.replace("localhost", "127.0.0.1")
            + "/bff/backchannel-logout",
            "access_token_ttl": access_token_ttl,
            "refresh_token_ttl": refresh_token_ttl,
            "clients": list(clients),
            "dpop_nonce_clients": list(dpop_nonce_clients),
            "tls": None if certificate is None else _tls(*certificate),
        }
        super().__init__(
            "oidc-provider",
            [node(), "op.mjs"],
            folder=folder,
            ready=lambda: answers_http(f"{self.issuer}/__ready"),
            cwd=HERE,
            env={"OP_CONFIG": json.dumps(config)},
        )

    def start(self) -> None:
        """Install the packages where needed, then start."""
        install_packages(HERE)
        super().start()

    def seen(self) -> dict[str, Any]:
        """Return ``requests``, ``refresh_token_reused`` and ``token_requests`` since the start."""
        return get_json(f"{self.issuer}/__seen")

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document."""
        return get_json(f"{self.issuer}/.well-known/openid-configuration")

    def introspect(self, token: str) -> dict[str, Any]:
        """Return what the provider knows of an opaque token; it refuses to look at JWTs."""
        url = self.metadata()["introspection_endpoint"]
        return json_of(send("POST", url, data={"token": token}, auth=("rs", "rs-secret")))

    def refresh(self, client_id: str, refresh_token: str) -> requests.Response:
        """Return the answer to that client, or to whoever has its secret."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        secret = (client_id, f"{client_id}-secret")
        return send("POST", self.metadata()["token_endpoint"], data=form, auth=secret)

    def django_settings(self, client_id: str, scope: str = IDENTITY_SCOPE) -> dict[str, Any]:
        """Return mozilla-django-oidc's settings for one of the clients."""
        found = self.metadata()
        return {
            "OIDC_OP_ISSUER": self.issuer,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": found["authorization_endpoint"],
            "OIDC_OP_TOKEN_ENDPOINT": found["token_endpoint"],
            "OIDC_OP_USER_ENDPOINT": found["userinfo_endpoint"],
            "OIDC_OP_JWKS_ENDPOINT": found["jwks_uri"],
            "OIDC_OP_REVOCATION_ENDPOINT": found["revocation_endpoint"],
            "OIDC_OP_END_SESSION_ENDPOINT": found["end_session_endpoint"],
            "OIDC_RP_CLIENT_ID": client_id,
            "OIDC_RP_CLIENT_SECRET": f"{client_id}-secret",
            "OIDC_RP_SIGN_ALGO": "RS256",
            "OIDC_RP_SCOPES": scope,
            "OIDC_USE_PKCE": True,
            "OIDC_TOKEN_USE_BASIC_AUTH": client_id != "rotate-post",
        }


def _tls(certificate: Path, key: Path) -> dict[str, Any]:
    paths = {"certificate": certificate, "key": key, "authority": certificate}
    return {"port": free_port(), **{name: str(path) for name, path in paths.items()}}
