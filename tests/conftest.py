"""Fixtures: a user, a page in that user's browser, and an authorization server on requests-mock."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import caches
from django.db import connections
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from django_tmibff import deferral, transport
from django_tmibff.models import TokenSet
from django_tmibff.testing import commit_at_once
from tests.authorization_server import AuthorizationServer
from tests.dpop_site import ORDERS
from tests.page import Page
from tests.proofs import PageKey
from tests.real.components import ComponentMissing
from tests.real.session import DATABASE_SERVERS
from tests.real.strict_server import StrictServer

# Whose tests take some minutes together.
LONGEST = ("test_real_attacks.py",)

# How long an example takes is the machine's business. A fixture may serve many: each asks anew.
hypothesis_settings.register_profile(
    "anywhere",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hypothesis_settings.load_profile("anywhere")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Skip a test whose real component is not there; under ``CI`` nothing may be skipped."""
    try:
        return (yield)
    except ComponentMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end all processes have something to do."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def requests_end() -> Iterator[None]:
    """Let no test leave a request open: what waits for its end would wait in the next test too."""
    yield
    assert deferral._waiting.get() is None


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> Iterator[None]:
    """Start a server of our own when ``TEST_DATABASE`` is ``postgresql`` or ``mariadb``."""
    if settings.TEST_DATABASE == "sqlite":
        yield
        return
    with DATABASE_SERVERS[settings.TEST_DATABASE]() as server:
        connections["default"].settings_dict.update(server.settings("tests"))
        yield
        connections.close_all()


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Let no test see what another has left in this process's cache."""
    caches["default"].clear()


@pytest.fixture(autouse=True)
def caches_are_written() -> Iterator[ExitStack]:
    """Let caches be written in a test's own transaction, never committed, until this is closed."""
    with ExitStack() as until_closed:
        until_closed.enter_context(commit_at_once())
        yield until_closed


@pytest.fixture
def new_pool() -> Iterator[None]:
    """Let the calls of the test be made over connections of its own."""
    transport._session.cache_clear()
    yield
    transport._session().close()
    transport._session.cache_clear()


@pytest.fixture
def without_fast_path(settings: Any) -> None:
    """For what is about the view alone, where tests.settings_fast_path puts more before it."""
    fast = "django_tmibff.middleware.WarmTokenMiddleware"
    settings.MIDDLEWARE = [path for path in settings.MIDDLEWARE if path != fast]


@pytest.fixture
def user(db: None) -> Any:
    """Somebody who can sign in."""
    return get_user_model().objects.create_user("alice", password="wonderland")


@pytest.fixture
def page() -> Page:
    """A page of ours in a browser, nobody signed in."""
    return Page()


@pytest.fixture
def signed_in(page: Page, user: Any) -> Callable[..., Page]:
    """Sign ``user`` in and keep the tokens of a sign-in; takes members of the token response."""

    def sign_in(**token_response: Any) -> Page:
        page.sign_in(user)
        page.store(token_response)
        return page

    return sign_in


@pytest.fixture
def dpop_required(settings: Any) -> None:
    """Let no token be handed out that is not bound to its page's key, nor asked for but ORDERS'."""
    settings.TMIBFF_DPOP = "required"
    settings.TMIBFF_RESOURCES = [ORDERS]


@pytest.fixture
def key() -> PageKey:
    """The key of a page that makes proofs."""
    return PageKey()


@pytest.fixture
def authorization_server() -> Iterator[AuthorizationServer]:
    """The authorization server of the settings: answers as it is told to, and counts."""
    with requests_mock.Mocker() as mocker:
        mocker.post(requests_mock.ANY, exc=AssertionError)
        yield AuthorizationServer(mocker)


@pytest.fixture(scope="module")
def strict_server() -> Iterator[StrictServer]:
    """The authorization server of real apps: rotates, and forgives no reuse."""
    with StrictServer() as server:
        yield server


@pytest.fixture
def server(strict_server: StrictServer) -> StrictServer:
    """The same server, which has counted nothing yet."""
    strict_server.reset()
    return strict_server


@pytest.fixture
def token_set() -> Callable[[], TokenSet]:
    """Return the only token set, as it is now."""
    return lambda: TokenSet.objects.get()


@pytest.fixture
def staff(db: None) -> Callable[..., Page]:
    """Sign somebody in who may do what is named; without names, all."""

    def sign_in(*permissions: str) -> Page:
        person = get_user_model().objects.create_user(f"staff-{secrets.token_hex(4)}")
        person.is_staff = True
        person.is_superuser = not permissions
        person.save()
        names = [f"{name}_tokenset" for name in permissions]
        person.user_permissions.set(Permission.objects.filter(codename__in=names))
        page = Page()
        page.sign_in(person)
        return page

    return sign_in


@pytest.fixture
def operator(staff: Any) -> Page:
    """Somebody who may do everything."""
    return staff()


@pytest.fixture
def row(db: None) -> Callable[..., TokenSet]:
    """Make a record without tokens of a new user."""

    def make(name: str = "", **columns: Any) -> TokenSet:
        users = get_user_model().objects
        expires_at = timezone.now() + timedelta(hours=1)
        columns = {"provider": "default", "expires_at": expires_at, **columns}
        return TokenSet.objects.create(user=users.create_user(name) if name else None, **columns)

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the logs of real servers."""
    return tmp_path
