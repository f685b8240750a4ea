"""The end of a token set: the Django session behind it, and the revocation that is owed (B4)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
import requests
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.signals import request_finished, request_started
from django.db import connection
from django.db.models.signals import post_save, pre_delete
from django.utils import timezone

from django_tmibff import deferral, ending, outage, revocation, stores, tokens
from django_tmibff.exceptions import TemporarilyUnavailable
from django_tmibff.models import TokenSet
from django_tmibff.stores import caching
from tests.page import SIGN_IN, Page
from tests.people.models import Employee, Staff
from tests.sealed import contents_of, plant, sealed_of
from tests.test_stores import cache

__all__ = ["cache"]

pytestmark = pytest.mark.django_db

REFRESH_TOKEN = SIGN_IN["refresh_token"]
ENGINES = ["db", "cache", "cached_db", "file"]


@pytest.fixture
def end(django_capture_on_commit_callbacks: Any) -> Any:
    """End a token set, and commit."""

    def end(source: Any, reason: str = "test") -> None:
        with django_capture_on_commit_callbacks(execute=True):
            tokens.end(source, reason)

    return end


@pytest.fixture
def engine_fails(monkeypatch: Any) -> Any:
    """Let the session engine end nothing within the block."""

    @contextmanager
    def failing() -> Iterator[None]:
        def down(self: Any, session_key: str | None = None) -> None:
            raise ConnectionError("canary-address-of-the-sessions")

        engine = import_module(django_settings.SESSION_ENGINE).SessionStore
        with monkeypatch.context() as broken:
            broken.setattr(engine, "delete", down)
            yield

    return failing


@pytest.fixture
def owing(signed_in: Any, end: Any, authorization_server: Any, token_set: Any) -> TokenSet:
    """A token set that has ended, and could not be revoked."""
    signed_in()
    authorization_server.answers(status_code=503)
    end(token_set())
    authorization_server.revoked.clear()
    return token_set()


def due(record: TokenSet) -> None:
    TokenSet.objects.filter(pk=record.pk).update(revoke_at=timezone.now())


class TestDjangoSession:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_it_ends_through_its_own_engine(
        self,
        signed_in: Any,
        end: Any,
        authorization_server: Any,
        settings: Any,
        engine: str,
        token_set: Any,
        tmp_path: Any,
    ) -> None:
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        settings.SESSION_FILE_PATH = str(tmp_path)
        page = signed_in()
        key = page.session.session_key
        store = import_module(django_settings.SESSION_ENGINE).SessionStore
        assert store().exists(key)
        end(token_set())
        assert not store().exists(key)
        assert page.refusal()["error"] == "invalid_session"

    def test_of_a_request_it_stays(
        self, signed_in: Any, end: Any, authorization_server: Any, user: Any
    ) -> None:
        page = signed_in()
        end(page.request_of(user))
        assert page.session["_auth_user_id"] == str(user.pk)
        assert page.refusal()["error"] == "invalid_session"

    def test_whose_key_is_lost_is_told(
        self, signed_in: Any, authorization_server: Any, token_set: Any, user: Any, caplog: Any
    ) -> None:
        page = signed_in()
        plant(token_set(), b"what does not open")
        assert tokens.end(token_set(), "test") is False
        assert token_set().end_reason == "test"
        assert (
            f"session of token set {token_set().handle} not ended: its key is lost" in caplog.text
        )
        assert tokens.end(token_set(), "test") is True
        assert tokens.end(page.request_of(user), "test") is True

    def test_signed_cookies_cannot_be_ended_from_elsewhere_but_get_no_token(
        self, signed_in: Any, end: Any, authorization_server: Any, settings: Any, token_set: Any
    ) -> None:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
        page = signed_in()
        end(token_set())
        assert page.refusal()["error"] == "invalid_session"

    def test_it_ends_although_its_key_has_moved(
        self, signed_in: Any, end: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in()
        session = page.session
        session.cycle_key()
        session.save()
        page.cookies[django_settings.SESSION_COOKIE_NAME] = session.session_key
        page.token()
        end(token_set())
        assert not session.exists(session.session_key)

    @pytest.mark.parametrize("engine", ENGINES)
    def test_which_cannot_be_ended_keeps_its_tokens_for_another_try(
        self,
        signed_in: Any,
        end: Any,
        authorization_server: Any,
        settings: Any,
        engine: str,
        token_set: Any,
        tmp_path: Any,
        engine_fails: Any,
        caplog: Any,
    ) -> None:
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        settings.SESSION_FILE_PATH = str(tmp_path)
        page = signed_in()
        with engine_fails(), pytest.raises(TemporarilyUnavailable, match="SESSION_ENGINE"):
            end(token_set())
        assert f"session of token set {token_set().handle} not ended: Conn" in caplog.text
        assert "canary" not in caplog.text
        assert (token_set().ended_at, authorization_server.revoked) == (None, [])
        assert page.token()
        end(token_set())
        assert not page.session.exists(page.session.session_key)
        assert authorization_server.revoked == [REFRESH_TOKEN]

    def test_that_comes_back_from_a_cache_meanwhile_ends_again(
        self,
        signed_in: Any,
        authorization_server: Any,
        settings: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        """A request may have read its row before the commit."""
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
        page = signed_in()
        session = page.session
        data = dict(session.items())
        with django_capture_on_commit_callbacks(execute=True):
            tokens.end(token_set(), "test")
            session._cache.set(session.cache_key, data)
            assert "_auth_user_id" in page.session
        assert "_auth_user_id" not in page.session

    def test_which_fails_only_after_the_commit_is_told_in_the_log(
        self,
        signed_in: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
        engine_fails: Any,
        caplog: Any,
    ) -> None:
        page = signed_in()
        with django_capture_on_commit_callbacks() as callbacks:
            tokens.end(token_set(), "test")
        with engine_fails():
            for callback in callbacks:
                callback()
        assert "not ended: ConnectionError" in caplog.text
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert page.refusal()["error"] == "invalid_session"

    @pytest.mark.parametrize("engine", ["db", "cache"])
    def test_x6_of_a_dead_grant_the_page_learns_all_the_same(
        self,
        signed_in: Any,
        authorization_server: Any,
        settings: Any,
        engine: str,
        token_set: Any,
        engine_fails: Any,
        caplog: Any,
    ) -> None:
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        page = signed_in()
        page.store({"expires_in": 0}, made_session=True)
        authorization_server.answers(status_code=400, json={"error": "invalid_grant"})
        with engine_fails():
            assert page.refusal()["error"] == "invalid_grant"
        assert token_set().end_reason == "invalid_grant"
        assert "not ended: ConnectionError" in caplog.text
        assert page.cookies[django_settings.SESSION_COOKIE_NAME].value == ""


class TestRevocation:
    def test_delivered_it_is_forgotten(
        self, signed_in: Any, end: Any, authorization_server: Any, token_set: Any
    ) -> None:
        signed_in()
        end(token_set())
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert sealed_of(token_set()) is None
        assert token_set().revoke_at is None

    def test_a_refresh_token_that_has_expired_needs_none(
        self, signed_in: Any, end: Any, authorization_server: Any, token_set: Any, monkeypatch: Any
    ) -> None:
        signed_in(refresh_token_expires_in=60)
        now = revocation.time.time()
        monkeypatch.setattr(revocation.time, "time", lambda: now + 61)
        end(token_set())
        assert authorization_server.revoked == []
        assert (sealed_of(token_set()), token_set().revoke_at) == (None, None)

    @pytest.mark.parametrize(
        "failure", [{"status_code": 503}, {"status_code": 400}, {"exc": requests.ConnectionError}]
    )
    def test_undelivered_it_stays_owed_and_sealed(
        self, signed_in: Any, end: Any, authorization_server: Any, token_set: Any, failure: Any
    ) -> None:
        signed_in()
        authorization_server.answers(**failure)
        end(token_set())
        owed = contents_of(token_set())
        assert owed.refresh_token == REFRESH_TOKEN
        assert (owed.access_tokens, owed.id_token, owed.claims) == ([], None, {})
        assert token_set().revoke_at > timezone.now() + timedelta(seconds=50)

    def test_x4_a_word_without_end_is_cut_in_the_log(
        self, signed_in: Any, end: Any, authorization_server: Any, token_set: Any, caplog: Any
    ) -> None:
        signed_in()
        authorization_server.refuses("x" * 5000)
        end(token_set())
        assert f"not revoked: {'x' * 100}" in caplog.text
        assert "x" * 101 not in caplog.text

    def test_it_is_not_tried_before_its_time(
        self, owing: TokenSet, authorization_server: Any
    ) -> None:
        assert not revocation.settle(owing.handle)
        assert authorization_server.revoked == []

    def test_a_later_try_delivers_it(
        self, owing: TokenSet, authorization_server: Any, token_set: Any
    ) -> None:
        due(owing)
        assert revocation.settle(owing.handle)
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert (sealed_of(owing), token_set().revoke_at) == (None, None)
        assert not revocation.settle(owing.handle)

    def test_each_failure_doubles_the_pause_up_to_six_hours(
        self, owing: TokenSet, authorization_server: Any, token_set: Any
    ) -> None:
        pauses = []
        for _ in range(10):
            due(owing)
            authorization_server.answers(status_code=503)
            assert not revocation.settle(owing.handle)
            pauses.append(round((token_set().revoke_at - timezone.now()).total_seconds() / 60))
        assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 360, 360]

    def test_of_two_at_once_one_delivers_it(
        self, owing: TokenSet, authorization_server: Any, monkeypatch: Any
    ) -> None:
        due(owing)
        claim = TokenSet.objects.claim_revocation
        seen: list[bool] = []

        def both(handle: str, retry_at: Any) -> bool:
            seen.extend([claim(handle, retry_at), claim(handle, retry_at)])
            return seen[0]

        monkeypatch.setattr(type(TokenSet.objects), "claim_revocation", lambda self, *a: both(*a))
        assert revocation.settle(owing.handle)
        assert seen == [True, False]

    def test_during_an_outage_nobody_is_asked(
        self, owing: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_OUTAGE_SECONDS = 30
        outage.report("default", owing.handle, no_connection=True)
        due(owing)
        assert not revocation.settle(owing.handle)
        assert authorization_server.revoked == []

    def test_an_endpoint_that_does_not_answer_is_left_alone_for_a_while(
        self, page: Any, user: Any, authorization_server: Any, settings: Any, end: Any
    ) -> None:
        settings.TMIBFF_OUTAGE_SECONDS = 30
        # One that takes requests and fails must fail two token sets.
        authorization_server.answers(status_code=503)
        authorization_server.answers(status_code=503)
        for _ in range(3):
            page.sign_in(user)
            end(page.store())
        assert len(authorization_server.revoked) == 2
        assert TokenSet.objects.filter(revoke_count=0, revoke_at__lte=timezone.now()).count() == 1
        page.sign_in(user)
        assert tokens.renew(page.store({"expires_in": 0})).value == "fresh-1"

    def test_given_up_it_is_forgotten_and_said_so(
        self, owing: TokenSet, token_set: Any, caplog: Any
    ) -> None:
        revocation.give_up(owing.handle)
        assert (sealed_of(owing), token_set().revoke_at) == (None, None)
        assert "never revoked: given up" in caplog.text
        assert REFRESH_TOKEN not in caplog.text

    def test_what_does_not_open_stays_until_it_is_given_up(
        self, owing: TokenSet, settings: Any, authorization_server: Any, token_set: Any
    ) -> None:
        due(owing)
        settings.SECRET_KEY = "another" * 10
        assert not revocation.settle(owing.handle)
        assert authorization_server.revoked == []
        assert token_set().revoke_at is not None


class TestCacheThatFails:
    """Where it has the only copy of the tokens, and nobody can tell what it has."""

    @pytest.fixture(autouse=True)
    def in_the_cache(self, cache: Any, settings: Any, monkeypatch: Any) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        monkeypatch.setattr("django_tmibff.stores.cache._PAUSES_OF_WRITERS", (None,))

    @pytest.fixture
    def logged_out(self, signed_in: Any, user: Any, end: Any, cache: Any) -> Page:
        """A page that has left its tokens while the cache was down."""
        page = signed_in()
        cache(down=True)
        end(page.request_of(user), "logout")
        cache(down=False)
        return page

    def test_who_ends_a_session_is_told_and_nothing_has_changed(
        self, signed_in: Any, end: Any, cache: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in()
        cache(down=True)
        with pytest.raises(TemporarilyUnavailable, match="TMIBFF_CACHE_ALIAS"):
            end(token_set())
        cache(down=False)
        assert (token_set().ended_at, authorization_server.revoked) == (None, [])
        assert page.token()
        end(token_set())
        assert page.refusal()["error"] == "invalid_session"
        assert not page.session.exists(page.session.session_key)
        assert authorization_server.revoked == [REFRESH_TOKEN]

    def test_who_signs_out_is_out_and_the_revocation_stays_owed(
        self, logged_out: Page, authorization_server: Any, token_set: Any
    ) -> None:
        assert token_set().end_reason == "logout"
        assert authorization_server.revoked == []
        due(token_set())
        assert revocation.settle(token_set().handle)
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert (sealed_of(token_set()), token_set().revoke_at) == (None, None)
        assert logged_out.refusal()["error"] == "invalid_session"

    def test_what_it_has_lost_meanwhile_is_given_up_in_the_end(
        self, logged_out: Page, authorization_server: Any, token_set: Any, caplog: Any
    ) -> None:
        caches["shared"].clear()
        due(token_set())
        assert not revocation.settle(token_set().handle)
        assert token_set().revoke_at is not None
        assert revocation.give_up(token_set().handle)
        assert "never revoked: given up" in caplog.text

    def test_without_an_endpoint_nothing_is_owed(
        self, signed_in: Any, user: Any, end: Any, cache: Any, settings: Any, token_set: Any
    ) -> None:
        settings.OIDC_OP_REVOCATION_ENDPOINT = None
        page = signed_in()
        cache(down=True)
        end(page.request_of(user), "logout")
        assert (token_set().end_reason, token_set().revoke_at) == ("logout", None)

    def test_one_that_fails_after_the_session_is_gone_delays_the_revocation(
        self,
        signed_in: Any,
        cache: Any,
        authorization_server: Any,
        token_set: Any,
        monkeypatch: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        page = signed_in()
        delete = ending._delete_session

        def then_fail(session_key: Any) -> None:
            delete(session_key)
            cache(down=True)

        monkeypatch.setattr(ending, "_delete_session", then_fail)
        with django_capture_on_commit_callbacks(execute=True):
            tokens.end(token_set(), "test")
        assert authorization_server.revoked == []
        cache(down=False)
        assert page.refusal()["error"] == "invalid_session"
        due(token_set())
        assert revocation.settle(token_set().handle)
        assert authorization_server.revoked == [REFRESH_TOKEN]

    def test_who_is_deactivated_is_out(
        self,
        signed_in: Any,
        user: Any,
        cache: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        page = signed_in()
        cache(down=True)
        user.is_active = False
        with django_capture_on_commit_callbacks(execute=True):
            user.save()
        cache(down=False)
        assert token_set().end_reason == "user deactivated"
        assert page.refusal()["error"] == "invalid_session"
        due(token_set())
        assert revocation.settle(token_set().handle)
        assert authorization_server.revoked == [REFRESH_TOKEN]


@pytest.mark.parametrize("store", ["cached_db", "cache"])
def test_an_older_copy_of_an_ended_set_serves_what_it_has_and_is_never_renewed(
    signed_in: Any,
    user: Any,
    end: Any,
    authorization_server: Any,
    settings: Any,
    token_set: Any,
    store: str,
) -> None:
    """As docs/stores.md says; whoever has that session still."""
    settings.TMIBFF_STORE = f"django_tmibff.stores.{store}"
    page = signed_in()
    page.token()
    older = caching.read(token_set().handle)
    end(page.request_of(user))
    assert page.refusal()["error"] == "invalid_session"
    caching.write(token_set().handle, older, 60)
    assert page.token()["access_token"] == SIGN_IN["access_token"]
    assert page.refusal(scope="openid")["error"] == "invalid_session"
    assert authorization_server.calls == 0


class TestLateToken:
    """A refresh token that came for a set which ended meanwhile."""

    @pytest.fixture
    def late(self, signed_in: Any, authorization_server: Any, end: Any, token_set: Any) -> Any:
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="late", refresh_token="canary-late")

        def end_meanwhile() -> None:
            authorization_server.before_answering = lambda: None
            end(token_set())

        authorization_server.before_answering = end_meanwhile
        return page

    def test_it_is_revoked(self, late: Any, authorization_server: Any) -> None:
        assert late.refusal()["error"] == "invalid_session"
        assert authorization_server.revoked == ["canary-late", REFRESH_TOKEN]

    def test_undelivered_it_is_owed(
        self, late: Any, authorization_server: Any, token_set: Any
    ) -> None:
        authorization_server.answers(status_code=503)
        late.refusal()
        assert contents_of(token_set()).refresh_token == "canary-late"
        due(token_set())
        assert revocation.settle(token_set().handle)
        assert authorization_server.revoked == ["canary-late"] * 2
        assert sealed_of(token_set()) is None

    def test_whose_set_is_gone_too_is_said_so(
        self, late: Any, authorization_server: Any, caplog: Any
    ) -> None:
        authorization_server.before_answering = TokenSet.objects.all().delete
        authorization_server.answers(status_code=503)
        assert late.refusal()["error"] == "backend_not_ready"
        assert "never revoked: it is gone" in caplog.text

    def test_who_settles_an_older_debt_meanwhile_forgets_nothing(
        self, owing: TokenSet, authorization_server: Any, token_set: Any, monkeypatch: Any
    ) -> None:
        due(owing)
        newer = contents_of(owing)
        newer.refresh_token = "canary-newer"

        def newer_comes() -> None:
            stored = stores.current().get(owing.handle, fresh=True)
            newer.version = stored.version + 1
            assert stores.current().put(
                owing.handle, newer.sealed(), version=stored.version, owner=None, ended=True
            )

        revoked = revocation._revoked
        monkeypatch.setattr(revocation, "_revoked", lambda c: (newer_comes(), revoked(c))[1])
        assert not revocation.settle(owing.handle)
        assert contents_of(token_set()).refresh_token == "canary-newer"
        assert token_set().revoke_at is not None


class TestAfterTheResponse:
    def test_within_a_request_it_waits_for_the_end(self) -> None:
        done: list[int] = []
        request_started.send(type(self))
        deferral.after_response(lambda: done.append(1))
        assert done == []
        request_finished.send(type(self))
        assert done == [1]
        deferral.after_response(lambda: done.append(2))
        assert done == [1, 2]

    def test_what_fails_keeps_nothing_else_from_being_done(self, caplog: Any) -> None:
        done: list[int] = []
        request_started.send(type(self))
        deferral.after_response(lambda: 1 / 0)
        deferral.after_response(lambda: done.append(1))
        request_finished.send(type(self))
        assert done == [1]
        assert "what was to be done after the response failed" in caplog.text


class TestUser:
    def test_deactivated_is_out_everywhere(
        self,
        signed_in: Any,
        user: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        key = signed_in().session.session_key
        user.is_active = False
        with django_capture_on_commit_callbacks(execute=True):
            user.save()
        assert token_set().end_reason == "user deactivated"
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert not import_module(django_settings.SESSION_ENGINE).SessionStore().exists(key)

    def test_deactivated_is_out_although_the_session_cannot_be_ended(
        self,
        signed_in: Any,
        user: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
        engine_fails: Any,
        caplog: Any,
    ) -> None:
        page = signed_in()
        user.is_active = False
        with django_capture_on_commit_callbacks(execute=True), engine_fails():
            user.save()
        assert "not ended: ConnectionError" in caplog.text
        assert token_set().end_reason == "user deactivated"
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert page.refusal()["error"] == "invalid_session"

    def test_also_where_the_failure_breaks_the_transaction(
        self, signed_in: Any, user: Any, authorization_server: Any, token_set: Any, monkeypatch: Any
    ) -> None:
        def down(self: Any, session_key: str | None = None) -> None:
            connection.cursor().execute("SELECT nothing FROM nowhere")

        page = signed_in()
        monkeypatch.setattr(type(page.session), "delete", down)
        user.is_active = False
        user.save()
        assert token_set().end_reason == "user deactivated"

    def test_deleted_owes_the_revocation_and_leaves_the_record(
        self,
        signed_in: Any,
        user: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        signed_in()
        with django_capture_on_commit_callbacks(execute=True):
            user.delete()
        assert (token_set().end_reason, token_set().user) == ("user deleted", None)
        assert authorization_server.revoked == [REFRESH_TOKEN]

    @pytest.mark.parametrize("seen_as", [Staff, Employee])
    def test_deactivated_as_another_model_is_out_too(
        self,
        signed_in: Any,
        user: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
        seen_as: Any,
    ) -> None:
        """An admin shows users through a proxy, or with a table of their own."""
        signed_in()
        seen = seen_as.of(user)
        seen.is_active = False
        with django_capture_on_commit_callbacks(execute=True):
            seen.save()
        assert token_set().end_reason == "user deactivated"
        assert authorization_server.revoked == [REFRESH_TOKEN]

    @pytest.mark.parametrize("seen_as", [Staff, Employee])
    @pytest.mark.parametrize("many", [False, True])
    def test_deleted_as_another_model_is_out_too(
        self,
        signed_in: Any,
        user: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
        seen_as: Any,
        many: bool,
    ) -> None:
        signed_in()
        seen = seen_as.of(user)
        with django_capture_on_commit_callbacks(execute=True):
            seen_as.objects.filter(pk=seen.pk).delete() if many else seen.delete()
        assert (token_set().end_reason, token_set().user) == ("user deleted", None)
        assert authorization_server.revoked == [REFRESH_TOKEN]

    def test_who_is_no_employee_any_more_is_still_a_user(self, signed_in: Any, user: Any) -> None:
        page = signed_in()
        Employee.of(user).delete(keep_parents=True)
        assert page.token()

    def test_a_model_that_comes_late_is_heard_too(
        self, signed_in: Any, user: Any, authorization_server: Any, token_set: Any
    ) -> None:
        """Proxies for the admin are often written beside it, and the admin is loaded last."""

        class LateStaff(Staff):
            class Meta:
                proxy = True
                app_label = "people"

        try:
            signed_in()
            seen = LateStaff.of(user)
            seen.is_active = False
            seen.save()
            assert token_set().end_reason == "user deactivated"
        finally:
            del apps.all_models["people"]["latestaff"]
            apps.clear_cache()

    def test_no_other_model_is_listened_to(self) -> None:
        """Django deletes in one go what nobody listens to."""
        heard = {m for m in apps.get_models() if post_save.has_listeners(m)}
        assert heard == {get_user_model(), Staff, Employee}
        heard = {m for m in apps.get_models() if pre_delete.has_listeners(m)}
        assert heard == {get_user_model(), Staff}

    def test_saved_or_loaded_otherwise_stays(
        self, signed_in: Any, user: Any, authorization_server: Any, django_assert_num_queries: Any
    ) -> None:
        page = signed_in()
        with django_assert_num_queries(1):
            user.save(update_fields=["last_login"])
        user.is_active = False
        user.save_base(raw=True)
        assert TokenSet.objects.get().ended_at is None
        user.is_active = True
        user.save()
        assert page.token()


class TestRenew:
    """What an operator does from outside of any session."""

    def test_a_new_token_although_the_stored_one_works(
        self, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in()
        assert tokens.renew(token_set()).value == "fresh-1"
        assert page.token()["access_token"] == "fresh-1"
        assert token_set().refresh_count == 1

    def test_a_failure_is_told_and_the_stored_token_stays(
        self, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in()
        authorization_server.answers(status_code=503)
        with pytest.raises(tokens.TokenError, match="temporarily_unavailable"):
            tokens.renew(token_set())
        assert page.token()["access_token"] == SIGN_IN["access_token"]

    def test_x6_a_dead_grant_ends_it(
        self, page: Any, user: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page.sign_in(user)
        page.store(made_session=True)
        authorization_server.answers(status_code=400, json={"error": "invalid_grant"})
        with pytest.raises(tokens.TokenError, match="invalid_grant"):
            tokens.renew(token_set())
        assert token_set().end_reason == "invalid_grant"
        assert page.refusal()["error"] == "invalid_session"

    def test_an_ended_one_cannot_be_renewed(
        self, signed_in: Any, authorization_server: Any, end: Any, token_set: Any
    ) -> None:
        signed_in()
        end(token_set())
        with pytest.raises(tokens.TokenError, match="invalid_session"):
            tokens.renew(token_set())
        assert authorization_server.calls == 0


class TestForgetAccessTokens:
    def test_the_next_request_gets_a_new_one(
        self, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in()
        assert tokens.forget_access_tokens(token_set())
        assert token_set().access_expires_at is None
        assert page.token()["access_token"] == "fresh-1"
        assert token_set().access_expires_at is not None

    def test_not_while_somebody_renews(self, signed_in: Any, token_set: Any) -> None:
        signed_in()
        TokenSet.objects.take_lease(token_set().handle, "somebody", 60)
        assert not tokens.forget_access_tokens(token_set())
        assert contents_of(token_set()).access_tokens
