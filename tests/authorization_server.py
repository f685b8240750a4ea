"""The testing kit's authorization server, at the endpoints of an issuer."""

import requests_mock

from django_tmibff.testing import wire
from tests.addresses import ISSUER


class AuthorizationServer(wire.AuthorizationServer):
    """It is there whatever a test's settings say."""

    def __init__(self, mocker: requests_mock.Mocker, issuer: str = ISSUER) -> None:
        super().__init__(mocker, f"{issuer}/token", f"{issuer}/revoke")
        self.issuer = issuer
