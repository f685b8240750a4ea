"""DESIGN (c), (e): what two requests do to one token set at once, and a database that fails."""

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import (
    DatabaseError,
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
    transaction,
)
from django.db.models import QuerySet
from django.utils import timezone

from django_tmibff import ending, models, renewal, revocation, single_flight, stores, tokens
from django_tmibff.models import NowMilliseconds, TokenSet
from tests.page import SIGN_IN, Page
from tests.sealed import contents_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True, params=["db", "cached_db", "cache"])
def store(request: Any, settings: Any) -> None:
    """Each of the stores, for each has its own way to save."""
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"


@pytest.fixture
def during_the_call(authorization_server: Any) -> Any:
    """Let something happen once, while the authorization server is being asked."""

    def arrange(action: Any) -> None:
        def once() -> None:
            authorization_server.before_answering = lambda: None
            action()

        authorization_server.before_answering = once

    return arrange


class TestSignInDuringARenewal:
    def test_one_without_a_refresh_token_keeps_the_one_that_the_renewal_brings(
        self, signed_in: Any, authorization_server: Any, during_the_call: Any
    ) -> None:
        """A rotating server would otherwise see the old one twice, and revoke everything."""
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="late", refresh_token="canary-rotated")
        during_the_call(lambda: page.store({"refresh_token": ..., "expires_in": 0}))
        assert page.token()["access_token"] == "fresh-2"
        sent = [call["refresh_token"] for call in authorization_server.requests]
        assert sent == [[SIGN_IN["refresh_token"]], ["canary-rotated"]]

    def test_nobody_else_may_send_the_old_one_meanwhile(
        self, signed_in: Any, token_set: Any, during_the_call: Any, authorization_server: Any
    ) -> None:
        page = signed_in(expires_in=0)
        free: list[bool] = []

        def sign_in() -> None:
            page.store({"refresh_token": ..., "expires_in": 0})
            free.append(TokenSet.objects.take_lease(token_set().handle, "third", 60))

        during_the_call(sign_in)
        page.token()
        assert free == [False]

    def test_one_with_a_refresh_token_wins(
        self, signed_in: Any, authorization_server: Any, during_the_call: Any, token_set: Any
    ) -> None:
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="late", refresh_token="canary-late")
        during_the_call(lambda: page.store({"access_token": "newest", "refresh_token": "newest"}))
        assert page.token()["access_token"] == "newest"
        assert contents_of(token_set()).refresh_token == "newest"
        assert token_set().lease_owner == ""

    def test_x6_a_dead_grant_ends_it_although_the_sessions_key_was_noted_meanwhile(
        self, page: Page, user: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page.sign_in(user)
        page.store({"expires_in": 0}, made_session=True)
        authorization_server.refuses("invalid_grant")
        end_with_session = ending.end_with_session

        def amend_first(request: Any, contents: Any) -> None:
            single_flight.amend(contents.handle, session_key="another", session_seconds=60)
            end_with_session(request, contents)

        monkeypatch.setattr(ending, "end_with_session", amend_first)
        assert page.refusal()["error"] == "invalid_grant"
        assert page.refusal()["error"] == "invalid_session"

    def test_b4_a_set_that_is_gone_owes_the_revocation_too(
        self, signed_in: Any, authorization_server: Any, during_the_call: Any
    ) -> None:
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="late", refresh_token="canary-late")
        during_the_call(lambda: TokenSet.objects.all().delete())
        assert page.refusal()["error"] == "backend_not_ready"
        assert authorization_server.revoked == ["canary-late"]

    def test_x6_a_dead_grant_does_not_end_a_newer_sign_in(
        self, page: Page, user: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page.sign_in(user)
        page.store({"expires_in": 0}, made_session=True)
        authorization_server.refuses("invalid_grant")
        end_with_session = ending.end_with_session

        def step_up_first(*args: Any) -> None:
            page.store({"access_token": "newest"}, made_session=True)
            end_with_session(*args)

        monkeypatch.setattr(ending, "end_with_session", step_up_first)
        assert page.refusal()["error"] == "invalid_grant"
        assert page.token()["access_token"] == "newest"
        assert authorization_server.revoked == []


class TestLapsedLease:
    def test_the_holder_whose_lease_was_taken_serves_what_the_taker_stored(
        self, signed_in: Any, authorization_server: Any, during_the_call: Any, token_set: Any
    ) -> None:
        page = signed_in(expires_in=0)

        def another_takes_over() -> None:
            TokenSet.objects.update(lease_until=NowMilliseconds() - 1)
            authorization_server.gives(
                access_token="the-takers", refresh_token="canary-takers", expires_in=600
            )
            page.elsewhere().token()

        during_the_call(another_takes_over)
        assert page.token()["access_token"] == "the-takers"
        assert contents_of(token_set()).refresh_token == "canary-takers"

    def test_without_the_lease_no_second_call_is_made(
        self, signed_in: Any, authorization_server: Any, during_the_call: Any, monkeypatch: Any
    ) -> None:
        page = signed_in()
        during_the_call(lambda: TokenSet.objects.update(lease_owner="another"))
        authorization_server.refuses("invalid_grant")
        monkeypatch.setattr(
            "django_tmibff.renewal.time.sleep",
            lambda seconds: TokenSet.objects.update(lease_owner="", lease_until=0),
        )
        assert page.token(scope="openid")["access_token"] == "fresh-2"
        assert [call["scope"] for call in authorization_server.requests] == [["openid"]] * 2

    def test_an_answer_that_came_after_somebody_took_the_lease_is_given_up_at_once(
        self, signed_in: Any, authorization_server: Any, during_the_call: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        during_the_call(lambda: TokenSet.objects.update(lease_owner="another"))
        monkeypatch.setattr(
            "django_tmibff.renewal.time.sleep",
            lambda seconds: TokenSet.objects.update(lease_owner="", lease_until=0),
        )
        assert page.token()["access_token"] == "fresh-2"

    def test_it_lives_longer_than_a_call_and_the_saving_take(self, settings: Any) -> None:
        settings.TMIBFF_AS_TIMEOUT = 20
        assert renewal.lease_seconds() > 20 + renewal.SAVE_SECONDS


class TestWaiting:
    def test_who_waits_serves_what_the_winner_stored(
        self, signed_in: Any, token_set: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        handle = token_set().handle
        TokenSet.objects.take_lease(handle, "winner", 60)
        polls = 0

        def winner_finishes(seconds: float) -> None:
            nonlocal polls
            polls += 1
            if polls == 2:
                page.elsewhere().store({"access_token": "the-winners"})
                TokenSet.objects.release_lease(handle, "winner")

        monkeypatch.setattr("django_tmibff.renewal.time.sleep", winner_finishes)
        assert page.token()["access_token"] == "the-winners"
        assert (polls, authorization_server.calls) == (2, 0)

    def test_a_holder_that_crashed_costs_one_lease_time(
        self, signed_in: Any, token_set: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        TokenSet.objects.take_lease(token_set().handle, "crashed", 60)
        monkeypatch.setattr(
            "django_tmibff.renewal.time.sleep",
            lambda seconds: TokenSet.objects.update(lease_until=NowMilliseconds() - 1),
        )
        assert page.token()["access_token"] == "fresh-1"

    def test_nor_does_it_cost_more_to_whoever_came_before_it_took_the_lease(
        self, signed_in: Any, token_set: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        TokenSet.objects.take_lease(token_set().handle, "crashed", 3600)
        start = time.monotonic()
        waited = 0

        def wait_a_second(seconds: float) -> None:
            nonlocal waited
            waited += 1
            if waited > renewal.lease_seconds():
                TokenSet.objects.update(lease_until=NowMilliseconds() - 1)

        monkeypatch.setattr("time.monotonic", lambda: start + waited)
        monkeypatch.setattr("django_tmibff.single_flight.time.sleep", wait_a_second)
        assert page.token()["access_token"] == "fresh-1"

    def test_nobody_waits_for_ever(
        self, signed_in: Any, token_set: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        TokenSet.objects.take_lease(token_set().handle, "hangs", 3600)
        start = time.monotonic()
        clock = iter(range(1000))
        monkeypatch.setattr("time.monotonic", lambda: start + next(clock))
        monkeypatch.setattr("django_tmibff.renewal.time.sleep", lambda seconds: None)
        answer = page.fetch()
        assert json.loads(answer.content)["error"] == "temporarily_unavailable"
        assert answer.headers["Retry-After"] == "1"

    def test_who_waits_holds_no_pooled_connection(self, monkeypatch: Any) -> None:
        closed: list[bool] = []

        pooled = SimpleNamespace(
            settings_dict={"OPTIONS": {"pool": True}},
            in_atomic_block=False,
            close=lambda: closed.append(True),
        )
        monkeypatch.setattr(models, "connections", {"default": pooled})
        models.hand_back_pooled_connection()
        assert closed == [True]

    @pytest.mark.parametrize("module", ["renewal", "revocation"])
    def test_nor_does_who_asks_the_authorization_server(
        self,
        signed_in: Any,
        authorization_server: Any,
        token_set: Any,
        monkeypatch: Any,
        django_capture_on_commit_callbacks: Any,
        module: str,
    ) -> None:
        calls: list[tuple[int, int]] = []

        def note() -> None:
            calls.append((authorization_server.calls, len(authorization_server.revoked)))

        monkeypatch.setattr(f"django_tmibff.{module}.hand_back_pooled_connection", note)
        signed_in(expires_in=0).token()
        with django_capture_on_commit_callbacks(execute=True):
            tokens.end(token_set(), "test")
        assert authorization_server.revoked == [SIGN_IN["refresh_token"]]
        assert calls == [(0, 0) if module == "renewal" else (1, 0)]


class TestDatabaseFailing:
    """The answer of the authorization server is saved before anyone sees it, whatever it takes."""

    @pytest.fixture
    def failing(self, monkeypatch: Any) -> Any:
        """Let the next saves fail."""
        monkeypatch.setattr("django_tmibff.renewal.time.sleep", lambda seconds: None)
        store = type(stores.current())
        put = store.put

        def arrange(*errors: Exception) -> None:
            queue = list(errors)

            def sometimes(*args: Any, **kwargs: Any) -> bool:
                if queue:
                    raise queue.pop(0)
                return put(*args, **kwargs)

            monkeypatch.setattr(store, "put", sometimes)

        return arrange

    def test_r12_an_outage_whose_end_cannot_be_noted_does_not_cost_the_answer(
        self,
        signed_in: Any,
        authorization_server: Any,
        settings: Any,
        monkeypatch: Any,
        token_set: Any,
    ) -> None:
        def down(*args: Any) -> None:
            raise OperationalError("down")

        settings.TMIBFF_OUTAGE_SECONDS = 2
        page = signed_in(expires_in=0)
        stores.current().remember("outage-aftermath:default", 2, 60)
        authorization_server.gives(access_token="a", refresh_token="rotated", expires_in=60)
        monkeypatch.setattr("django_tmibff.outage.end", down)
        assert page.token()["access_token"] == "a"
        assert contents_of(token_set()).refresh_token == "rotated"

    @pytest.mark.parametrize(
        "error",
        [
            OperationalError("restart"),
            InternalError("read-only: a failover"),
            InterfaceError("connection already closed"),
        ],
    )
    def test_saving_is_tried_again(
        self, signed_in: Any, authorization_server: Any, failing: Any, token_set: Any, error: Any
    ) -> None:
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="a", refresh_token="rotated", expires_in=60)
        failing(error, error, error)
        assert page.token()["access_token"] == "a"
        assert contents_of(token_set()).refresh_token == "rotated"

    def test_not_what_will_never_be_saved(
        self, signed_in: Any, authorization_server: Any, failing: Any
    ) -> None:
        page = signed_in(expires_in=0)
        failing(DataError("out of range"))
        assert page.refusal()["error"] == "temporarily_unavailable"
        assert authorization_server.calls == 1

    def test_nor_the_note_of_a_mere_failure(
        self, signed_in: Any, authorization_server: Any, failing: Any
    ) -> None:
        page = signed_in(expires_in=0)
        authorization_server.answers(status_code=503)
        failing(OperationalError("down"))
        assert page.refusal()["error"] == "temporarily_unavailable"

    def test_a_lease_that_cannot_be_given_back_lapses_by_itself(
        self, signed_in: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        def down(*args: Any) -> None:
            raise OperationalError("down")

        page = signed_in(expires_in=0, refresh_token="r")
        TokenSet.objects.update(version=7)
        monkeypatch.setattr("django_tmibff.models.TokenSetManager.release_lease", down)
        assert page.refusal()["error"] == "backend_not_ready"

    def test_a_served_token_does_not_suffer_from_bookkeeping(
        self, signed_in: Any, monkeypatch: Any, caplog: Any
    ) -> None:
        page = signed_in()
        session = page.session
        session.cycle_key()
        page.cookies["sessionid"] = session.session_key

        def down(*args: Any, **kwargs: Any) -> None:
            raise OperationalError("down")

        monkeypatch.setattr("django_tmibff.single_flight.amend", down)
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert "does not know its session's new key" in caplog.text

    def test_a_revocation_that_cannot_be_noted_does_not_hold_up_the_logout(
        self,
        signed_in: Any,
        authorization_server: Any,
        monkeypatch: Any,
        django_capture_on_commit_callbacks: Any,
        token_set: Any,
        caplog: Any,
    ) -> None:
        def down(*args: Any) -> None:
            raise OperationalError("down")

        page = signed_in()
        monkeypatch.setattr(revocation, "_nothing_owed", down)
        with django_capture_on_commit_callbacks(execute=True):
            page.logout()
        assert authorization_server.revoked == [SIGN_IN["refresh_token"]]
        assert not Session.objects.exists()
        assert "what was to be done after the response failed" in caplog.text
        assert token_set().revoke_at > timezone.now()

    def test_a_row_that_changes_while_it_is_locked_is_no_silent_success(
        self, signed_in: Any, token_set: Any, monkeypatch: Any
    ) -> None:
        page = signed_in()
        monkeypatch.setattr(type(stores.current()), "put", lambda *args, **kwargs: False)
        with pytest.raises(DatabaseError, match="locked"):
            page.store()
        with pytest.raises(DatabaseError, match="locked"):
            tokens.end(token_set(), "test")
        assert token_set().ended_at is None


@pytest.mark.django_db(transaction=True)
def test_a_rollback_after_the_end_takes_it_back_and_revokes_nothing(
    signed_in: Any, authorization_server: Any, token_set: Any
) -> None:
    signed_in()
    with transaction.atomic():
        tokens.end(token_set(), "test")
        transaction.set_rollback(True)
    assert token_set().ended_at is None
    assert authorization_server.revoked == []


@pytest.mark.django_db(transaction=True)
class TestRelease:
    """Of a lease, while the database restarts."""

    @pytest.fixture
    def leased(self, signed_in: Any, token_set: Any) -> str:
        signed_in()
        assert TokenSet.objects.take_lease(token_set().handle, "me", 60)
        return str(token_set().handle)

    @pytest.fixture
    def failing(self, monkeypatch: Any) -> Any:
        """Let that many of the next updates fail."""
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        update = QuerySet.update

        def arrange(number: int) -> None:
            left = iter(range(number))

            def sometimes(self: Any, **columns: Any) -> int:
                if next(left, None) is not None:
                    raise OperationalError("restart")
                return update(self, **columns)

            monkeypatch.setattr(QuerySet, "update", sometimes)

        return arrange

    def test_it_is_tried_again(self, leased: str, failing: Any) -> None:
        failing(3)
        TokenSet.objects.release_lease(leased, "me")
        assert not TokenSet.objects.is_leased(leased)

    def test_not_without_end(self, leased: str, failing: Any) -> None:
        failing(100)
        with pytest.raises(OperationalError):
            TokenSet.objects.release_lease(leased, "me")

    def test_in_a_transaction_it_is_not(self, leased: str, failing: Any) -> None:
        failing(1)
        with pytest.raises(OperationalError), transaction.atomic():
            TokenSet.objects.release_lease(leased, "me")
