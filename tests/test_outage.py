"""An authorization server that does not answer costs a time-out once, not for each worker (X5)."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db.models import F
from urllib3.exceptions import ProtocolError, ReadTimeoutError

from django_tmibff.models import Note, TokenSet
from tests.page import SIGN_IN, Page
from tests.test_sign_in import contents_of

pytestmark = pytest.mark.django_db

NOBODY_THERE = {"exc": requests.ConnectionError("refused")}
BROKEN = {"status_code": 503}
# What requests makes of a server that takes the request, and then hangs up or says no more.
FELL_SILENT = {
    "hung-up": {"exc": requests.ConnectionError(ProtocolError("Connection aborted."))},
    "slow": {"exc": requests.ConnectionError(ReadTimeoutError(None, None, "Read timed out."))},
}


@pytest.fixture(autouse=True)
def outages(settings: Any) -> None:
    settings.TMIBFF_OUTAGE_SECONDS = 2


@pytest.fixture
def expired(signed_in: Any) -> Page:
    return signed_in(expires_in=0)


@pytest.fixture
def other(django_user_model: Any) -> Page:
    """Another user's page, whose token has expired too."""
    page = Page()
    page.sign_in(django_user_model.objects.create_user("bob", password="builder"))
    page.store({"expires_in": 0, "refresh_token": "canary-of-bob"})
    return page


@pytest.fixture
def let_pass(monkeypatch: Any) -> Callable[[float], None]:
    """Let the shared facts age, wherever the store keeps them."""
    passed = 0.0
    started = time.time

    def pass_(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        monkeypatch.setattr("time.time", lambda: started() + passed)
        Note.objects.update(expires_at=F("expires_at") - timedelta(seconds=seconds))

    return pass_


def retry_after(page: Page) -> int:
    answer = page.fetch()
    assert json.loads(answer.content)["error"] == "temporarily_unavailable"
    return int(answer.headers["Retry-After"])


def test_x5_after_a_failed_connection_nobody_asks_for_a_moment(
    expired: Page, other: Page, authorization_server: Any
) -> None:
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    assert [retry_after(page) for page in (expired, other, other)] == [2, 2, 2]
    assert authorization_server.calls == 1


def test_x5_one_token_sets_failures_are_no_outage(
    expired: Page, other: Page, authorization_server: Any
) -> None:
    for _ in range(3):
        authorization_server.answers(**BROKEN)
        retry_after(expired)
    assert other.token()["access_token"] == "fresh-4"


@pytest.mark.parametrize("answer", FELL_SILENT.values(), ids=FELL_SILENT.keys())
def test_x5_silence_after_the_request_is_no_failed_connection(
    expired: Page, other: Page, authorization_server: Any, answer: dict[str, Any]
) -> None:
    """It may be one resource's, and that blocks nobody."""
    authorization_server.answers(**answer)
    retry_after(expired)
    assert other.token()["access_token"] == "fresh-2"


def test_x5_two_token_sets_failures_are_one(
    expired: Page, other: Page, authorization_server: Any
) -> None:
    for page in (expired, other):
        authorization_server.answers(**BROKEN)
        retry_after(page)
    retry_after(expired)
    assert authorization_server.calls == 2


@pytest.mark.parametrize(("same", "is_outage"), [(True, False), (False, True)])
def test_x5_one_broken_resource_blocks_nobody(
    expired: Page,
    other: Page,
    authorization_server: Any,
    settings: Any,
    same: bool,
    is_outage: bool,
) -> None:
    orders, mail = "https://api.example/orders", "https://api.example/mail"
    settings.TMIBFF_RESOURCES = [orders, mail]
    asked = [(expired, orders), (other, orders if same else mail)]
    for page, resource in asked:
        authorization_server.answers(**BROKEN)
        assert page.refusal(resource=resource)["error"] == "temporarily_unavailable"
    answer = json.loads(expired.fetch().content)
    assert ("error" in answer) is is_outage


def test_r10_a_token_that_still_works_is_served_meanwhile(
    expired: Page, other: Page, authorization_server: Any, monkeypatch: Any
) -> None:
    other.store({"expires_in": 100})
    shortly_before = time.time() + 90
    monkeypatch.setattr("time.time", lambda: shortly_before)
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    assert other.token()["access_token"] == SIGN_IN["access_token"]
    assert authorization_server.calls == 1


def test_x5_then_one_probes_and_an_answer_ends_it(
    expired: Page, other: Page, authorization_server: Any, caplog: Any, let_pass: Any
) -> None:
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    let_pass(3)
    asked_meanwhile: list[int] = []
    authorization_server.before_answering = lambda: asked_meanwhile.append(retry_after(other))
    assert expired.token()["access_token"] == "fresh-2"
    assert asked_meanwhile == [1]
    authorization_server.before_answering = lambda: None
    assert other.token()["access_token"] == "fresh-3"
    assert "answers again" in caplog.text


@pytest.mark.parametrize("error", ["invalid_client", "invalid_scope"])
def test_x5_a_refusal_is_an_answer_too(
    expired: Page, other: Page, authorization_server: Any, error: str, let_pass: Any
) -> None:
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    let_pass(3)
    authorization_server.refuses(error)
    assert expired.refusal()["error"] == error
    assert other.token()["access_token"] == "fresh-3"


def test_x5_each_failed_probe_doubles_the_time_up_to_half_a_minute(
    expired: Page, authorization_server: Any, let_pass: Any
) -> None:
    seconds = []
    for _ in range(6):
        authorization_server.answers(**NOBODY_THERE)
        expired.refusal()
        seconds.append(retry_after(expired))
        let_pass(seconds[-1] + 1)
    assert seconds == [2, 4, 8, 16, 30, 30]
    assert authorization_server.calls == 6


def test_x5_failures_at_once_count_once(
    expired: Page, other: Page, authorization_server: Any
) -> None:
    def another_fails_first() -> None:
        authorization_server.before_answering = lambda: None
        authorization_server.answers(**NOBODY_THERE)
        retry_after(other)

    authorization_server.before_answering = another_fails_first
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    assert retry_after(expired) == 2


def test_x5_a_prober_that_crashed_is_replaced(
    expired: Page, authorization_server: Any, let_pass: Any
) -> None:
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    let_pass(3)
    authorization_server.answers(exc=SystemExit(1))
    with pytest.raises(SystemExit):
        expired.fetch()
    assert retry_after(expired) == 1
    let_pass(11)
    assert expired.token()["access_token"] == "fresh-3"


def test_r12_no_refresh_token_suffers(expired: Page, authorization_server: Any) -> None:
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    assert contents_of(TokenSet.objects.get()).refresh_token == SIGN_IN["refresh_token"]


@pytest.mark.usefixtures("without_fast_path")
def test_x5_it_costs_milliseconds_and_three_queries_more(
    expired: Page, authorization_server: Any, django_assert_max_num_queries: Any
) -> None:
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    with django_assert_max_num_queries(5):
        retry_after(expired)


def test_it_can_be_switched_off(expired: Page, authorization_server: Any, settings: Any) -> None:
    settings.TMIBFF_OUTAGE_SECONDS = 0
    authorization_server.answers(**NOBODY_THERE)
    retry_after(expired)
    assert expired.token()["access_token"] == "fresh-2"
