"""Fixtures: each store on a real Redis, and an authorization server that can be broken."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches

from tests.faults.server import FaultyServer
from tests.faults.table import ORDERS, STORES
from tests.page import SIGN_IN
from tests.real.redis import Redis


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis that no test may stop."""
    with Redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, settings: Any, shared_redis: Redis) -> str:
    """The name of the store, whose cache is empty."""
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
    settings.CACHES = shared_redis.settings()
    caches["default"].clear()
    return request.param


@pytest.fixture
def server(settings: Any, new_pool: None) -> Iterator[FaultyServer]:
    """The app's authorization server, which is well and knows the sign-in's refresh token."""
    settings.TMIBFF_RESOURCES = [ORDERS]
    with FaultyServer(SIGN_IN["refresh_token"]) as server:
        settings.OIDC_OP_TOKEN_ENDPOINT = server.url
        yield server
