"""WarmTokenMiddleware: the same answers as the view's, in front of all other middleware.

``make test`` also runs the whole suite behind it (tests/settings_fast_path.py).
"""

import json
import re
import time
from typing import Any, ClassVar

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import UserManager
from django.core.cache import caches
from django.db import OperationalError
from django.db.models import F, QuerySet
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import resolve
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from django_tmibff import middleware, signals, stores, tokens, user_checks
from django_tmibff.checks import endpoints
from django_tmibff.models import TokenSet
from django_tmibff.stores import caching, db
from django_tmibff.warm import reading, recent, usual
from django_tmibff.warm.recent import Owner
from tests.page import FETCH, MODEL_BACKEND, SESSION_INFO, TOKEN, Page
from tests.people.models import Employee, Staff

pytestmark = pytest.mark.django_db

FAST = middleware.PATH
DJANGOS = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


def mark_slow(get_response: Any) -> Any:
    """Mark the answers that have come all the way."""

    def mark(request: Any) -> Any:
        response = get_response(request)
        response.headers["X-Slow"] = "yes"
        return response

    return mark


def without_our_paths(get_response: Any) -> Any:
    """Let all requests have other paths."""

    def choose(request: Any) -> Any:
        request.urlconf = "tests.no_urls"
        return get_response(request)

    return choose


class LooksAtViews(MiddlewareMixin):
    """What Django asks before it calls a view, wherever it stands: it lets nobody in."""

    def process_view(self, request: Any, view: Any, args: Any, kwargs: Any) -> Any:
        return HttpResponse("Not before you have shown a second factor.", status=403)


class OwnBackend(ModelBackend):
    """A backend that finds its users in a way of its own."""

    def get_user(self, user_id: Any) -> Any:
        return super().get_user(user_id)


class OwnManager(UserManager):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(pk__gt=0)


class OwnGet(UserManager):
    def get(self, *args: Any, **kwargs: Any) -> Any:
        return super().get(*args, is_staff=True, **kwargs)


class OwnQuerySet(QuerySet[Any]):
    """What ``get`` goes through."""

    def filter(self, *args: Any, **kwargs: Any) -> Any:
        return super().filter(*args, is_staff=True, **kwargs)


class MoreQuerySet(QuerySet[Any]):
    """It finds users as Django does."""

    def staff(self) -> Any:
        return self.filter(is_staff=True)


class TokenStore(db.TokenStore):
    """A store of a site's own, which this module is then: it has nothing for anybody now."""

    def get(self, handle: str, *, fresh: bool = False) -> Any:
        return None


@pytest.fixture(autouse=True)
def fast(settings: Any) -> None:
    settings.MIDDLEWARE = [FAST, "tests.test_fast_path.mark_slow", *DJANGOS]
    settings.TMIBFF_WARM_SKIPS = ["tests.test_fast_path.mark_slow"]


def is_fast(answer: Any) -> bool:
    assert answer.status_code == 200, answer.content
    return "X-Slow" not in answer.headers


class TestWarm:
    def test_a_stored_token_is_handed_out_in_front(self, signed_in: Any) -> None:
        assert is_fast(signed_in().fetch())

    @pytest.mark.parametrize("query", [{}, {"scope": "openid email"}, {"colour": "red"}])
    def test_r1_with_the_views_status_body_and_headers(
        self, signed_in: Any, settings: Any, query: Any
    ) -> None:
        page = signed_in()
        quick = page.fetch(query=query)
        settings.MIDDLEWARE = DJANGOS
        slow = page.elsewhere().fetch(query=query)
        assert is_fast(quick)
        assert json.loads(quick.content) == json.loads(slow.content)
        added = {"Content-Length"}  # CommonMiddleware's; servers add it themselves.
        assert {k: v for k, v in slow.headers.items() if k not in added} == dict(quick.headers)

    @pytest.mark.parametrize("engine", ["db", "cache", "cached_db", "file", "signed_cookies"])
    def test_with_every_session_engine(
        self, signed_in: Any, settings: Any, tmp_path: Any, engine: str
    ) -> None:
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        settings.SESSION_FILE_PATH = str(tmp_path)
        assert is_fast(signed_in().fetch())

    def test_it_is_told_like_any_other(self, signed_in: Any) -> None:
        heard: list[Any] = []

        def hear(**told: Any) -> None:
            heard.append(told["handle"])

        page = signed_in()
        signals.token_served.connect(hear)
        try:
            assert is_fast(page.fetch())
        finally:
            signals.token_served.disconnect(hear)
        assert heard == [TokenSet.objects.get().handle]

    def test_it_leaves_no_session_behind_where_it_steps_aside(self, signed_in: Any) -> None:
        page = signed_in(expires_in=0)
        request = RequestFactory().get(TOKEN, headers={**FETCH, "host": "app.example"}, secure=True)
        request.COOKIES.update({name: morsel.value for name, morsel in page.cookies.items()})
        seen: list[bool] = []

        def get_response(request: Any) -> Any:
            seen.append(hasattr(request, "session"))
            return resolve(SESSION_INFO)

        middleware.WarmTokenMiddleware(get_response)(request)
        assert seen == [False]


class TestReadingAtOnce:
    """What a session led to when it was last here is read together with it."""

    @pytest.fixture(autouse=True)
    def unknown(self, monkeypatch: Any) -> None:
        """No session was here before."""
        monkeypatch.setattr(recent, "_owners", {})

    @pytest.fixture
    def rows(self, settings: Any) -> None:
        """All is in the database."""
        settings.TMIBFF_STORE = "django_tmibff.stores.db"

    @pytest.fixture
    def entries(self, settings: Any) -> None:
        """All is in the cache, but for the user."""
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        settings.TMIBFF_USER_CHECK_SECONDS = 20
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"

    @pytest.mark.usefixtures("rows")
    def test_one_statement_for_a_session_that_was_here(
        self, signed_in: Any, django_assert_num_queries: Any
    ) -> None:
        page = signed_in()
        with django_assert_num_queries(2):
            assert is_fast(page.fetch())
        with django_assert_num_queries(1):
            assert is_fast(page.fetch())

    @pytest.mark.usefixtures("entries")
    @pytest.mark.parametrize("seconds", [0, 20])
    def test_one_call_to_the_cache_for_a_session_that_was_here(
        self, signed_in: Any, monkeypatch: Any, settings: Any, seconds: int
    ) -> None:
        settings.TMIBFF_USER_CHECK_SECONDS = seconds
        page = signed_in()
        assert is_fast(page.fetch())
        calls: list[str] = []
        cache = type(caches["default"])
        for name in ("get", "get_many"):
            monkeypatch.setattr(cache, name, called(calls, name, getattr(cache, name)))
        assert is_fast(page.fetch())
        assert calls[0] == "get_many"
        assert set(calls[1:]) <= {"get"}, "Django's own get_many asks with get"
        assert len(calls) <= (4 if seconds else 3)

    @pytest.mark.parametrize("kept", ["rows", "entries"])
    def test_a_wrong_guess_costs_a_reading_and_nothing_else(
        self, request: Any, signed_in: Any, kept: str
    ) -> None:
        request.getfixturevalue(kept)
        page, other = signed_in(), Page()
        other.sign_in(get_user_model().objects.create_user("other", password="x"))
        other.store({"access_token": "of somebody else"})
        assert is_fast(other.fetch())
        [others] = recent._owners.values()
        for guess in (others, Owner(others.handle, page_user(page)), Owner("none", "-1")):
            recent.remember(page.session.session_key, guess)
            answer = page.fetch()
            assert is_fast(answer)
            assert json.loads(answer.content)["access_token"] != "of somebody else"

    @pytest.mark.parametrize("kept", ["rows", "entries"])
    @pytest.mark.parametrize("gone", ["session", "user", "token set"])
    def test_e3_what_is_gone_is_gone(
        self, request: Any, signed_in: Any, user: Any, kept: str, gone: str
    ) -> None:
        request.getfixturevalue(kept)
        page = signed_in()
        assert is_fast(page.fetch())
        if gone == "session":
            page.session.flush()
        if gone == "user":
            user.delete()
        if gone == "token set":
            tokens.end(TokenSet.objects.get().handle, "ended")
        assert page.refusal()["error"] == "invalid_session"

    def test_only_so_many_are_remembered(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(recent, "_MOST", 10)
        for number in range(25):
            recent.remember(f"session {number}", Owner("handle", "1"))
        assert len(recent._owners) == 5
        assert recent.owner("session 24") == Owner("handle", "1")
        assert not any(b"session" in key for key in recent._owners)


def called(calls: list[str], name: str, method: Any) -> Any:
    """Return ``method``, which notes its name in ``calls`` when it is called."""

    def note(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return method(*args, **kwargs)

    return note


def page_user(page: Page) -> str:
    """Return the id of the user who is signed in there."""
    return str(page.session["_auth_user_id"])


class TestNotWarm:
    """Then the view answers, whatever it says."""

    def test_what_is_not_a_warm_hit(self, signed_in: Any, authorization_server: Any) -> None:
        page = signed_in(expires_in=0)
        answer = page.fetch()
        assert not is_fast(answer)
        assert json.loads(answer.content)["access_token"] == "fresh-1"
        assert is_fast(page.fetch())

    def test_other_paths_and_methods(self, signed_in: Any) -> None:
        page = signed_in()
        assert not is_fast(page.fetch(SESSION_INFO))
        assert not is_fast(page.fetch(method="POST"))

    def test_t6_a_refused_token(self, signed_in: Any) -> None:
        assert not is_fast(signed_in().fetch(headers={"tmibff-refused": "x"}))

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"origin": "https://evil.example"}, 403),
            ({"sec-purpose": "prefetch"}, 403),
            ({"host": "evil.example"}, 400),
        ],
    )
    def test_e5_what_may_come_from_elsewhere(
        self, signed_in: Any, headers: dict[str, str], status: int
    ) -> None:
        answer = signed_in().fetch(headers=headers)
        assert (answer.status_code, answer.headers.get("X-Slow")) == (status, "yes")

    def test_e2_plain_http(self, signed_in: Any) -> None:
        answer = signed_in().get(TOKEN, headers=FETCH)
        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "change",
        [
            {"is_active": False},
            {"password": "another"},
        ],
    )
    def test_e3_a_user_who_is_out(self, signed_in: Any, user: Any, change: dict[str, Any]) -> None:
        page = signed_in()
        assert is_fast(page.fetch())
        get_user_model().objects.filter(pk=user.pk).update(**change)
        assert page.refusal()["error"] == "invalid_session"

    def test_e3_a_user_who_is_gone(self, signed_in: Any, user: Any) -> None:
        page = signed_in()
        user.delete()
        assert page.refusal()["error"] == "invalid_session"

    def test_e3_a_hash_of_an_older_secret_key_is_djangos_to_renew(
        self, signed_in: Any, settings: Any
    ) -> None:
        page = signed_in()
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "new" * 20
        assert not is_fast(page.fetch())

    def test_a_set_that_has_ended(self, signed_in: Any, token_set: Any) -> None:
        page = signed_in()
        TokenSet.objects.update(ended_at=timezone.now())
        caches["default"].clear()
        page.sign_in(get_user_model().objects.get())
        assert page.refusal()["error"] in ("backend_not_ready", "invalid_session")

    def test_one_of_another_user(self, signed_in: Any, token_set: Any) -> None:
        page = signed_in()
        assert is_fast(page.fetch())
        other = get_user_model().objects.create_user("mallory", password="m")
        thief = Page()
        thief.sign_in(other)
        session = thief.session
        session["_tmibff_token_set"] = token_set().handle
        session.save()
        assert thief.refusal()["error"] == "backend_not_ready"

    def test_a_session_key_that_moved_is_recorded_by_the_view(self, signed_in: Any) -> None:
        page = signed_in()
        session = page.session
        session.cycle_key()
        page.cookies["sessionid"] = session.session_key
        assert not is_fast(page.fetch())
        assert is_fast(page.fetch())

    @pytest.mark.parametrize("cookie", ["", "short", "x" * 32, "x" * 5000, "\x00" * 32, "é" * 32])
    def test_e3_any_cookie(self, page: Page, cookie: str) -> None:
        page.cookies["sessionid"] = cookie
        assert page.refusal()["error"] == "invalid_session"

    def test_a_session_of_a_backend_that_is_not_used_any_more(
        self, signed_in: Any, settings: Any
    ) -> None:
        page = signed_in()
        settings.AUTHENTICATION_BACKENDS = ["django_tmibff.backends.OIDCAuthenticationBackend"]
        assert page.refusal()["error"] == "invalid_session"

    def test_whatever_fails_is_the_views_to_answer(
        self, signed_in: Any, monkeypatch: Any, caplog: Any
    ) -> None:
        def fail(*args: Any) -> None:
            raise OperationalError("canary")

        page = signed_in()
        monkeypatch.setattr(reading, "_checked", fail)
        assert not is_fast(page.fetch())
        assert "fast path not taken: OperationalError" in caplog.text
        assert "canary" not in caplog.text


class TestAsTheView:
    """E3: whatever was done to a session, the fast path gives nothing that the view would not."""

    @staticmethod
    def expires(page: Page, settings: Any) -> None:
        page.session.get_model_class().objects.update(expire_date=timezone.now())

    @staticmethod
    def loses_its_hash(page: Page, settings: Any) -> None:
        changed(page, _auth_user_hash="")

    @staticmethod
    def is_of_somebody_else(page: Page, settings: Any) -> None:
        other = get_user_model().objects.create_user("mallory", password="m")
        changed(page, _auth_user_id=str(other.pk), _auth_user_hash=other.get_session_auth_hash())

    @staticmethod
    def is_of_nobody(page: Page, settings: Any) -> None:
        changed(page, _auth_user_id="no key of anybody's")

    @staticmethod
    def is_of_an_unknown_backend(page: Page, settings: Any) -> None:
        changed(page, _auth_user_backend="django.contrib.auth.backends.BaseBackend")

    @staticmethod
    def is_tampered_with(page: Page, settings: Any) -> None:
        [row] = page.session.get_model_class().objects.all()
        row.session_data = f"x{row.session_data}"
        row.save()

    @staticmethod
    def has_another_handle(page: Page, settings: Any) -> None:
        changed(page, **{tokens.SESSION_KEY: "0" * 32})

    @staticmethod
    def has_a_blob_of_another_version(page: Page, settings: Any) -> None:
        TokenSet.objects.update(version=F("version") + 1)

    @staticmethod
    def has_a_blob_of_another_provider(page: Page, settings: Any) -> None:
        TokenSet.objects.update(provider="partner")

    @staticmethod
    def has_a_blob_of_another_set(page: Page, settings: Any) -> None:
        other = Page()
        other.sign_in(get_user_model().objects.get())
        record = other.store({"access_token": "canary-of-another-session"})
        sealed = TokenSet.objects.get(pk=record.pk).sealed
        TokenSet.objects.exclude(pk=record.pk).update(sealed=sealed)

    @staticmethod
    def has_ended(page: Page, settings: Any) -> None:
        TokenSet.objects.update(ended_at=timezone.now())

    @staticmethod
    def has_lost_its_key(page: Page, settings: Any) -> None:
        settings.TMIBFF_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    @staticmethod
    def has_a_new_secret_key(page: Page, settings: Any) -> None:
        settings.SECRET_KEY = "new" * 20

    CHANGES: ClassVar = [
        *(expires, loses_its_hash, is_of_somebody_else, is_of_nobody, is_of_an_unknown_backend),
        *(is_tampered_with, has_another_handle, has_a_blob_of_another_version, has_ended),
        *(has_a_blob_of_another_provider, has_a_blob_of_another_set, has_lost_its_key),
        has_a_new_secret_key,
    ]

    @pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
    def test_e3_both_refuse_it_alike(self, signed_in: Any, settings: Any, change: Any) -> None:
        settings.TMIBFF_STORE = "django_tmibff.stores.db"
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        page = signed_in()
        assert is_fast(page.fetch()), "now it is known whose it is"
        change(page, settings)
        refused = page.refusal()
        settings.MIDDLEWARE = DJANGOS
        assert refused == page.elsewhere().refusal()
        assert refused["error"] in ("invalid_session", "backend_not_ready")


def changed(page: Page, **values: Any) -> None:
    """Change what the page's session says."""
    session = page.session
    session.update(values)
    session.save()


class TestObstacles:
    def said(self) -> list[str]:
        return list(middleware.obstacles())

    def test_none_in_the_usual_site(self, settings: Any) -> None:
        settings.MIDDLEWARE = [
            FAST,
            "corsheaders.middleware.CorsMiddleware",
            "whitenoise.middleware.WhiteNoiseMiddleware",
            *DJANGOS,
            "mozilla_django_oidc.middleware.SessionRefresh",
        ]
        assert self.said() == []
        assert endpoints.check_fast_path(None) == []

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("site.tenants.Middleware", "site.tenants.Middleware would be skipped"),
            ("djangoish.Middleware", "djangoish.Middleware would be skipped"),
            ("django.contrib.auth.middleware.RemoteUserMiddleware", "would be skipped"),
        ],
    )
    def test_a_middleware_that_nobody_knows(self, settings: Any, path: str, said: str) -> None:
        settings.MIDDLEWARE = [FAST, *DJANGOS, path]
        [sentence] = self.said()
        assert said in sentence
        settings.TMIBFF_WARM_SKIPS = [path]
        assert self.said() == []

    def test_what_stands_before_it_is_not_skipped(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["site.tenants.Middleware", FAST, *DJANGOS]
        assert self.said() == []

    def test_but_its_look_at_the_view_would_be(self, signed_in: Any, settings: Any) -> None:
        own = "tests.test_fast_path.LooksAtViews"
        settings.MIDDLEWARE = [own, *settings.MIDDLEWARE]
        [sentence] = self.said()
        assert f"{own} would be skipped" in sentence
        assert signed_in().fetch().status_code == 403
        settings.TMIBFF_WARM_SKIPS = [*settings.TMIBFF_WARM_SKIPS, own]
        assert self.said() == []

    def test_djangos_own_look_at_the_view_does_no_harm(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware", FAST, *DJANGOS]
        assert self.said() == []

    @pytest.mark.parametrize("missing", [DJANGOS[1], DJANGOS[3]])
    def test_sessions_and_users_of_another_kind(self, settings: Any, missing: str) -> None:
        settings.MIDDLEWARE = [FAST, *(path for path in DJANGOS if path != missing)]
        assert missing in self.said()[0]

    def test_a_session_that_every_request_prolongs(self, settings: Any) -> None:
        settings.SESSION_SAVE_EVERY_REQUEST = True
        assert "SESSION_SAVE_EVERY_REQUEST" in self.said()[0]

    def test_a_backend_of_its_own_kind(self, settings: Any) -> None:
        settings.AUTHENTICATION_BACKENDS = ["tests.test_fast_path.OwnBackend", MODEL_BACKEND]
        [sentence] = self.said()
        assert sentence.startswith("tests.test_fast_path.OwnBackend has a get_user")

    def test_users_in_another_database(self, settings: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(usual.router, "db_for_read", lambda model: "users")
        assert "different databases" in self.said()[0]

    def test_a_hash_of_its_own(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(get_user_model(), "get_session_auth_hash", lambda self: "x")
        assert "get_session_auth_hash" in self.said()[0]

    def test_an_is_active_of_its_own(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(usual, "BooleanField", int)
        assert "is_active" in self.said()[0]

    def test_a_browser_that_is_not_wanted(self, settings: Any) -> None:
        settings.DISALLOWED_USER_AGENTS = [re.compile("Bad")]
        assert "DISALLOWED_USER_AGENTS" in self.said()[0]

    @pytest.mark.parametrize("urls", ["tests.guarded_urls", "tests.no_urls"])
    def test_a_view_of_the_sites_own(self, signed_in: Any, settings: Any, urls: str) -> None:
        """Which may ask for more than ours does."""
        settings.ROOT_URLCONF = urls
        assert "own view" in self.said()[0]
        assert signed_in().fetch().status_code in (403, 404)

    def test_another_urlconf_for_one_request(self, signed_in: Any, settings: Any) -> None:
        other = "tests.test_fast_path.without_our_paths"
        settings.MIDDLEWARE = [other, *settings.MIDDLEWARE]
        assert self.said() == []
        assert signed_in().fetch().status_code == 404

    def test_an_is_authenticated_of_its_own(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(get_user_model(), "is_authenticated", property(lambda self: False))
        assert "is_authenticated" in self.said()[0]

    def test_an_is_active_that_is_computed(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(get_user_model(), "is_active", property(lambda self: False))
        assert "is_active" in self.said()[0]

    def with_manager(self, monkeypatch: Any, manager: Any) -> list[str]:
        """Return what is said of users who are found by this manager."""
        manager.model = get_user_model()
        monkeypatch.setattr(get_user_model(), "objects", manager)
        return self.said()

    def test_a_manager_of_its_own(self, monkeypatch: Any) -> None:
        assert "get_queryset" in self.with_manager(monkeypatch, OwnManager())[0]

    @pytest.mark.parametrize(
        "kind", [OwnGet, UserManager.from_queryset(OwnQuerySet), OwnQuerySet.as_manager]
    )
    def test_e3_a_manager_that_finds_fewer_users(self, monkeypatch: Any, kind: Any) -> None:
        [sentence] = self.with_manager(monkeypatch, kind())
        assert "finds users in a way of its own" in sentence

    def test_one_that_can_do_more_is_none(self, monkeypatch: Any) -> None:
        assert self.with_manager(monkeypatch, UserManager.from_queryset(MoreQuerySet)()) == []

    def test_a_store_of_its_own(self, signed_in: Any, settings: Any) -> None:
        """Whose ``get`` may hand out less than is in the row."""
        settings.TMIBFF_STORE = "django_tmibff.stores.db"
        page = signed_in()
        assert is_fast(page.fetch())
        settings.TMIBFF_STORE = "tests.test_fast_path"
        assert self.said() == ["TMIBFF_STORE has a get of its own."]
        assert page.elsewhere().refusal()["error"] == "backend_not_ready"

    def test_a_store_that_cannot_be_used_is_said_elsewhere(self, settings: Any) -> None:
        settings.TMIBFF_STORE = "tests.not_a_store"
        assert self.said() == []

    def test_w008_says_so_and_nothing_is_fast(self, signed_in: Any, settings: Any) -> None:
        settings.TMIBFF_WARM_SKIPS = []
        [message] = endpoints.check_fast_path(None)
        assert message.id == "django_tmibff.W008"
        assert "tests.test_fast_path.mark_slow would be skipped" in message.msg
        assert not is_fast(signed_in().fetch())

    def test_w008_not_where_it_is_not_used(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["site.tenants.Middleware"]
        assert endpoints.check_fast_path(None) == []

    def test_w008_a_window_needs_a_cache(self, settings: Any) -> None:
        settings.TMIBFF_USER_CHECK_SECONDS = 10
        settings.TMIBFF_STORE = "django_tmibff.stores.db"
        [message] = endpoints.check_fast_path(None)
        assert "TMIBFF_USER_CHECK_SECONDS" in message.msg
        settings.TMIBFF_STORE = "django_tmibff.stores.cache"
        assert endpoints.check_fast_path(None) == []


class TestWindow:
    """E3: a check of the user that is trusted for some seconds."""

    @pytest.fixture(autouse=True, params=["cache", "cached_db"])
    def window(self, request: Any, settings: Any) -> None:
        settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
        settings.TMIBFF_USER_CHECK_SECONDS = 20
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"

    @pytest.fixture
    def checked(self, signed_in: Any) -> Page:
        """A page whose user was checked a moment ago."""
        page = signed_in()
        assert is_fast(page.fetch())
        return page

    def test_no_query_within_it(self, checked: Page, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(0):
            assert is_fast(checked.fetch())

    def test_e3_a_bulk_update_is_seen_at_its_end(self, checked: Page, user: Any) -> None:
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        assert is_fast(checked.fetch())
        caching.remember(user_checks._fact(str(user.pk)), None, 0)
        assert checked.refusal()["error"] == "invalid_session"

    @pytest.mark.parametrize("change", ["deactivated", "password", "deleted"])
    def test_e3_a_user_who_is_saved_or_deleted_ends_it_at_once(
        self, checked: Page, user: Any, change: str
    ) -> None:
        if change == "deactivated":
            user.is_active = False
        if change == "password":
            user.set_password("new")
        user.delete() if change == "deleted" else user.save()
        assert checked.refusal()["error"] == "invalid_session"

    @pytest.mark.parametrize("seen_as", [Staff, Employee])
    def test_e3_also_where_it_is_saved_as_another_model(
        self, checked: Page, user: Any, seen_as: Any
    ) -> None:
        """A proxy of the user model, or a child of it with a key of its own."""
        seen = seen_as.of(user)
        seen.set_password("new")
        seen.save()
        assert checked.refusal()["error"] == "invalid_session"

    def test_e3_a_check_that_began_before_the_change_is_not_trusted(
        self, signed_in: Any, user: Any, monkeypatch: Any
    ) -> None:
        page = signed_in()
        is_active = reading._is_active

        def deactivated_meanwhile(*arguments: Any) -> bool:
            found = is_active(*arguments)
            user.is_active = False
            user.save()
            return found

        monkeypatch.setattr(reading, "_is_active", deactivated_meanwhile)
        page.fetch()
        monkeypatch.setattr(reading, "_is_active", is_active)
        assert page.refusal()["error"] == "invalid_session"

    def test_e3_a_check_that_took_longer_than_the_window_is_not_trusted(
        self, signed_in: Any, user: Any, monkeypatch: Any
    ) -> None:
        page = signed_in()
        start, is_active = time.time(), reading._is_active

        def stalls(*arguments: Any) -> bool:
            found = is_active(*arguments)
            monkeypatch.setattr("time.time", lambda: start + 21)
            return found

        monkeypatch.setattr(reading, "_is_active", stalls)
        page.fetch()
        monkeypatch.setattr(reading, "_is_active", is_active)
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        assert page.refusal()["error"] == "invalid_session"

    def test_another_sessions_hash_is_checked_by_itself(self, checked: Page, user: Any) -> None:
        session = checked.session
        session["_auth_user_hash"] = "x" * 64
        session.save()
        assert checked.refusal()["error"] == "invalid_session"

    def test_a_minute_at_the_most(self, settings: Any) -> None:
        settings.TMIBFF_USER_CHECK_SECONDS = 3600
        assert middleware.settings.user_check_seconds == 60

    def test_a_cache_that_fails_costs_the_window_only(
        self, checked: Page, monkeypatch: Any, settings: Any
    ) -> None:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"

        def fail(*args: Any, **kwargs: Any) -> None:
            raise OSError("down")

        monkeypatch.setattr(type(caches["default"]), "get_many", fail)
        monkeypatch.setattr(type(caches["default"]), "add", fail)
        assert stores.current().uses_cache
        page = checked.elsewhere()
        page.sign_in(get_user_model().objects.get())
        page.store()
        assert is_fast(page.fetch())
