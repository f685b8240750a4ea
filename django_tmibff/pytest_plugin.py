"""Fixtures for the tests of projects that use this app; pytest finds them by itself.

They import what they need when they are used: pytest loads this file in every project where this
app is installed, before Django is set up, and where there may be no Django at all.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing.provider import LiveOpenIDProvider
    from .testing.wire import AuthorizationServer


@pytest.fixture
def tmibff_authorization_server(request: pytest.FixtureRequest) -> "Iterator[AuthorizationServer]":
    """Answer at your settings' token and revocation endpoints, as the test says; nobody is asked.

    It builds on the fixture ``requests_mock``, in which a test can put more.
    """
    from .testing import commit_at_once, wire

    with commit_at_once():
        yield wire.AuthorizationServer(request.getfixturevalue("requests_mock"))


@pytest.fixture
def tmibff_live_authorization_server() -> "Iterator[LiveOpenIDProvider]":
    """Run an OpenID Provider on a port of this machine, and let your settings name it."""
    from django.test import override_settings

    from .testing.provider import LiveOpenIDProvider

    with LiveOpenIDProvider() as server, override_settings(**server.django_settings()):
        yield server
