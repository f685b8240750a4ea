"""What a renewal and a sign-in ask of the database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_tmibff.models import TokenSet
from tests.openid_provider import OpenIDProvider
from tests.page import Page

TABLE = TokenSet._meta.db_table
CALL = "the authorization server is asked"


@contextmanager
def statements(server: Any = None) -> Iterator[list[str]]:
    """Collect what is asked of the token sets' table, and when ``server`` is asked."""
    found: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        asked_at: list[int] = []
        if server is not None:
            server.before_answering = lambda: asked_at.append(len(captured))
        yield found
    for number, query in enumerate(captured):
        found += [CALL] * asked_at.count(number)
        if TABLE in query["sql"]:
            found.append(query["sql"].split()[0])


def writes(asked: Sequence[str]) -> list[str]:
    """Return those that change something."""
    return [statement for statement in asked if statement not in ("SELECT", CALL)]


def test_renewal_reads_once_inside_the_lease_before_it_asks(
    signed_in: Any, authorization_server: Any
) -> None:
    page = signed_in(expires_in=0)
    with statements(authorization_server) as asked:
        assert page.token()["access_token"] == "fresh-1"
    lease = asked.index("UPDATE")
    assert asked[lease:][:3] == ["UPDATE", "SELECT", CALL]


def test_renewal_writes_three_times_at_most(signed_in: Any, authorization_server: Any) -> None:
    """The lease, the tokens that came, and where those are in a cache the lease's return."""
    page = signed_in(expires_in=0)
    with statements(authorization_server) as asked:
        page.token()
    assert CALL in asked
    assert writes(asked) in (["UPDATE"] * 2, ["UPDATE"] * 3)


def test_sign_in_writes_one_row(db: None, page: Page, authorization_server: Any) -> None:
    provider = OpenIDProvider(authorization_server)
    with statements() as asked:
        provider.sign_in(page)
    assert TokenSet.objects.count() == 1
    assert writes(asked) == ["INSERT"]


def test_keeping_tokens_of_another_sign_in_writes_one_row(page: Page, user: Any) -> None:
    page.sign_in(user)
    with statements() as asked:
        page.store()
    assert writes(asked) == ["INSERT"]
