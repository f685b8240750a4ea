"""Django's admin for token sets: the list, the page of one, the actions, and who may do what."""

import re
import sys
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import requests
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tmibff import tokens
from django_tmibff.admin import actions, counting
from django_tmibff.admin.states import State, state_of
from django_tmibff.models import TokenSet
from tests.bench.admin import PAGE
from tests.bench.figures import replaced
from tests.page import SIGN_IN, Page
from tests.real.processes import run
from tests.sealed import contents_of, plant

pytestmark = pytest.mark.django_db

LIST = "/admin/django_tmibff/tokenset/"
REFRESH_TOKEN = SIGN_IN["refresh_token"]
ALL = ("renew_now", "forget_access_tokens", "end_and_revoke")
EACH = pytest.mark.parametrize(
    ("permission", "action"), list(zip(("renew", "forget", "end"), ALL, strict=True))
)
CLAIMS = {"iss": "https://op.example", "sub": "subject-of-alice", "sid": "sid-of-alice"}


def detail(record: TokenSet) -> str:
    return f"{LIST}{record.pk}/change/"


def text_of(answer: Any) -> str:
    """Return what a reader sees of the answer, which must be a page."""
    assert answer.status_code == 200, answer
    html = answer.content.decode().replace("<wbr>", "")
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html)).replace("\xa0", " ")


def rows_of(answer: Any) -> list[str]:
    """Return the text of the list's rows."""
    assert answer.status_code == 200, answer
    return [str(record.user) for record in answer.context["cl"].result_list]


def messages_of(answer: Any) -> str:
    return " | ".join(str(message) for message in answer.context["messages"])


@pytest.fixture
def record(signed_in: Any, page: Page) -> TokenSet:
    """The record of alice's sign-in, with her tokens."""
    signed_in()
    return page.store(claims=CLAIMS)


def act(page: Page, action: str, *records: TokenSet, **more: str) -> Any:
    """Post an action of the list."""
    chosen = [record.pk for record in records]
    return page.post(LIST, {"action": action, "_selected_action": chosen, **more}, follow=True)


class TestList:
    def test_it_tells_whose_where_and_how_it_goes(self, operator: Page, row: Any) -> None:
        now = timezone.now()
        row(
            "bob",
            created_at=now - timedelta(days=2),
            refreshed_at=now - timedelta(minutes=4),
            refresh_count=7,
            access_expires_at=now + timedelta(minutes=6, seconds=5),
            last_error="temporarily_unavailable",
            last_error_at=now - timedelta(minutes=3),
        )
        text = text_of(operator.get(LIST))
        for told in (
            "bob default renewal failing temporarily_unavailable 3 minutes ago 2 days ago",
            "6 minutes left 7 · 4 minutes ago",
        ):
            assert told in text

    def test_the_lifetime_bar_is_of_the_current_access_token(
        self, operator: Page, row: Any
    ) -> None:
        now = timezone.now()
        row(refreshed_at=now - timedelta(minutes=4), access_expires_at=now + timedelta(minutes=6))
        html = operator.get(LIST).content.decode()
        [(whole, left)] = re.findall(r'<progress[^>]* max="(\d+)" value="(\d+)"', html)
        assert int(whole) == 600
        assert 300 < int(left) <= 360

    @pytest.mark.parametrize(
        ("seconds", "told"), [(40, r"(40|39|38|37) s left"), (-1, "expired"), (3700, "1 hour left")]
    )
    def test_its_text_says_the_same(
        self, operator: Page, row: Any, seconds: int, told: str
    ) -> None:
        row(access_expires_at=timezone.now() + timedelta(seconds=seconds))
        assert re.search(f"ago {told}|now {told}", text_of(operator.get(LIST)))

    def test_whose_user_is_deleted_is_still_listed(self, operator: Page, row: Any) -> None:
        row()
        assert "(deleted)" in text_of(operator.get(LIST))

    def test_no_query_per_row(self, operator: Page, row: Any) -> None:
        row("bob")
        with CaptureQueriesContext(connection) as few:
            assert len(rows_of(operator.get(LIST))) == 1
        for number in range(20):
            row(f"bob-{number}")
        with CaptureQueriesContext(connection) as many:
            assert len(rows_of(operator.get(LIST))) == 21
        assert len(many) == len(few) <= 20

    @pytest.mark.parametrize(
        "query",
        [
            "",
            *(f"?state={state}" for state in State),
            "?provider=default",
            "?issuer=https://op.example",
            "?last_error=invalid_grant",
            "?created_at__gte={now}",
            "?q=bob",
        ],
    )
    def test_nothing_counts_the_table_or_reads_what_is_sealed(
        self, operator: Page, row: Any, query: str
    ) -> None:
        row("bob")
        path = LIST + query.format(now=quote(str(timezone.now())))
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(path).status_code == 200
        asked = [query["sql"] for query in captured if "django_tmibff_tokenset" in query["sql"]]
        assert len(asked) >= 8
        assert [sql for sql in asked if "COUNT(" in sql and "LIMIT" not in sql] == []
        assert [sql for sql in asked if "DISTINCT" in sql or "sealed" in sql] == []

    def test_counters_stop(self, operator: Page, row: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(counting, "LIMIT", 3)
        for number in range(5):
            row(f"bob-{number}")
        text = text_of(operator.get(LIST))
        assert "3+ active" in text
        assert "3+ token sets" in text
        assert "0 renewing now" in text

    @pytest.mark.parametrize("count", [1000, 1001])
    def test_counters_stop_at_a_thousand(self, operator: Page, count: int, settings: Any) -> None:
        settings.USE_THOUSAND_SEPARATOR = True
        expires_at = timezone.now() + timedelta(hours=1)
        TokenSet.objects.bulk_create(
            TokenSet(provider="default", expires_at=expires_at) for _ in range(count)
        )
        text = text_of(operator.get(f"{LIST}?provider=default"))
        shown = "1000" if count == 1000 else "1,000+"
        assert f"{shown} active" in text
        assert f"{shown} results" in text
        assert f"{shown} token sets" in text
        last = operator.get(f"{LIST}?p=40")
        assert len(rows_of(last)) == 25
        assert operator.get(f"{LIST}?p=41").status_code == 302

    def test_the_panel_leads_to_who_they_are(self, operator: Page, row: Any) -> None:
        now = timezone.now()
        row("active")
        failing = row("failing", last_error="server_error", last_error_at=now)
        row("owing", ended_at=now, revoke_at=now)
        TokenSet.objects.take_lease(failing.handle, "somebody", 60)
        panel = operator.get(LIST).context["panel"]
        assert [(figure["state"], figure["count"]) for figure in panel] == [
            ("active", 1),
            ("renewing", 1),
            ("failing", 1),
            ("owing", 1),
        ]
        found = [rows_of(operator.get(figure["url"])) for figure in panel]
        assert found == [["active"], ["failing"], ["failing"], ["owing"]]

    def test_without_any_it_is_empty(self, operator: Page) -> None:
        assert "0 token sets" in text_of(operator.get(LIST))
        assert "0 token sets" in text_of(operator.get(f"{LIST}?state=renewing"))


class TestFilters:
    @pytest.fixture(autouse=True)
    def rows(self, row: Any) -> None:
        now, past = timezone.now(), timezone.now() - timedelta(hours=1)
        row("active", created_at=now - timedelta(days=3))
        row("failing", last_error="invalid_grant", last_error_at=past, provider="other")
        row("expired", expires_at=past, issuer="https://op.example")
        row("ended", ended_at=past, last_error="server_error", last_error_at=past)

    @pytest.mark.parametrize("state", ["active", "failing", "expired", "ended"])
    def test_by_state_which_the_badge_repeats(self, operator: Page, state: str) -> None:
        answer = operator.get(f"{LIST}?state={state}")
        assert rows_of(answer) == [state]
        [found] = answer.context["cl"].result_list
        assert state_of(found) == state

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("provider=other", ["failing"]),
            ("issuer=https://op.example", ["expired"]),
            ("last_error=invalid_grant", ["failing"]),
            ("last_error=server_error", ["ended"]),
            ("last_error=", ["ended", "expired", "failing", "active"]),
            ("last_error=never_heard_of", []),
            ("state=no-such-state", ["ended", "expired", "failing", "active"]),
        ],
    )
    def test_by_value(self, operator: Page, query: str, found: list[str]) -> None:
        assert sorted(rows_of(operator.get(f"{LIST}?{query}"))) == sorted(found)

    def test_by_time(self, operator: Page) -> None:
        yesterday = timezone.now() - timedelta(days=1)
        answer = operator.get(LIST, {"created_at__gte": str(yesterday)})
        assert rows_of(answer) == ["ended", "expired", "failing"]

    def test_the_choices_are_what_occurs(self, operator: Page) -> None:
        specs = operator.get(LIST).context["cl"].filter_specs
        choices = {spec.title: getattr(spec, "lookup_choices", None) for spec in specs}
        assert [value for value, _ in choices["provider"]] == ["default", "other"]
        assert [value for value, _ in choices["last error"]] == ["invalid_grant", "server_error"]
        assert len(choices["state"]) == len(State)
        assert choices["issuer"] == [("https://op.example", "https://op.example")]


class TestSearch:
    @pytest.mark.parametrize("term", ["alice", "subject-of-alice", " sid-of-alice ", "handle"])
    def test_finds_what_is_named_exactly(
        self, operator: Page, record: TokenSet, row: Any, term: str
    ) -> None:
        row("bob")
        term = record.handle if term == "handle" else term
        assert rows_of(operator.get(LIST, {"q": term})) == ["alice"]

    @pytest.mark.parametrize("term", ["alic", "subject", "sid-of", "nobody@example.test", "%", "'"])
    def test_and_nothing_else(self, operator: Page, record: TokenSet, term: str) -> None:
        assert rows_of(operator.get(LIST, {"q": term})) == []

    def test_by_e_mail_where_users_have_one(
        self, operator: Page, record: TokenSet, user: Any
    ) -> None:
        user.email = "alice@example.test"
        user.save()
        has_email = user.get_email_field_name() in {field.name for field in user._meta.fields}
        found = rows_of(operator.get(LIST, {"q": "alice@example.test"}))
        assert found == (["alice"] if has_email else [])

    def test_a_name_that_the_field_cannot_take_finds_nobody(
        self, operator: Page, record: TokenSet, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "last_login")
        assert rows_of(operator.get(LIST, {"q": "no date"})) == []

    def test_spaces_search_nothing(self, operator: Page, record: TokenSet) -> None:
        assert rows_of(operator.get(LIST, {"q": "  "})) == ["alice"]


class TestDetail:
    def test_identity_timeline_and_tokens(
        self, operator: Page, record: TokenSet, authorization_server: Any
    ) -> None:
        tokens.renew(record)
        text = text_of(operator.get(detail(record)))
        for told in ("alice", "https://op.example", "subject-of-alice", "sid-of-alice"):
            assert told in text
        assert record.handle in text
        for told in ("Signed in", "Last renewed : 1 renewal so far", "Access token expires"):
            assert told in text
        [described] = tokens.describe(record).access_tokens
        assert f"Bearer {date(described.issued_at)}" in text
        assert described.fingerprint in text
        assert "There is a refresh token." in text

    def test_a_resource_and_an_unknown_lifetime(
        self,
        operator: Page,
        signed_in: Any,
        authorization_server: Any,
        token_set: Any,
        settings: Any,
    ) -> None:
        settings.TMIBFF_RESOURCES = ["https://api.example/orders"]
        page = signed_in()
        authorization_server.gives(access_token="orders", token_type="DPoP", scope="orders:read")
        page.token(resource="https://api.example/orders")
        text = text_of(operator.get(detail(token_set())))
        assert "https://api.example/orders orders:read DPoP" in text
        assert "unknown" in text

    def test_a_failure_is_in_the_timeline(
        self, operator: Page, record: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.answers(status_code=503)
        with pytest.raises(tokens.TokenError):
            tokens.renew(record)
        text = text_of(operator.get(detail(record)))
        assert "Not renewed : temporarily_unavailable" in text
        assert "renewal failing" in text

    def test_the_end_why_and_what_is_owed(
        self, operator: Page, row: Any, authorization_server: Any
    ) -> None:
        now = timezone.now()
        record = row(ended_at=now, end_reason="logout", revoke_at=now, revoke_count=3)
        text = text_of(operator.get(detail(record)))
        assert "Ended : logout" in text
        assert "Revocation tried again : owed; 3 tries so far" in text
        assert "This sign-in has ended" in text
        assert "Renew now" not in text

    def test_what_is_over_is_told_from_what_is_to_come(self, operator: Page, row: Any) -> None:
        now, minute = timezone.now(), timedelta(minutes=1)
        over = row(created_at=now - 2 * minute, access_expires_at=now - minute, expires_at=now)
        text = text_of(operator.get(detail(over)))
        assert "Access token expired" in text
        assert "Session expired" in text
        to_come = row(access_expires_at=now + minute)
        text = text_of(operator.get(detail(to_come)))
        assert "Access token expires" in text
        assert "Session expires" in text

    def test_what_does_not_open_says_so(self, operator: Page, record: TokenSet) -> None:
        plant(record, b"nonsense")
        assert "no key opens what is kept" in text_of(operator.get(detail(record)))

    def test_r7_a_narrower_scope_than_the_sign_ins_is_said(
        self, operator: Page, record: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.gives(access_token="narrow", expires_in=60, scope="openid")
        tokens.renew(record)
        text = text_of(operator.get(detail(record)))
        assert "narrower scope than the sign-in's, which was: openid email" in text

    def test_without_a_refresh_token_it_says_what_follows(
        self, operator: Page, signed_in: Any, token_set: Any
    ) -> None:
        signed_in(refresh_token=..., refresh_expires_in=60)
        assert "There is no refresh token" in text_of(operator.get(detail(token_set())))

    def test_the_end_of_the_refresh_token_where_it_is_known(
        self, operator: Page, signed_in: Any, token_set: Any
    ) -> None:
        signed_in(refresh_expires_in=600)
        assert "There is a refresh token (expires on" in text_of(operator.get(detail(token_set())))

    def test_one_that_is_not_there_leads_back(self, operator: Page) -> None:
        assert operator.get(f"{LIST}17/change/").status_code == 302

    @pytest.mark.parametrize("path", ["add/", "{pk}/delete/", "{pk}/change/"])
    def test_nothing_is_added_changed_or_deleted_by_hand(
        self, operator: Page, record: TokenSet, path: str
    ) -> None:
        before = TokenSet.objects.values().get()
        answer = operator.post(
            LIST + path.format(pk=record.pk), {"provider": "mine", "post": "yes"}
        )
        assert answer.status_code == 403
        assert TokenSet.objects.values().get() == before


def date(seconds: float) -> str:
    """Return the time as templates write it."""
    from django.utils.formats import date_format
    from django.utils.timezone import template_localtime

    from django_tmibff.models import to_datetime

    return date_format(template_localtime(to_datetime(seconds)), "DATETIME_FORMAT")


class TestSecrets:
    def test_x9_no_page_shows_a_token_or_a_part_of_one(
        self,
        operator: Page,
        page: Page,
        user: Any,
        authorization_server: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        page.sign_in(user)
        page.store({"id_token": "canary-id-token"}, claims=CLAIMS)
        authorization_server.gives(access_token="canary-fresh", refresh_token="canary-rotated")
        answers = [operator.get(LIST), operator.get(detail(token_set()))]
        answers += [act(operator, action, token_set()) for action in ALL]
        answers += [operator.get(f"{LIST}{token_set().pk}/history/")]
        authorization_server.answers(status_code=503)
        with django_capture_on_commit_callbacks(execute=True):
            answers += [act(operator, "end_and_revoke", token_set(), confirmed="yes")]
        answers += [operator.get(LIST), operator.get(detail(token_set()))]
        assert authorization_server.revoked == ["canary-rotated"]
        secrets_ = [SIGN_IN["access_token"], REFRESH_TOKEN, "canary-fresh", "canary-rotated"]
        for answer in answers:
            html = answer.content.decode()
            assert answer.status_code == 200
            assert "canary" not in html
            assert [part for one in secrets_ if (part := one[-12:]) in html] == []
            assert page.session.session_key not in html
        log = LogEntry.objects.values_list("object_repr", "change_message")
        assert "canary" not in str(list(log))

    def test_the_pages_bring_no_inline_script_or_style(
        self, operator: Page, record: TokenSet
    ) -> None:
        """A content security policy without unsafe-inline lets them work."""
        for answer in (
            operator.get(LIST),
            operator.get(detail(record)),
            act(operator, "end_and_revoke", record),
        ):
            html = answer.content.decode()
            assert "django_tmibff/admin.css" in html
            assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html) == []


class TestRenewNow:
    def test_it_tests_the_grant_and_says_so(
        self, operator: Page, record: TokenSet, authorization_server: Any
    ) -> None:
        answer = act(operator, "renew_now", record)
        assert "alice (default:" in messages_of(answer)
        assert "was renewed: its grant works" in messages_of(answer)
        assert contents_of(record).access_tokens[0].value == "fresh-1"
        assert LogEntry.objects.get().change_message == "Renewed."

    def test_each_has_its_own_result(
        self, operator: Page, record: TokenSet, row: Any, authorization_server: Any
    ) -> None:
        lost = row("bob")
        answer = act(operator, "renew_now", record, lost)
        told = messages_of(answer)
        assert "was renewed" in told
        assert "bob (default:" in told
        assert "was not renewed: backend_not_ready" in told
        entry = LogEntry.objects.get(object_id=str(lost.pk))
        assert entry.change_message == "Not renewed: backend_not_ready."

    def test_under_atomic_requests(
        self, operator: Page, record: TokenSet, authorization_server: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        assert "was renewed" in messages_of(act(operator, "renew_now", record))
        assert operator.get(detail(record)).status_code == 200

    def test_who_takes_long_does_not_keep_the_worker(
        self, operator: Page, record: TokenSet, authorization_server: Any, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(actions, "_RENEWING_SECONDS", -1)
        answer = act(operator, "renew_now", record)
        assert "This took long: 1 was not tried." in messages_of(answer)
        assert authorization_server.calls == 0

    def test_an_operator_whose_own_grant_is_dead_is_signed_out(
        self, operator: Page, authorization_server: Any, token_set: Any
    ) -> None:
        operator.store(made_session=True)
        authorization_server.refuses("invalid_grant")
        answer = act(operator, "renew_now", token_set())
        assert answer.redirect_chain[-1][0].startswith("/admin/login/")
        assert token_set().end_reason == "invalid_grant"


class TestForgetAccessTokens:
    def test_the_next_request_gets_a_new_one(
        self, operator: Page, record: TokenSet, page: Page, authorization_server: Any
    ) -> None:
        answer = act(operator, "forget_access_tokens", record)
        assert "of 1 token set were forgotten" in messages_of(answer)
        assert "None is stored" in text_of(operator.get(detail(record)))
        assert LogEntry.objects.get().change_message == "Access tokens forgotten."
        assert page.token()["access_token"] == "fresh-1"

    def test_who_is_just_renewing_stays_as_it_is(
        self, operator: Page, record: TokenSet, row: Any
    ) -> None:
        TokenSet.objects.take_lease(record.handle, "somebody", 60)
        lost = row("bob")
        told = messages_of(act(operator, "forget_access_tokens", record, lost))
        assert told.count("stays as it is") == 2
        assert contents_of(record).access_tokens
        assert not LogEntry.objects.exists()


class TestEndAndRevoke:
    @pytest.fixture
    def ended(self, operator: Page, django_capture_on_commit_callbacks: Any) -> Any:
        """Confirm the end, and commit."""

        def end(*records: TokenSet, **more: str) -> Any:
            with django_capture_on_commit_callbacks(execute=True):
                return act(operator, "end_and_revoke", *records, confirmed="yes", **more)

        return end

    def test_first_a_page_says_what_will_happen(
        self, operator: Page, record: TokenSet, row: Any, settings: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"partner": {"revocation_endpoint": None}}
        other = row("bob", provider="partner")
        over = row("carol", ended_at=timezone.now())
        text = text_of(act(operator, "end_and_revoke", record, other, over))
        assert "2 people are signed out" in text
        assert "1 refresh token of the provider default is revoked at https://op.example/r" in text
        assert "1 refresh token of the provider partner is forgotten here, but not revoked" in text
        assert "access tokens that pages have already stay valid" in text
        assert "carol" not in text
        assert "Your own session" not in text
        assert TokenSet.objects.filter(ended_at=None).count() == 2
        assert authorization_server.revoked == []

    def test_then_it_happens(
        self,
        operator: Page,
        record: TokenSet,
        page: Page,
        ended: Any,
        authorization_server: Any,
        token_set: Any,
    ) -> None:
        assert "1 token set was ended" in messages_of(ended(record))
        assert authorization_server.revoked == [REFRESH_TOKEN]
        assert token_set().end_reason == "ended in the admin"
        assert not page.session.exists(page.session.session_key)
        assert LogEntry.objects.get().change_message == "Ended and revoked."
        assert page.refusal()["error"] == "invalid_session"

    def test_what_cannot_be_delivered_is_shown_as_owed(
        self, operator: Page, record: TokenSet, ended: Any, authorization_server: Any
    ) -> None:
        authorization_server.answers(exc=requests.ConnectionError)
        ended(record)
        assert rows_of(operator.get(f"{LIST}?state=owing")) == ["alice"]
        assert "Revocation tried again : owed; 1 try so far" in text_of(
            operator.get(detail(record))
        )

    def test_whose_session_cannot_be_ended_is_told_and_lives_on(
        self,
        operator: Page,
        record: TokenSet,
        page: Page,
        row: Any,
        ended: Any,
        authorization_server: Any,
        monkeypatch: Any,
    ) -> None:
        def down(self: Any, session_key: str | None = None) -> None:
            raise ConnectionError("canary-address")

        bob = row("bob")
        with monkeypatch.context() as broken:
            broken.setattr(type(page.session), "delete", down)
            told = messages_of(ended(record, bob))
        assert "alice (default:" in told
        assert "was not ended: temporarily_unavailable: The session cannot be ended now" in told
        assert "1 token set was ended" in told
        assert "canary" not in told
        assert [entry.object_id for entry in LogEntry.objects.all()] == [str(bob.pk)]
        assert page.token()
        ended(record)
        assert not page.session.exists(page.session.session_key)

    def test_whose_session_cannot_be_found_is_told(
        self, operator: Page, record: TokenSet, ended: Any, token_set: Any
    ) -> None:
        plant(record, b"what does not open")
        told = messages_of(ended(record))
        assert "The session of alice (default:" in told
        assert "may live on: its key was lost with the tokens." in told
        assert "1 token set was ended" in told
        assert token_set().end_reason == "ended in the admin"

    def test_what_has_ended_stays_as_it_is(self, operator: Page, row: Any, token_set: Any) -> None:
        record = row("bob", ended_at=timezone.now(), end_reason="logout")
        answer = act(operator, "end_and_revoke", record, confirmed="yes")
        assert "had ended already" in messages_of(answer)
        assert token_set().end_reason == "logout"

    def test_signed_cookies_are_said_to_stay(self, staff: Any, row: Any, settings: Any) -> None:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
        text = text_of(act(staff(), "end_and_revoke", row("bob")))
        assert "Nobody is signed out" in text

    def test_ones_own_session_is_said_to_be_among_them_and_ends_in_good_order(
        self, operator: Page, ended: Any, settings: Any, authorization_server: Any
    ) -> None:
        settings.SESSION_SAVE_EVERY_REQUEST = True
        own = operator.store()
        assert "Your own session" in text_of(act(operator, "end_and_revoke", own))
        answer = ended(own, _detail="yes")
        assert answer.redirect_chain[-1][0].startswith("/admin/login/")
        assert authorization_server.revoked == [REFRESH_TOKEN]

    def test_too_many_at_once_are_refused(self, operator: Page, row: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(actions, "_MOST_AT_ONCE", 1)
        row("bob")
        answer = act(operator, "end_and_revoke", row("carol"), select_across="1", confirmed="yes")
        assert "At most 1 token sets at once: nothing was done." in messages_of(answer)
        assert TokenSet.objects.filter(ended_at=None).count() == 2


class TestButtons:
    """The page of one token set has the actions too, and they lead back to it."""

    def test_they_are_forms_with_a_csrf_token(self, operator: Page, record: TokenSet) -> None:
        html = operator.get(detail(record)).content.decode()
        [form] = re.findall(r'<form class="tmibff-actions".*?</form>', html, re.DOTALL)
        assert f'method="post" action="{LIST}"' in form
        assert "csrfmiddlewaretoken" in form
        assert re.findall(r'name="action" value="(\w+)"', form) == list(ALL)

    def test_they_lead_back(
        self, operator: Page, record: TokenSet, authorization_server: Any
    ) -> None:
        answer = act(operator, "renew_now", record, _detail="yes")
        assert answer.redirect_chain == [(detail(record), 302)]
        assert "was renewed" in messages_of(answer)

    def test_without_the_token_nothing_happens(
        self, operator: Page, record: TokenSet, authorization_server: Any
    ) -> None:
        operator.handler.enforce_csrf_checks = True
        answer = act(operator, "end_and_revoke", record, confirmed="yes")
        assert answer.status_code == 403
        assert TokenSet.objects.get().ended_at is None


class TestPermissions:
    def test_view_shows_all_pages_and_offers_nothing(self, staff: Any, record: TokenSet) -> None:
        page = staff("view")
        for path in (LIST, detail(record), f"{LIST}{record.pk}/history/"):
            text = text_of(page.get(path))
            assert "alice" in text or "default:" in text
            assert "Renew now" not in text
            assert "End and revoke" not in text
            assert "Forget access tokens" not in text

    @pytest.mark.parametrize("path", [LIST, "{detail}", "/admin/django_tmibff/note/"])
    def test_without_it_nothing_is_shown(self, staff: Any, record: TokenSet, path: str) -> None:
        answer = staff("renew", "end", "forget").get(path.format(detail=detail(record)))
        assert answer.status_code in {403, 404}
        assert b"alice" not in answer.content

    @EACH
    def test_each_action_has_its_own(
        self, staff: Any, record: TokenSet, permission: str, action: str, authorization_server: Any
    ) -> None:
        answer = staff("view", permission).get(LIST)
        offered = [name for name, _ in answer.context["action_form"].fields["action"].choices]
        assert offered == ["", action]

    @pytest.mark.parametrize("others", [(), ("renew", "end", "forget")])
    @EACH
    def test_without_it_403_and_nothing_changes(
        self,
        staff: Any,
        record: TokenSet,
        permission: str,
        action: str,
        others: tuple[str, ...],
        authorization_server: Any,
    ) -> None:
        page = staff("view", *(other for other in others if other != permission))
        before = TokenSet.objects.values().get()
        for more in ({}, {"index": "0"}, {"_detail": "yes"}, {"select_across": "1"}):
            assert act(page, action, record, confirmed="yes", **more).status_code == 403
        assert TokenSet.objects.values().get() == before
        assert authorization_server.calls == 0
        assert authorization_server.revoked == []
        assert not LogEntry.objects.exists()

    def test_nobody_signed_in_is_asked_to(self, record: TokenSet) -> None:
        answer = act(Page(), "end_and_revoke", record, confirmed="yes")
        assert answer.redirect_chain[-1][0].startswith("/admin/login/")
        assert TokenSet.objects.get().ended_at is None


def test_the_figures_in_the_docs_are_those_of_a_million() -> None:
    """``make bench-admin`` writes them."""
    page = PAGE.read_text()
    assert "1,000,000 token sets of" in page
    times = [int(found) for found in re.findall(r"\| (\d+) ms \|", page)]
    assert len(times) >= len(State) + 10
    assert max(times) < 100
    assert "| new |" in replaced(page, "bench-admin", "| new |")


def test_the_docs_name_every_state_and_permission() -> None:
    page = PAGE.read_text()
    assert [state.label for state in State if f"| {state.label} |" not in page] == []
    names = [name for name, _ in TokenSet._meta.permissions]
    assert [name for name in names if f"`django_tmibff.{name}`" not in page] == []


def test_the_app_works_where_the_admin_is_not_installed() -> None:
    """Only the admin itself imports ours."""
    code = (
        "import django, sys; from django.conf import settings;"
        "settings.configure(SECRET_KEY='x' * 50, INSTALLED_APPS=['django.contrib.auth',"
        "'django.contrib.contenttypes', 'django.contrib.sessions', 'django_tmibff']);"
        "django.setup(); import django_tmibff.urls;"
        "print([name for name in sys.modules if 'admin.' in name and 'tmibff' in name])"
    )
    assert run([sys.executable, "-c", code]).strip().splitlines()[-1] == "[]"
