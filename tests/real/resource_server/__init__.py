"""An API that takes only tokens with a DPoP proof (verified by npm's oauth4webapi)."""

import json
from pathlib import Path
from typing import Any

from tests.real.components import node
from tests.real.http import get_json
from tests.real.npm import install_packages
from tests.real.oidc_provider import OidcProvider
from tests.real.processes import Server, answers_http, free_port

HERE = Path(__file__).resolve().parent


class ResourceServer(Server):
    """The API at ``origin``: ``/orders``, for tokens of that provider and audience."""

    def __init__(self, provider: OidcProvider, audience: str, folder: Path) -> None:
        """Take the provider, which runs already, and the log's folder."""
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        config = {
            "port": port,
            "issuer": provider.issuer,
            "jwks_uri": provider.metadata()["jwks_uri"],
            "audience": audience,
        }
        super().__init__(
            "resource-server",
            [node(), "rs.mjs"],
            folder=folder,
            ready=lambda: answers_http(f"{self.origin}/"),
            cwd=HERE,
            env={"RS_CONFIG": json.dumps(config)},
        )

    def start(self) -> None:
        """Install the packages where needed, then start."""
        install_packages(HERE)
        super().start()

    def asked(self) -> Any:
        """Return what has become of each call: ``served``, or why it was refused."""
        return get_json(f"{self.origin}/__asked")
