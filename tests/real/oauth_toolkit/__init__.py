"""django-oauth-toolkit as it comes, as an OpenID Provider on a free loopback port."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from testproject.idp.key import private_key
from tests.real.gunicorn import PROJECT, Gunicorn, environment, migrate
from tests.real.http import get_json, json_of, send
from tests.real.processes import run

NAME = __name__
CLIENT = ("app", "app-secret")
SCOPE = "openid email orders:read orders:write"


class OAuthToolkit(Gunicorn):
    """The OpenID Provider of one relying party; ``issuer`` is its URL.

    Its only user is alice, her password "any"; its only client ``CLIENT``.
    """

    def __init__(self, rp_origin: str, folder: Path) -> None:
        """Take the app's origin, and the folder of the database and the log."""
        super().__init__(folder, workers=1, project=NAME)
        # Cookies know no ports: the app on localhost must not get these.
        self.issuer = self.origin.replace("localhost", "127.0.0.1")
        self._rp_origin = rp_origin
        self._key = private_key(folder / "toolkit-key.pem")
        self._database = folder / "toolkit.sqlite3"
        self.settings = self._settings({})

    def differ(self, differences: Mapping[str, Any]) -> None:
        """Run with those members of ``OAUTH2_PROVIDER``, all others as they come."""
        self.run_with(self._settings(differences))

    def start(self) -> None:
        """Make the database where there is none, then start."""
        if not self._database.exists():
            migrate(self.settings, NAME)
            self._manage("createsuperuser", "--noinput", "--username=alice", "--email=a@b.example")
            self._manage(
                "createapplication",
                "confidential",
                "authorization-code",
                f"--client-id={CLIENT[0]}",
                f"--client-secret={CLIENT[1]}",
                f"--redirect-uris={self._rp_origin}/oidc/callback/",
                f"--post-logout-redirect-uris={self._rp_origin}/",
                "--algorithm=RS256",
                "--skip-authorization",
            )
        super().start()

    def metadata(self) -> dict[str, Any]:
        """Return the discovery document."""
        return get_json(f"{self.issuer}/.well-known/openid-configuration")

    def introspect(self, access_token: str) -> dict[str, Any]:
        """Return what the provider knows of an access token."""
        url = f"{self.issuer}/introspect/"
        return json_of(send("POST", url, data={"token": access_token}, auth=CLIENT))

    def refresh(self, refresh_token: str) -> requests.Response:
        """Return the answer to the client, or to whoever has its secret."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return send("POST", f"{self.issuer}/token/", data=form, auth=CLIENT)

    def userinfo(self, access_token: str) -> requests.Response:
        """Return what the access token is good for at the provider itself."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return send("GET", f"{self.issuer}/userinfo/", headers=headers)

    def django_settings(self) -> dict[str, Any]:
        """Return mozilla-django-oidc's settings."""
        found = self.metadata()
        return {
            "OIDC_OP_ISSUER": self.issuer,
            "OIDC_OP_AUTHORIZATION_ENDPOINT": found["authorization_endpoint"],
            "OIDC_OP_TOKEN_ENDPOINT": found["token_endpoint"],
            "OIDC_OP_USER_ENDPOINT": found["userinfo_endpoint"],
            "OIDC_OP_JWKS_ENDPOINT": found["jwks_uri"],
            "OIDC_OP_END_SESSION_ENDPOINT": found["end_session_endpoint"],
            # Its metadata does not tell.
            "OIDC_OP_REVOCATION_ENDPOINT": f"{self.issuer}/revoke_token/",
            "OIDC_RP_CLIENT_ID": CLIENT[0],
            "OIDC_RP_CLIENT_SECRET": CLIENT[1],
            "OIDC_RP_SIGN_ALGO": "RS256",
            "OIDC_RP_SCOPES": SCOPE,
            "OIDC_USE_PKCE": True,
            "OIDC_TOKEN_USE_BASIC_AUTH": True,
        }

    def _manage(self, *command: str) -> None:
        env = {**environment(self.settings, NAME), "DJANGO_SUPERUSER_PASSWORD": "any"}
        run([sys.executable, "manage.py", *command], cwd=PROJECT, env=env)

    def _settings(self, differences: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": str(self._database),
                    "OPTIONS": {"transaction_mode": "IMMEDIATE"},
                }
            },
            "OAUTH2_PROVIDER": {
                "OIDC_ISS_ENDPOINT": self.issuer,
                "OIDC_RSA_PRIVATE_KEY": self._key,
                **differences,
            },
        }
