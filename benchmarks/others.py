"""The peers that are not Django: apps on Express and Next.js, and Apache's mod_auth_openidc."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import requests

from benchmarks.provider import CLIENT_ID, CLIENT_SECRET, Provider
from benchmarks.stored import CLAIMS, RESPONSE, letters
from tests.real.components import apache_module, node, program
from tests.real.npm import install_packages
from tests.real.processes import Server, answers_http, free_port, run

HERE = Path(__file__).resolve().parent
SECRET = letters(40, 6)


class Peer(Server):
    """A server that signs users in at the provider."""

    sign_in_path = ""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        provider: Provider,
        folder: Path,
        *,
        cwd: Path | None = None,
    ) -> None:
        """Take what to run, where users sign in, and the log's folder."""
        self.provider = provider
        self.port = free_port()
        self.origin = f"http://localhost:{self.port}"
        super().__init__(
            name,
            command,
            folder=folder,
            ready=lambda: answers_http(f"http://127.0.0.1:{self.port}/"),
            cwd=cwd,
        )

    def sign_in(self, *numbers: int) -> list[str]:
        """Sign in as a browser does, once for each number; return the cookies."""
        return [self._cookies() for _ in numbers]

    def _cookies(self) -> str:
        with requests.Session() as browser:
            browser.trust_env = False
            browser.verify = str(self.provider.certificate)
            browser.get(f"{self.origin}{self.sign_in_path}", timeout=30)
            return "; ".join(f"{one.name}={one.value}" for one in browser.cookies)


class Express(Peer):
    """An app of our own over express-openid-connect."""

    sign_in_path = "/login"

    def __init__(self, provider: Provider, folder: Path) -> None:
        """Take where users sign in, and the log's folder."""
        super().__init__("express", [node(), "app.mjs"], provider, folder, cwd=HERE / "express")

    def start(self) -> None:
        """Install the packages where needed, then start."""
        install_packages(HERE / "express")
        self.env = {
            "NODE_ENV": "production",
            "NODE_EXTRA_CA_CERTS": str(self.provider.certificate),
            "PEER": json.dumps(
                {
                    "port": self.port,
                    "origin": self.origin,
                    "issuer": self.provider.issuer,
                    "client_id": CLIENT_ID,
                    "client_secret": CLIENT_SECRET,
                    "secret": SECRET,
                }
            ),
        }
        super().start()


class NextJs(Peer):
    """A Next.js app with nextjs-auth0, whose middleware answers itself."""

    TOKEN = "/auth/access-token"
    FOLDER = HERE / "nextjs"

    def __init__(self, provider: Provider, folder: Path) -> None:
        """Take where users sign in, and the log's folder."""
        next_js = self.FOLDER / "node_modules" / "next" / "dist" / "bin" / "next"
        self._next = [node(), next_js]
        super().__init__("nextjs", self._next, provider, folder, cwd=self.FOLDER)
        self.command = [*self._next, "start", "-H", "127.0.0.1", "-p", str(self.port)]

    def start(self) -> None:
        """Install the packages and build the app where needed, then start."""
        install_packages(self.FOLDER)
        self.env = {
            "NEXT_TELEMETRY_DISABLED": "1",
            "NODE_ENV": "production",
            "APP_BASE_URL": self.origin,
            "AUTH0_DOMAIN": "op.example",
            "AUTH0_CLIENT_ID": CLIENT_ID,
            "AUTH0_CLIENT_SECRET": CLIENT_SECRET,
            "AUTH0_SECRET": SECRET,
        }
        if not self._is_built():
            run([*self._next, "build"], cwd=self.FOLDER, env=self.env)
        super().start()

    def _is_built(self) -> bool:
        built = self.FOLDER / ".next" / "BUILD_ID"
        sources = [*self.FOLDER.glob("*.js*"), *self.FOLDER.glob("app/*")]
        newest = max(source.stat().st_mtime for source in sources)
        return built.exists() and built.stat().st_mtime >= newest

    def sign_in(self, *numbers: int) -> list[str]:
        """Make a session for each number, as if it had signed in; return the cookies."""
        env = {"PEER": json.dumps({"secret": SECRET, "claims": CLAIMS, "tokens": RESPONSE})}
        command = [node(), "session.mjs"]
        return [run(command, cwd=self.FOLDER, env=env).strip() for _ in numbers]


class Apache(Peer):
    """mod_auth_openidc, whose info hook answers with the session's tokens."""

    INFO = "/callback?info=json"
    sign_in_path = "/app"

    def __init__(self, provider: Provider, folder: Path) -> None:
        """Take where users sign in, and the log's folder; raises ``ComponentMissing``."""
        apache = program("apache2")
        apache_module("auth_openidc", package="libapache2-mod-auth-openidc")
        self._file = folder / "apache.conf"
        super().__init__("apache", [apache, "-f", self._file, "-DFOREGROUND"], provider, folder)
        self._folder = folder

    def start(self) -> None:
        """Write the configuration, then start."""
        self._file.write_text("\n".join(self._configuration()))
        super().start()

    def _configuration(self) -> Sequence[str]:
        names = ("mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc")
        modules = [(name, apache_module(name, package="apache2-bin")) for name in names]
        as_user = ["User www-data", "Group www-data"] if os.geteuid() == 0 else []
        return (
            f"ServerRoot {self._folder}",
            f"PidFile {self._folder}/apache.pid",
            f"ErrorLog {self._folder}/apache.log",
            f"DefaultRuntimeDir {self._folder}",
            f"Listen 127.0.0.1:{self.port}",
            "ServerName localhost",
            *(f"LoadModule {name}_module {module}" for name, module in modules),
            *as_user,
            f"DocumentRoot {HERE}",
            "MaxKeepAliveRequests 0",
            f"OIDCProviderMetadataURL {self.provider.issuer}.well-known/openid-configuration",
            f"OIDCCABundlePath {self.provider.certificate}",
            f"OIDCClientID {CLIENT_ID}",
            f"OIDCClientSecret {CLIENT_SECRET}",
            f"OIDCRedirectURI {self.origin}/callback",
            f"OIDCCryptoPassphrase {SECRET}",
            "OIDCScope 'openid profile email'",
            "OIDCCacheType shm",
            "OIDCInfoHook access_token access_token_expires",
            "<Location />",
            "AuthType openid-connect",
            "Require valid-user",
            "</Location>",
        )
