"""PROTOCOL R: the answer, stored or newly obtained."""

import json
import time
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.utils import timezone

from django_tmibff import stores
from django_tmibff.models import TokenSet
from tests.page import SIGN_IN, Page
from tests.sealed import store_name

ORDERS = "https://api.example/orders"


@pytest.fixture
def later(monkeypatch: Any) -> Any:
    """Let seconds pass on this host."""

    def pass_(seconds: float) -> None:
        now = time.time() + seconds
        monkeypatch.setattr("time.time", lambda: now)

    return pass_


class TestContent:
    def test_r1_200_with_the_access_token(self, signed_in: Any) -> None:
        answer = signed_in().fetch()
        assert answer.status_code == 200
        assert json.loads(answer.content) == {
            "access_token": SIGN_IN["access_token"],
            "token_type": "Bearer",
            "expires_in": 3599,
            "scope": "openid email",
        }

    def test_r2_expires_in_is_what_is_left_now(self, signed_in: Any, later: Any) -> None:
        page = signed_in(expires_in=1000)
        later(300.5)
        assert page.token()["expires_in"] in (698, 699)

    def test_r2_never_more_than_was_told_although_another_hosts_clock_is_ahead(
        self, signed_in: Any, later: Any
    ) -> None:
        page = signed_in(expires_in=1000)
        later(-3600)
        assert page.token()["expires_in"] == 1000

    @pytest.mark.parametrize("expires_in", [..., None, "", "soon", [], True, "nan"])
    def test_r2_left_out_when_it_was_never_told(self, signed_in: Any, expires_in: Any) -> None:
        assert "expires_in" not in signed_in(expires_in=expires_in).token()

    @pytest.mark.parametrize(
        ("told", "least", "most"),
        [
            ("1000", 998, 1000),
            (1000.9, 998, 1000),
            ("1000.5", 998, 1000),
            (10**30, 10**8, 10**9),
            ("9" * 400, 10**8, 10**9),
            (10**400, 10**8, 10**9),
        ],
    )
    def test_r2_as_text_as_float_and_huge(
        self, signed_in: Any, told: Any, least: int, most: int
    ) -> None:
        expires_in = signed_in(expires_in=told).token()["expires_in"]
        assert type(expires_in) is int
        assert least <= expires_in <= most

    @pytest.mark.parametrize("told", [0, -1, -(10**30), "0.0", "-5", 0.4])
    def test_r2_zero_and_less_has_expired(
        self, signed_in: Any, authorization_server: Any, told: Any
    ) -> None:
        authorization_server.gives(access_token="from-odd-server", expires_in=told)
        answer = signed_in(expires_in=told).token()
        assert (answer["access_token"], answer["expires_in"]) == ("from-odd-server", 0)

    def test_r3_scope_is_sent_whenever_it_is_known(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        assert page.token()["scope"] == "openid email"
        authorization_server.gives(access_token="narrow", scope="openid")
        assert page.token(scope="openid")["scope"] == "openid"

    @pytest.mark.parametrize(("told", "answered"), [("", ""), (..., None), (7, None), (None, None)])
    def test_r3_scope_missing_or_empty_at_sign_in(
        self, signed_in: Any, told: Any, answered: Any
    ) -> None:
        assert signed_in(scope=told).token().get("scope") == answered

    def test_r3_scope_missing_in_a_renewal_is_the_one_that_was_asked_for(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS]
        page = signed_in()
        assert page.token(scope="email")["scope"] == "email"
        assert "scope" not in page.token(resource=ORDERS)

    @pytest.mark.parametrize("token_type", ["Bearer", "bearer", "DPoP"])
    def test_r4_token_type_as_it_was_given(self, signed_in: Any, token_type: str) -> None:
        assert signed_in(token_type=token_type).token()["token_type"] == token_type

    def test_r4_no_token_type_is_left_out(self, signed_in: Any) -> None:
        assert "token_type" not in signed_in(token_type=...).token()

    @pytest.mark.parametrize(
        "query", [{}, {"scope": "openid"}, {"resource": "x"}, {"refresh_token": "1"}]
    )
    def test_r5_nothing_but_the_access_token_leaves(
        self, signed_in: Any, authorization_server: Any, query: dict[str, str]
    ) -> None:
        authorization_server.gives(
            access_token="fresh",
            refresh_token="canary-rotated",
            id_token="canary-id-token",
            client_secret="canary",
        )
        page = signed_in(id_token="canary-id-token")
        content = page.fetch(query=query).content.decode()
        assert "canary" not in content.replace(SIGN_IN["access_token"], "")


class TestOrder:
    """R6."""

    def test_r6_no_session_comes_before_all_else(self, page: Page, db: None) -> None:
        answer = page.fetch(query={"resource": "not a uri", "scope": '"'})
        assert json.loads(answer.content)["error"] == "invalid_session"

    def test_r6_a_stored_token_that_fits_comes_before_the_authorization_server(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        for _ in range(3):
            page.token()
        assert authorization_server.calls == 0

    def test_r6_the_authorization_server_is_asked_once_for_what_is_missing(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        first, second = (page.token(scope="openid") for _ in range(2))
        assert first["access_token"] == second["access_token"] == "fresh-1"
        assert authorization_server.calls == 1


class TestNarrowerScope:
    """R7."""

    def test_r7_ask_stores_the_narrower_one_under_what_was_asked(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="narrow", scope="openid", expires_in=600)
        assert page.token(scope="openid")["access_token"] == "narrow"
        assert authorization_server.requests[0]["scope"] == ["openid"]
        assert page.token(scope="openid")["access_token"] == "narrow"
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert authorization_server.calls == 1

    def test_r7_ask_serves_a_wider_answer_with_its_real_scope(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="wide", scope="openid email", expires_in=600)
        for _ in range(2):
            answer = page.token(scope="openid")
            assert (answer["access_token"], answer["scope"]) == ("wide", "openid email")
        assert authorization_server.calls == 1

    def test_r7_ask_strict_refuses_a_wider_answer_and_keeps_the_refresh_token(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "ask-strict"
        page = signed_in()
        authorization_server.gives(
            access_token="wide", scope="openid email", refresh_token="canary-rotated"
        )
        for _ in range(2):
            refusal = page.refusal(scope="openid")
            assert refusal["error"] == "invalid_scope"
            assert "login_url" not in refusal
        assert authorization_server.calls == 1
        page.token(scope="email")
        assert authorization_server.requests[1]["refresh_token"] == ["canary-rotated"]

    def test_r7_ask_strict_serves_what_is_as_narrow_as_asked(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "ask-strict"
        authorization_server.gives(access_token="narrow", scope="openid")
        assert signed_in().token(scope="openid")["access_token"] == "narrow"

    def test_r7_ask_strict_does_not_serve_what_was_stored_when_it_was_not(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="wide", scope="openid email", expires_in=600)
        page.token(scope="openid")
        settings.TMIBFF_NARROWER_SCOPE = "ask-strict"
        authorization_server.gives(access_token="narrow", scope="openid", expires_in=600)
        assert page.token(scope="openid")["access_token"] == "narrow"

    def test_r7_refuse_does_so_at_once(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "refuse"
        page = signed_in()
        assert page.refusal(scope="openid")["error"] == "invalid_scope"
        assert page.token(scope="email openid")["access_token"] == SIGN_IN["access_token"]
        assert authorization_server.calls == 0

    def test_r7_serve_hands_out_the_stored_wider_one(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "serve"
        answer = signed_in().token(scope="openid")
        assert answer["access_token"] == SIGN_IN["access_token"]
        assert answer["scope"] == "openid email"
        assert authorization_server.calls == 0

    def test_r7_serve_renews_the_wider_one_once_it_has_expired(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "serve"
        assert signed_in(expires_in=0).token(scope="openid")["access_token"] == "fresh-1"
        assert "scope" not in authorization_server.requests[0]

    def test_r7_serve_knows_a_resources_wider_token_too(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "serve"
        settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "read write"}}
        page = signed_in()
        wide = page.token(resource=ORDERS)
        assert page.token(resource=ORDERS, scope="read") == wide

    @pytest.mark.parametrize("choice", ["refuse", "serve"])
    def test_r7_a_stored_token_that_fits_exactly_is_served_all_the_same(
        self, signed_in: Any, settings: Any, authorization_server: Any, choice: str
    ) -> None:
        settings.TMIBFF_DEFAULT_SCOPE = "email"
        settings.TMIBFF_NARROWER_SCOPE = choice
        page = signed_in()
        authorization_server.gives(access_token="narrow", scope="email", expires_in=600)
        for query in ({}, {"scope": "email"}):
            assert page.token(**query)["access_token"] == "narrow"

    @pytest.mark.parametrize("choice", ["refuse", "serve"])
    def test_r7_a_server_that_gives_more_than_was_asked_for(
        self, signed_in: Any, settings: Any, authorization_server: Any, choice: str
    ) -> None:
        settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "read write"}}
        settings.TMIBFF_NARROWER_SCOPE = choice
        page = signed_in()
        authorization_server.gives(access_token="wide", scope="read write admin", expires_in=600)
        for _ in range(2):
            if choice == "serve":
                answer = page.token(resource=ORDERS, scope="read write")
                assert (answer["access_token"], answer["scope"]) == ("wide", "read write admin")
            else:
                refusal = page.refusal(resource=ORDERS, scope="read write")
                assert refusal["error"] == "invalid_scope"
        assert authorization_server.calls == 1

    @pytest.mark.parametrize("choice", ["refuse", "serve"])
    def test_r7_nor_is_less_asked_for_a_resource_of_which_nothing_is_stored(
        self, signed_in: Any, settings: Any, authorization_server: Any, choice: str
    ) -> None:
        settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "read write"}}
        settings.TMIBFF_NARROWER_SCOPE = choice
        page = signed_in()
        if choice == "serve":
            assert page.token(resource=ORDERS, scope="read")["scope"] == "read write"
            assert authorization_server.requests[0]["scope"] == ["read write"]
        else:
            assert page.refusal(resource=ORDERS, scope="read")["error"] == "invalid_scope"
            assert authorization_server.calls == 0

    def test_r7_serve_goes_by_what_the_stored_token_really_has(
        self, signed_in: Any, settings: Any, authorization_server: Any
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "serve"
        page = signed_in(expires_in=0)
        authorization_server.gives(access_token="narrowed", scope="openid", expires_in=600)
        page.token()
        assert page.token(scope="email")["access_token"] == "fresh-2"
        assert authorization_server.requests[1]["scope"] == ["email"]

    def test_r7_a_misspelt_choice_costs_no_refresh_token(
        self, signed_in: Any, settings: Any, authorization_server: Any
    ) -> None:
        page = signed_in(expires_in=0)
        settings.TMIBFF_NARROWER_SCOPE = "strict"
        with pytest.raises(ImproperlyConfigured, match="TMIBFF_NARROWER_SCOPE"):
            page.fetch()
        assert authorization_server.calls == 0

    def test_r7_a_renewal_narrower_than_the_sign_in_is_logged_and_shown(
        self, signed_in: Any, authorization_server: Any, token_set: Any, caplog: Any
    ) -> None:
        authorization_server.gives(access_token="narrowed", scope="openid")
        assert signed_in(expires_in=0).token()["scope"] == "openid"
        assert "renewed with a narrower scope than granted" in caplog.text
        assert token_set().scope == "openid"


class TestFit:
    """R8."""

    def test_r8_order_and_repetition_do_not_matter(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        other = "https://api.example/mail"
        settings.TMIBFF_RESOURCES = [ORDERS, other]
        page = signed_in()
        page.token(scope="email openid")
        page.token(scope="openid email openid")
        assert authorization_server.calls == 0
        first = page.token(resource=[ORDERS, other], scope="openid email")
        again = page.token(resource=[other, ORDERS, other], scope="email openid")
        assert first["access_token"] == again["access_token"]
        assert authorization_server.calls == 1

    def test_r8_neither_scope_nor_resource_is_the_default_token(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS]
        page = signed_in()
        assert page.token(resource=ORDERS)["access_token"] == "fresh-1"
        assert page.token()["access_token"] == SIGN_IN["access_token"]


class TestExpiry:
    """R9, R10."""

    @pytest.mark.parametrize(
        ("lifetime", "age", "renewed"),
        [
            (3600, 3600 - 31, False),
            (3600, 3600 - 29, True),
            (20, 9, False),
            (20, 11, True),
            (3600, 3599.5, True),
        ],
    )
    def test_r9_renewed_within_the_margin_which_is_at_most_half_of_the_lifetime(
        self,
        signed_in: Any,
        authorization_server: Any,
        later: Any,
        lifetime: int,
        age: float,
        renewed: bool,
    ) -> None:
        page = signed_in(expires_in=lifetime)
        later(age)
        assert (page.token()["access_token"] == "fresh-1") is renewed

    def test_r9_the_margin_is_a_setting(
        self, signed_in: Any, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_REFRESH_MARGIN = 900
        assert signed_in(expires_in=1000).token()["expires_in"] == 999
        settings.TMIBFF_REFRESH_MARGIN = 1900
        assert signed_in(expires_in=2000).token()["access_token"] == SIGN_IN["access_token"]
        settings.TMIBFF_REFRESH_MARGIN = 900
        assert signed_in(expires_in=1700).token()["access_token"] == SIGN_IN["access_token"]

    def test_r9_served_as_it_is_while_somebody_else_renews(
        self, signed_in: Any, authorization_server: Any, later: Any, token_set: Any
    ) -> None:
        page = signed_in(expires_in=100)
        later(90)
        assert TokenSet.objects.take_lease(token_set().handle, "somebody else", 60)
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert authorization_server.calls == 0

    @pytest.mark.parametrize(
        "failure",
        [
            {"status_code": 503},
            {"status_code": 200, "text": "<html>"},
            {"status_code": 400},
            {"status_code": 401, "json": {"error": "invalid_client"}},
            {"status_code": 400, "json": {"error": "server_error"}},
        ],
    )
    def test_r10_a_token_that_still_works_outlives_a_failed_renewal(
        self, signed_in: Any, authorization_server: Any, later: Any, failure: dict[str, Any]
    ) -> None:
        page = signed_in(expires_in=100)
        later(90)
        authorization_server.answers(**failure)
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        assert authorization_server.calls == 1

    def test_r10_but_not_one_that_has_expired_while_the_server_was_asked(
        self, signed_in: Any, authorization_server: Any, later: Any
    ) -> None:
        page = signed_in(expires_in=100)
        later(90)
        authorization_server.before_answering = lambda: later(15)
        authorization_server.answers(status_code=503)
        assert page.refusal()["error"] == "temporarily_unavailable"

    def test_r10_nor_does_a_database_that_takes_no_writes_matter(
        self, signed_in: Any, authorization_server: Any, later: Any, monkeypatch: Any
    ) -> None:
        def read_only(*args: Any) -> bool:
            raise OperationalError("attempt to write a readonly database")

        page = signed_in(expires_in=100)
        later(90)
        monkeypatch.setattr("django_tmibff.models.TokenSetManager.take_lease", read_only)
        assert page.token()["access_token"] == SIGN_IN["access_token"]
        later(20)
        assert page.refusal()["error"] == "temporarily_unavailable"


class TestStored:
    """R11, R12."""

    def test_r11_scope_expiry_and_type_come_from_store(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(
            access_token="narrow", scope="openid", token_type="bearer", expires_in=500
        )
        page.token(scope="openid")
        stored = page.token(scope="openid")
        assert stored["scope"] == "openid"
        assert stored["token_type"] == "bearer"
        assert 490 < stored["expires_in"] < 500

    def test_r12_an_answer_without_refresh_token_keeps_the_old_one(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        page.token(scope="openid")
        page.token(scope="email")
        assert [call["refresh_token"] for call in authorization_server.requests] == [
            [SIGN_IN["refresh_token"]],
            [SIGN_IN["refresh_token"]],
        ]

    @pytest.mark.parametrize("broken", ["", 7, None, ["x"], "a\nb"])
    def test_r12_nor_does_a_broken_one_replace_it(
        self, signed_in: Any, authorization_server: Any, broken: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="a", refresh_token=broken)
        page.token(scope="openid")
        page.token(scope="email")
        assert authorization_server.requests[1]["refresh_token"] == [SIGN_IN["refresh_token"]]

    def test_b2_a_lifetime_told_without_a_new_refresh_token_counts(
        self, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in(refresh_expires_in=600, expires_in=0)
        first = token_set().expires_at
        authorization_server.gives(access_token="a", refresh_token_expires_in=6000)
        page.token()
        assert (token_set().expires_at - first).total_seconds() > 5000

    def test_r12_a_new_one_replaces_the_old(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        page = signed_in()
        authorization_server.gives(access_token="a", refresh_token="canary-rotated")
        page.token(scope="openid")
        page.token(scope="email")
        assert authorization_server.requests[1]["refresh_token"] == ["canary-rotated"]

    def test_r12_saved_before_the_access_token_is_shown(
        self, signed_in: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        monkeypatch.setattr("django_tmibff.renewal.SAVE_SECONDS", 0)
        monkeypatch.setattr(
            type(stores.current()),
            "put",
            lambda *args, **kwargs: (_ for _ in ()).throw(OperationalError("down")),
        )
        assert page.refusal()["error"] == "temporarily_unavailable"
        assert authorization_server.calls == 1


class TestRecord:
    def test_the_record_tells_of_the_renewal(
        self, signed_in: Any, authorization_server: Any, token_set: Any
    ) -> None:
        page = signed_in(expires_in=0)
        before = timezone.now()
        page.token()
        record = token_set()
        assert record.refresh_count == 1
        assert record.refreshed_at >= before
        assert record.access_expires_at > before
        assert (record.lease_owner, record.lease_until) == ("", 0)

    def test_a_renewal_by_the_authorization_servers_clock_counts_from_before_the_request(
        self, signed_in: Any, authorization_server: Any, monkeypatch: Any
    ) -> None:
        """R2: an answer that took its time does not make the token live longer."""
        page = signed_in(expires_in=0)
        eight_seconds_later = time.time() + 8
        authorization_server.before_answering = lambda: monkeypatch.setattr(
            "time.time", lambda: eight_seconds_later
        )
        authorization_server.gives(access_token="slow", expires_in=100)
        assert page.token()["expires_in"] <= 92


@pytest.mark.usefixtures("without_fast_path")
def test_a_warm_hit_makes_no_write_and_no_needless_query(
    signed_in: Any, authorization_server: Any, django_assert_num_queries: Any
) -> None:
    """R6: session, user, and the token set unless a cache has it; no call to the server."""
    page = signed_in()
    page.token()
    with django_assert_num_queries(2 if stores.current().uses_cache else 3) as captured:
        page.token()
    assert all(query["sql"].startswith("SELECT") for query in captured.captured_queries)
    assert authorization_server.calls == 0


@pytest.mark.usefixtures("without_fast_path")
def test_a_renewal_makes_two_writes(
    signed_in: Any, authorization_server: Any, django_assert_num_queries: Any
) -> None:
    page = signed_in(expires_in=0)
    # cached_db reads the row before and after it writes the cache, so does cache, which also has
    # a lease to give back.
    queries, expected = {"db": (6, 2), "cached_db": (8, 2), "cache": (8, 3)}[store_name()]
    with django_assert_num_queries(queries) as captured:
        page.token()
    writes = [q["sql"] for q in captured.captured_queries if not q["sql"].startswith("SELECT")]
    assert len(writes) == expected
