"""``manage.py purge_expired_tokens``: what goes, what stays, what is revoked before (B4)."""

import io
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tmibff import ending, outage, purging, revocation, signals, stores, tokens
from django_tmibff.management.commands.purge_expired_tokens import Command
from django_tmibff.models import Note, TokenSet
from tests.bench.purge import PAGE, with_figures
from tests.page import SIGN_IN, Page
from tests.sealed import contents_of, plant
from tests.terminal import Terminal

pytestmark = pytest.mark.django_db

NAME = "purge_expired_tokens"
NEW_OPTIONS = {"batch_size", "dry_run", "keep_ended", "no_revoke", "max_seconds"}
REFRESH_TOKEN = SIGN_IN["refresh_token"]
DAY = timedelta(days=1)


def run(out: io.StringIO | None = None, **options: Any) -> list[str]:
    """Return the lines that the command printed."""
    out = out or io.StringIO()
    call_command(NAME, stdout=out, **options)
    return out.getvalue().splitlines()


def exit_code(**options: Any) -> int:
    with pytest.raises(CommandError) as raised:
        run(verbosity=0, **options)
    return raised.value.returncode


def told(**counts: int) -> str:
    """Return the last line for these counts."""
    words = {
        "deleted": "token sets deleted",
        "revoked": "revoked",
        "owed": "still owed",
        "given_up": "given up",
        "failed": "failed",
        "notes": "notes deleted",
    }
    assert set(counts) <= set(words)
    return ", ".join(f"{counts.get(name, 0)} {word}" for name, word in words.items())


def change(record: TokenSet, **columns: Any) -> None:
    TokenSet.objects.filter(pk=record.pk).update(**columns)


def expire(record: TokenSet, ago: timedelta = timedelta(seconds=1)) -> None:
    change(record, expires_at=timezone.now() - ago)


def add_ended(number: int, **columns: Any) -> None:
    """Add records of what ended yesterday and owes nothing."""
    yesterday = timezone.now() - DAY
    TokenSet.objects.bulk_create(
        TokenSet(
            **{"provider": "default", "expires_at": yesterday, "ended_at": yesterday} | columns
        )
        for _ in range(number)
    )


@pytest.fixture
def record(signed_in: Any, authorization_server: Any) -> TokenSet:
    """A token set that lives."""
    signed_in()
    return TokenSet.objects.get()


@pytest.fixture(params=["db", "cached_db"])
def expired(request: Any, settings: Any, signed_in: Any, authorization_server: Any) -> TokenSet:
    """A token set that has expired, and whose refresh token may live."""
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
    signed_in()
    expire(TokenSet.objects.get())
    return TokenSet.objects.get()


@pytest.fixture
def owing(record: TokenSet) -> TokenSet:
    """A token set that has ended, and owes its revocation, due now."""
    tokens.end(record, "test")  # The test's transaction never commits: nobody settles it.
    return TokenSet.objects.get()


@pytest.fixture
def another(user: Any) -> Callable[..., TokenSet]:
    """Sign ``user`` in once more."""

    def sign_in(**token_response: Any) -> TokenSet:
        page = Page()
        page.sign_in(user)
        return page.store(token_response)

    return sign_in


class TestWhatIsOver:
    def test_what_ended_and_owes_nothing_goes(self, db: None) -> None:
        add_ended(3)
        assert run()[-1] == told(deleted=3)
        assert not TokenSet.objects.exists()

    @pytest.mark.parametrize(
        "token_response", [{"refresh_token": ...}, {"refresh_token_expires_in": 1}]
    )
    def test_what_expired_without_a_living_refresh_token_goes_and_nobody_is_asked(
        self, signed_in: Any, authorization_server: Any, token_response: Any, monkeypatch: Any
    ) -> None:
        signed_in(**token_response)
        expire(TokenSet.objects.get())
        now = revocation.time.time()
        monkeypatch.setattr(revocation.time, "time", lambda: now + 2)
        assert run()[-1] == told(deleted=1)
        assert authorization_server.revoked == []

    def test_what_lives_stays(self, record: TokenSet, page: Page) -> None:
        assert run()[-1] == told()
        assert page.token()["access_token"] == SIGN_IN["access_token"]

    @pytest.mark.parametrize("ended", [True, False])
    def test_what_somebody_is_renewing_stays(self, record: TokenSet, ended: bool) -> None:
        expire(record, 30 * DAY)
        assert TokenSet.objects.take_lease(record.handle, "somebody", 60)
        change(record, ended_at=timezone.now() - DAY if ended else None)
        assert run()[-1] == told()
        TokenSet.objects.release_lease(record.handle, "somebody")
        assert run()[-1] == told(deleted=1)

    @pytest.mark.parametrize("ended", [True, False])
    def test_the_record_is_kept_as_long_as_was_asked_for(self, ended: bool, db: None) -> None:
        then = timezone.now() - 2 * DAY
        add_ended(1, ended_at=then if ended else None, expires_at=then)
        assert run(keep_ended=3)[-1] == told()
        assert run(keep_ended=1)[-1] == told(deleted=1)

    def test_the_cache_store_s_records_go_and_nobody_is_asked(
        self, settings: Any, signed_in: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        signed_in()
        expire(TokenSet.objects.get())
        assert run()[-1] == told(deleted=1)
        assert authorization_server.revoked == []

    def test_notes_go_when_they_are_over(self, settings: Any, db: None) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.db"
        stores.current().remember("over", 1, -1)
        stores.current().remember("current", 1, 60)
        assert run()[-1] == told(notes=1)
        assert [note.key for note in Note.objects.all()] == ["current"]

    def test_nothing_is_loaded_and_no_signal_sent(
        self, db: None, django_assert_num_queries: Any
    ) -> None:
        add_ended(1)
        with CaptureQueriesContext(connection) as queries:
            run()
        heard: list[Any] = []
        pre_delete.connect(heard.append, TokenSet)
        add_ended(50)
        try:
            with django_assert_num_queries(len(queries)):
                assert run()[-1] == told(deleted=50)
        finally:
            pre_delete.disconnect(heard.append, TokenSet)
        assert heard == []

    def test_the_database_judges_again_as_it_deletes(self, db: None) -> None:
        add_ended(1)
        with CaptureQueriesContext(connection) as queries:
            run()
        [delete] = [q["sql"] for q in queries if q["sql"].startswith("DELETE")]
        for column in ("ended_at", "expires_at", "revoke_at", "lease_until", "provider"):
            assert column in delete


class TestExpired:
    """Expired token sets whose refresh token may still live."""

    def test_it_is_revoked_and_goes(self, expired: TokenSet, authorization_server: Any) -> None:
        heard: list[Any] = []
        receiver = lambda **kwargs: heard.append((kwargs["handle"], kwargs["reason"]))  # noqa: E731  # kept alive by its name
        signals.session_ended.connect(receiver)
        assert run()[-1] == told(deleted=1, revoked=1)
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert not TokenSet.objects.exists()
        assert heard == [(expired.handle, "expired")]

    def test_undelivered_it_stays_owed_without_its_other_tokens(
        self, expired: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.answers(status_code=503)
        assert run()[-1] == told(owed=1)
        assert contents_of(expired).refresh_token == REFRESH_TOKEN
        assert contents_of(expired).access_tokens == []
        change(expired, revoke_at=timezone.now())
        assert run()[-1] == told(deleted=1, revoked=1)

    def test_its_record_is_kept_but_its_tokens_go(self, expired: TokenSet) -> None:
        assert run(keep_ended=1)[-1] == told(revoked=1)
        [kept] = TokenSet.objects.all()
        assert (kept.end_reason, kept.sealed, kept.revoke_at) == ("expired", None, None)

    @pytest.mark.parametrize("change_meanwhile", ["renewed", "leased", "ended", "deleted"])
    def test_whoever_changes_it_meanwhile_wins(
        self,
        expired: TokenSet,
        authorization_server: Any,
        monkeypatch: Any,
        change_meanwhile: str,
    ) -> None:
        def meanwhile(handle: str) -> bool:
            assert handle == expired.handle
            match change_meanwhile:
                case "renewed":
                    change(expired, expires_at=timezone.now() + DAY)
                case "leased":
                    TokenSet.objects.take_lease(handle, "somebody", 60)
                case "ended":
                    change(expired, ended_at=timezone.now() + DAY, end_reason="logout")
                case "deleted":
                    TokenSet.objects.all().delete()
            return expire(handle)

        expire = ending.expire
        monkeypatch.setattr(ending, "expire", meanwhile)
        assert run()[-1] == told()
        assert authorization_server.revoked == []
        left = list(TokenSet.objects.values_list("end_reason", flat=True))
        assert left == {"ended": ["logout"], "deleted": []}.get(change_meanwhile, [""])

    def test_what_does_not_open_stays_until_it_is_too_old(
        self, expired: TokenSet, authorization_server: Any, caplog: Any
    ) -> None:
        plant(expired, b"garbage")
        assert exit_code() == 1
        assert "cannot be opened" in caplog.text
        assert TokenSet.objects.get().ended_at is None
        expire(expired, 8 * DAY)
        assert run()[-1] == told(deleted=1)
        assert authorization_server.revoked == []

    def test_too_old_it_goes_unrevoked(self, expired: TokenSet, authorization_server: Any) -> None:
        expire(expired, 8 * DAY)
        assert run()[-1] == told(deleted=1)
        assert authorization_server.revoked == []

    def test_without_a_revocation_endpoint_it_goes(
        self, expired: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.OIDC_OP_REVOCATION_ENDPOINT = None
        assert run()[-1] == told(deleted=1)
        assert authorization_server.revoked == []

    def test_each_provider_has_its_own_endpoint(
        self, expired: TokenSet, authorization_server: Any, settings: Any, user: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"silent": {"revocation_endpoint": None}, "other": {}}
        for provider in ("silent", "other"):
            page = Page()
            page.sign_in(user)
            expire(page.store({"refresh_token": f"canary-{provider}"}, provider=provider))
        assert run()[-1] == told(deleted=3, revoked=2)
        assert sorted(authorization_server.revoked) == ["canary-other", REFRESH_TOKEN]

    def test_no_revoke_lets_it_go_unrevoked(
        self, expired: TokenSet, authorization_server: Any
    ) -> None:
        assert run(no_revoke=True)[-1] == told(deleted=1)
        assert authorization_server.revoked == []


class TestOwed:
    """Revocations owed by what has ended."""

    def test_delivered_it_goes(self, owing: TokenSet, authorization_server: Any) -> None:
        assert run()[-1] == told(deleted=1, revoked=1)
        assert authorization_server.revoked == [REFRESH_TOKEN]

    def test_before_its_time_it_is_left(self, owing: TokenSet, authorization_server: Any) -> None:
        change(owing, revoke_at=timezone.now() + timedelta(minutes=1))
        assert run()[-1] == told(owed=1)
        assert authorization_server.revoked == []

    def test_undelivered_is_no_failure_of_the_command(
        self, owing: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.answers(status_code=503)
        assert run()[-1] == told(owed=1)
        assert TokenSet.objects.get().revoke_count == 1

    def test_during_an_outage_nobody_is_asked(
        self, owing: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_OUTAGE_SECONDS = 30
        outage.report("default", owing.handle, no_connection=True)
        assert run()[-1] == told(owed=1)
        assert authorization_server.revoked == []

    def test_too_old_it_is_given_up_and_goes(
        self, owing: TokenSet, authorization_server: Any, caplog: Any
    ) -> None:
        change(owing, ended_at=timezone.now() - 8 * DAY)
        assert exit_code() == 1
        assert not TokenSet.objects.exists()
        assert "never revoked: given up" in caplog.text
        assert authorization_server.revoked == []

    def test_given_up_by_somebody_else_it_is_not_counted(
        self, owing: TokenSet, monkeypatch: Any
    ) -> None:
        give_up = revocation.give_up
        monkeypatch.setattr(revocation, "give_up", lambda handle: give_up(handle) and False)
        change(owing, ended_at=timezone.now() - 8 * DAY)
        assert run()[-1] == told(deleted=1)

    def test_no_revoke_asks_nobody_and_keeps_it(
        self, owing: TokenSet, authorization_server: Any
    ) -> None:
        assert run(no_revoke=True)[-1] == told()
        assert TokenSet.objects.get().revoke_at is not None
        assert authorization_server.revoked == []


class TestOptions:
    def test_a_dry_run_counts_and_changes_and_asks_nothing(
        self, expired: TokenSet, authorization_server: Any, another: Any
    ) -> None:
        add_ended(3)
        tokens.end(another(), "test")
        too_old = another()
        tokens.end(too_old, "test")
        change(too_old, ended_at=timezone.now() - 8 * DAY)
        Note.objects.create(key="over", expires_at=timezone.now() - DAY)
        before = list(TokenSet.objects.order_by("pk").values())
        assert run(dry_run=True, batch_size=2)[-1] == (
            "3 token sets to delete, 2 to revoke, 1 to give up, 1 notes to delete"
        )
        assert list(TokenSet.objects.order_by("pk").values()) == before
        assert Note.objects.count() == 1
        assert authorization_server.revoked == []

    def test_time_that_is_over_stops_it_and_says_so(self, db: None) -> None:
        add_ended(1)
        assert exit_code(max_seconds=0) == 2
        assert TokenSet.objects.count() == 1

    def test_time_that_is_over_is_said_after_a_failure_too(
        self, owing: TokenSet, monkeypatch: Any
    ) -> None:
        def is_over(purge: purging.Purge) -> None:
            if purge.counts.given_up:
                raise purging.TimeIsOverError

        monkeypatch.setattr(purging.Purge, "_check_time", is_over)
        change(owing, ended_at=timezone.now() - 8 * DAY)
        add_ended(1)
        with pytest.raises(CommandError, match=r"1 given up: see the log\. Time is over") as raised:
            run(batch_size=1)
        assert raised.value.returncode == 1

    def test_it_stops_between_two_revocations(
        self, owing: TokenSet, another: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        tokens.end(another(), "test")
        purge = purging.Purge()
        settle = revocation.settle
        monkeypatch.setattr(revocation, "settle", lambda handle: (settle(handle), stop(purge))[0])
        [(first, last)] = purge.pieces(TokenSet)
        with pytest.raises(purging.TimeIsOverError):
            purge.token_sets(first, last)
        assert len(authorization_server.revoked) == purge.counts.revoked == 1
        assert TokenSet.objects.exclude(revoke_at=None).count() == 1

    def test_quiet_it_says_nothing(self, db: None) -> None:
        add_ended(1)
        assert run(verbosity=0) == run(Terminal(), verbosity=0) == []

    def test_a_line_for_each_batch(self, db: None) -> None:
        add_ended(4)
        lines = run(batch_size=2)
        assert lines == [f" 50%  {told(deleted=2)}", f"100%  {told(deleted=4)}", told(deleted=4)]

    def test_a_bar_on_a_terminal(self, db: None) -> None:
        add_ended(1)
        out = Terminal()
        run(out)
        assert "[##############################] 100%" in out.getvalue()

    def test_run_again_it_finds_nothing(self, expired: TokenSet) -> None:
        run()
        assert run() == [told()]


class TestPieces:
    def test_gaps_between_the_keys_cost_nothing(self, db: None) -> None:
        for key in (5, 1_000, 1_000_000):
            add_ended(1, pk=key)
        found = purging.Purge(largest=2).pieces(TokenSet)
        assert list(found) == [(5, 1_000), (1_000_000, 1_000_000)]

    def test_what_is_added_meanwhile_is_left(self, db: None) -> None:
        add_ended(2)
        found = purging.Purge(largest=2).pieces(TokenSet)
        next(found)
        add_ended(1)
        assert list(found) == []

    @pytest.mark.parametrize(("asked_for", "is_given"), [(0, 1), (7, 7), (10**9, 50_000)])
    def test_no_piece_is_larger_than_a_database_can_take(
        self, asked_for: int, is_given: int
    ) -> None:
        assert purging.Purge(largest=asked_for).largest == is_given

    def test_they_are_smaller_where_deleting_takes_long_and_grow_again(
        self, db: None, monkeypatch: Any
    ) -> None:
        add_ended(8_000)
        purge = purging.Purge(largest=2_500)
        seconds = iter([0.01, 0.01, 0.2, 0.03, 0.01])
        now = [0.0]

        def deleted(rows: Any) -> int:
            now[0] += next(seconds)
            return int(rows._raw_delete(rows.db))

        monkeypatch.setattr(purging, "delete_rows", deleted)
        monkeypatch.setattr(purging.time, "monotonic", lambda: now[0])
        sizes = []
        for piece in purge.pieces(TokenSet):
            before = purge.counts.deleted
            purge.token_sets(*piece)
            sizes.append(purge.counts.deleted - before)
        assert sizes == [1_000, 2_000, 2_500, 1_250, 1_250]

    def test_they_do_not_shrink_for_ever(self) -> None:
        purge = purging.Purge(largest=5_000)
        for _ in range(20):
            purge._adapt(1)
        assert purge._size == 100


class TestPage:
    """docs/purge.md says what the command takes, and what it took."""

    def test_it_names_every_option_and_no_other(self) -> None:
        own = {"--verbosity"}
        for action in Command().create_parser("manage.py", NAME)._actions:
            own.update(action.option_strings if action.dest in NEW_OPTIONS else [])
        assert set(re.findall(r"^\| `(--[a-z-]+)", PAGE.read_text(), re.MULTILINE)) == own

    def test_the_command_lines_are_right(self) -> None:
        lines = re.findall(rf"manage\.py {NAME} (--.*)", PAGE.read_text())
        for line in lines:
            Command().create_parser("manage.py", NAME).parse_args(line.split())
        assert len(lines) == 2

    def test_its_code_compiles(self) -> None:
        blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        for code in blocks:
            compile(code, PAGE.name, "exec")
        assert len(blocks) == 2

    def test_the_figures_are_those_of_a_million(self) -> None:
        """``make bench-purge`` writes them."""
        assert "| time for 1,000,000 token sets |" in PAGE.read_text()
        assert "| new |" in with_figures(PAGE.read_text(), "| new |")


def stop(purge: purging.Purge) -> None:
    purge.ends_at = 0
