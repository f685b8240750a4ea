"""PROTOCOL S: who is signed in."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.utils import timezone

from django_tmibff import stores
from tests.page import SESSION_INFO, Page

CLAIMS = {
    "iss": "https://op.example",
    "sub": "248289761001",
    "auth_time": 1_700_000_000,
    "name": "Alice",
    "email": "alice@op.example",
    "email_verified": True,
    "nonce": "n",
    "groups": ["staff"],
}


def info(page: Page) -> dict[str, Any]:
    answer = page.fetch(SESSION_INFO)
    assert answer.status_code == 200
    return json.loads(answer.content)


@pytest.fixture
def with_claims(page: Page, user: Any) -> Page:
    page.sign_in(user)
    page.store(claims=CLAIMS)
    return page


def own_session_info(request: Any) -> dict[str, Any]:
    """A site's own content."""
    return {"name": request.user.get_username(), "theme": "dark"}


class TestMethod:
    def test_s1_get_gives_a_json_object(self, with_claims: Page) -> None:
        assert info(with_claims)["sub"] == "248289761001"

    def test_s1_nothing_but_get(self, with_claims: Page) -> None:
        assert with_claims.fetch(SESSION_INFO, method="POST").status_code == 405


class TestContent:
    def test_s2_the_identity_and_the_listed_claims(self, with_claims: Page) -> None:
        known = info(with_claims)
        assert known.pop("exp") > time.time()
        assert known == {
            "iss": "https://op.example",
            "sub": "248289761001",
            "auth_time": 1_700_000_000,
            "name": "Alice",
            "email": "alice@op.example",
            "email_verified": True,
        }

    def test_s2_the_site_lists_the_claims(self, page: Page, user: Any, settings: Any) -> None:
        settings.TMIBFF_SESSION_INFO_CLAIMS = ["groups"]
        page.sign_in(user)
        page.store(claims=CLAIMS)
        assert set(info(page)) == {"iss", "sub", "auth_time", "groups", "exp"}

    def test_s2_without_oidc_what_the_user_model_knows(self, page: Page, user: Any) -> None:
        page.sign_in(user)
        known = info(page)
        assert known.pop("exp") > time.time()
        expected = {"sub": str(user.pk), "preferred_username": "alice"}
        assert known == expected

    def test_s2_name_and_email_where_the_user_model_has_them(self, page: Page, user: Any) -> None:
        if not hasattr(user, "email"):
            assert "email" not in get_user_model()().__dict__
            return
        user.first_name, user.last_name, user.email = "Alice", "Liddell", "alice@app.example"
        user.save()
        page.sign_in(user)
        known = info(page)
        assert (known["name"], known["email"]) == ("Alice Liddell", "alice@app.example")

    def test_s2_exp_is_the_stored_end_of_the_session(self, with_claims: Page) -> None:
        ends_at = timezone.now() + timedelta(minutes=10)
        Session.objects.update(expire_date=ends_at)
        stored = Session.objects.get().expire_date
        assert info(with_claims)["exp"] == int(stored.timestamp())

    def test_s2_exp_is_the_end_that_the_session_was_given(self, with_claims: Page) -> None:
        session = with_claims.session
        session.set_expiry(timezone.now() + timedelta(minutes=5))
        session.save()
        assert abs(info(with_claims)["exp"] - (time.time() + 300)) < 5

    @pytest.mark.parametrize("member", ["access_token", "refresh_token", "id_token", "nonce"])
    def test_r5_no_token_is_in_it(self, page: Page, user: Any, member: str) -> None:
        page.sign_in(user)
        page.store({"id_token": "canary-id-token"}, claims={**CLAIMS, member: "canary"})
        assert "canary" not in page.fetch(SESSION_INFO).content.decode()


class TestOwnContent:
    def test_s3_by_a_function_of_the_sites_own(self, with_claims: Page, settings: Any) -> None:
        settings.TMIBFF_SESSION_INFO = "tests.test_sessioninfo.own_session_info"
        assert info(with_claims) == {"name": "alice", "theme": "dark"}


class TestHarmless:
    """S4."""

    def test_s4_neither_writes_nor_asks_the_authorization_server(
        self, page: Page, user: Any, authorization_server: Any, django_assert_num_queries: Any
    ) -> None:
        page.sign_in(user)
        page.store({"expires_in": 0}, claims=CLAIMS)
        page.fetch(SESSION_INFO)
        with django_assert_num_queries(3 if stores.current().uses_cache else 4) as captured:
            answer = page.fetch(SESSION_INFO)
        assert all(query["sql"].startswith("SELECT") for query in captured.captured_queries)
        assert not answer.cookies
        assert authorization_server.calls == 0
