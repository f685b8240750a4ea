"""System checks: each id, its hint, and when it is silent."""

import ast
import json
import re
import secrets
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from cryptography.fernet import Fernet
from django.conf.urls.i18n import i18n_patterns
from django.core import checks as django_checks
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings
from django.urls import get_script_prefix, include, path, re_path, set_script_prefix
from mozilla_django_oidc.middleware import SessionRefresh

from django_tmibff import checks
from django_tmibff.checks import CHECKS, endpoints, session, sign_in, values
from tests.named import TESTS
from tests.page import HOST, TOKEN
from tests.real.gunicorn import PROJECT
from tests.real.processes import run
from tests.urls import index

PAGE = PROJECT / "docs" / "checks.md"
THEIRS = path("oidc/", include("mozilla_django_oidc.urls"))
EXEMPT = ["tmibff-token", "tmibff-sessioninfo"]


class OwnSessionRefresh(SessionRefresh):
    """A site's own, built on mozilla-django-oidc's."""


def ids(messages: list[Any]) -> list[str]:
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def urls(*patterns: Any) -> Any:
    """Return what may stand for the module of a project's paths."""
    module = ModuleType("paths")
    module.urlpatterns = [*patterns]
    return module


class TestSessionRefresh:
    """E11: E001."""

    @pytest.fixture(autouse=True)
    def installed(self, settings: Any) -> None:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_checks.OwnSessionRefresh"]

    @pytest.mark.parametrize("exempt", [[], EXEMPT[:1], EXEMPT[1:], [re.compile("^/api/")]])
    def test_e11_stands_until_both_urls_are_exempt(self, settings: Any, exempt: list[Any]) -> None:
        settings.OIDC_EXEMPT_URLS = exempt
        [message] = endpoints.check_session_refresh(None)
        assert (message.id, message.level) == ("django_tmibff.E001", django_checks.ERROR)
        assert "OIDC_EXEMPT_URLS" in message.hint

    @pytest.mark.parametrize(
        "exempt",
        [
            EXEMPT,
            ["/.well-known/bff-token", "tmibff-sessioninfo"],
            [re.compile(r"^/\.well-known/")],
        ],
    )
    def test_e11_by_name_by_path_or_by_pattern(self, settings: Any, exempt: list[Any]) -> None:
        settings.OIDC_EXEMPT_URLS = exempt
        assert endpoints.check_session_refresh(None) == []

    def test_e11_the_urls_are_not_even_included(self, settings: Any) -> None:
        settings.ROOT_URLCONF = "tests.no_urls"
        assert ids(endpoints.check_session_refresh(None)) == ["django_tmibff.E001"]

    def test_e11_a_middleware_that_is_none(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["no.such.middleware", "tests.test_guard.weakening_middleware"]
        assert endpoints.check_session_refresh(None) == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TMIBFF_STORE", "no.such.store", "TMIBFF_STORE"),
        ("TMIBFF_ENCRYPTION_KEYS", ["short"], "TMIBFF_ENCRYPTION_KEYS"),
        ("TMIBFF_NARROWER_SCOPE", "maybe", "TMIBFF_NARROWER_SCOPE"),
        ("TMIBFF_CLIENT_AUTH", {"method": "magic"}, "TMIBFF_CLIENT_AUTH"),
        ("TMIBFF_CLIENT_AUTH", "client_secret_basic", "TMIBFF_CLIENT_AUTH"),
        (
            "TMIBFF_CLIENT_AUTH",
            {"method": "tls_client_auth", "certificate": "/no/such/file.pem"},
            "TMIBFF_CLIENT_AUTH",
        ),
        ("TMIBFF_PROVIDERS", {"default": {"colour": "red"}}, "TMIBFF_PROVIDERS"),
        ("TMIBFF_PROVIDERS", {"other": {"token_endpiont": "x"}}, "TMIBFF_PROVIDERS"),
        ("TMIBFF_RESOURCES", "https://api.example", "TMIBFF_RESOURCES"),
        ("TMIBFF_RESOURCES", ["orders"], "TMIBFF_RESOURCES"),
        ("TMIBFF_ORIGINS", ["https://api.example/orders"], "TMIBFF_ORIGINS"),
        ("TMIBFF_ORIGINS", ["*"], "TMIBFF_ORIGINS"),
        ("TMIBFF_RESOURCES", {"https://a.example": {"origins": [None]}}, "TMIBFF_RESOURCES"),
        ("TMIBFF_SESSION_INFO", "no.such.function", "TMIBFF_SESSION_INFO"),
        ("TMIBFF_SCOPES", "orders:read", "TMIBFF_SCOPES"),
        ("TMIBFF_SCOPES", ["orders:read orders:write"], "TMIBFF_SCOPES"),
        ("TMIBFF_SCOPES", ['"'], "TMIBFF_SCOPES"),
        ("TMIBFF_DEFAULT_SCOPE", "openid  email", "TMIBFF_DEFAULT_SCOPE"),
        ("TMIBFF_DEFAULT_SCOPE", ["openid"], "TMIBFF_DEFAULT_SCOPE"),
        ("TMIBFF_REQUIRED_HEADER", "X-Requested-With: fetch", "TMIBFF_REQUIRED_HEADER"),
        ("TMIBFF_REQUIRED_HEADER", True, "TMIBFF_REQUIRED_HEADER"),
        ("TMIBFF_END_SESSION_ON_INVALID_GRANT", "no", "TMIBFF_END_SESSION_ON_INVALID_GRANT"),
        ("TMIBFF_ACCEPT_UNVERIFIED_EMAIL", "no", "TMIBFF_ACCEPT_UNVERIFIED_EMAIL"),
        ("TMIBFF_SESSION_INFO_CLAIMS", "name", "TMIBFF_SESSION_INFO_CLAIMS"),
        ("TMIBFF_SESSION_INFO_CLAIMS", None, "TMIBFF_SESSION_INFO_CLAIMS"),
        ("TMIBFF_WARM_SKIPS", "tenants.Middleware", "TMIBFF_WARM_SKIPS"),
        ("TMIBFF_WARM_SKIPS", None, "TMIBFF_WARM_SKIPS"),
        ("TMIBFF_REFRESH_MARGIN", "soon", "TMIBFF_REFRESH_MARGIN"),
        ("TMIBFF_AS_TIMEOUT", -1, "TMIBFF_AS_TIMEOUT"),
    ],
)
def test_e002_a_value_that_cannot_be_used(settings: Any, name: str, value: Any, said: str) -> None:
    setattr(settings, name, value)
    messages = values.check_settings_usable(None)
    assert set(ids(messages)) == {"django_tmibff.E002"}
    assert all(said in message.msg for message in messages)


@pytest.mark.parametrize("store", ["cached_db", "cache"])
@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("locmem.LocMemCache", "not all processes share"),
        ("dummy.DummyCache", "not all processes share"),
        ("filebased.FileBasedCache", "not all processes share"),
        ("no.such.Cache", "does not exist"),
    ],
)
def test_e003_a_cache_that_is_not_shared(
    settings: Any, tmp_path: Path, store: str, backend: str, said: str
) -> None:
    backend = f"django.core.cache.backends.{backend}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path / "cache")}}
    settings.TMIBFF_STORE = f"django_tmibff.stores.{store}"
    [message] = values.check_cache(None)
    assert (message.id, message.level) == ("django_tmibff.E003", django_checks.ERROR)
    assert said in message.msg
    assert "TMIBFF_CACHE_ALIAS" in message.hint


def test_e003_an_alias_that_does_not_exist(settings: Any) -> None:
    settings.TMIBFF_STORE = "django_tmibff.stores.cached_db"
    settings.TMIBFF_CACHE_ALIAS = "misspelt"
    [message] = values.check_cache(None)
    assert "'misspelt', which does not exist" in message.msg


def test_e003_is_silent_on_a_shared_cache_and_where_none_is_used(settings: Any) -> None:
    settings.TMIBFF_STORE = "django_tmibff.stores.db"
    assert values.check_cache(None) == []
    settings.TMIBFF_STORE = "no.such.store"
    assert values.check_cache(None) == []
    settings.TMIBFF_STORE = "django_tmibff.stores.cache"
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache"}}
    settings.CACHES["default"]["LOCATION"] = "cache_table"
    assert values.check_cache(None) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_COOKIE_HTTPONLY", False),
        ("SESSION_COOKIE_SAMESITE", "None"),
        ("SESSION_COOKIE_SAMESITE", False),
    ],
)
def test_e9_w001_says_what_the_session_cookie_lacks(settings: Any, name: str, value: Any) -> None:
    setattr(settings, name, value)
    [message] = session.check_session_cookie(None)
    assert message.id == "django_tmibff.W001"
    assert name in message.msg
    assert name in message.hint


def test_e9_w001_secure_matters_when_deployed(settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = False
    assert session.check_session_cookie(None) == []
    assert ids(session.check_session_cookie_secure(None)) == ["django_tmibff.W001"]
    settings.SESSION_COOKIE_SECURE = True
    assert session.check_session_cookie_secure(None) == []


def test_e004_what_a_sign_in_needs(settings: Any) -> None:
    needed = {*sign_in.OIDC_NEEDED, "OIDC_RP_CLIENT_SECRET"}
    for name in needed:
        delattr(settings, name)
    messages = sign_in.check_oidc(None)
    assert set(ids(messages)) == {"django_tmibff.E004"}
    assert {message.hint for message in messages} == {
        f"Set {name}. manage.py tmibff_discover prints the settings for your provider."
        for name in needed
    }


def test_e004_nothing_is_needed_where_there_is_no_such_sign_in(settings: Any) -> None:
    for name in sign_in.OIDC_NEEDED:
        delattr(settings, name)
    settings.INSTALLED_APPS = [one for one in settings.INSTALLED_APPS if "oidc" not in one]
    assert sign_in.check_oidc(None) == []


@pytest.mark.parametrize("alg", ["RS256", "ES512"])
def test_e004_a_published_key_has_its_place(settings: Any, alg: str) -> None:
    """Without it mozilla-django-oidc raises at each request of anybody."""
    settings.OIDC_RP_SIGN_ALGO = alg
    settings.OIDC_OP_JWKS_ENDPOINT = None
    [message] = sign_in.check_oidc(None)
    assert (message.id, message.msg) == (
        "django_tmibff.E004",
        "OIDC_OP_JWKS_ENDPOINT is not set.",
    )
    settings.OIDC_RP_IDP_SIGN_KEY = "a key"
    assert sign_in.check_oidc(None) == []


def test_e004_a_secret_needs_no_published_key(settings: Any) -> None:
    settings.OIDC_RP_SIGN_ALGO = "HS256"
    settings.OIDC_OP_JWKS_ENDPOINT = None
    assert sign_in.check_oidc(None) == []


def test_e004_a_client_with_a_key_needs_no_secret(settings: Any) -> None:
    del settings.OIDC_RP_CLIENT_SECRET
    settings.TMIBFF_CLIENT_AUTH = {"method": "private_key_jwt", "key": "a key"}
    assert sign_in.check_oidc(None) == []
    settings.OIDC_RP_SIGN_ALGO = "HS256"
    assert ids(sign_in.check_oidc(None)) == ["django_tmibff.E004"]
    settings.TMIBFF_CLIENT_AUTH = {"method": "magic"}
    assert sign_in.check_oidc(None) == []


def test_e004_a_provider_beside_the_default_one_lacks_something(settings: Any) -> None:
    partner = {"issuer": "https://p.example", "authorization_endpoint": "https://p.example/auth"}
    settings.TMIBFF_PROVIDERS = {"partner": partner}
    messages = sign_in.check_oidc(None)
    assert set(ids(messages)) == {"django_tmibff.E004"}
    assert "TMIBFF_PROVIDERS['partner']['token_endpoint'] is not set." in [m.msg for m in messages]
    del partner["authorization_endpoint"]  # Then it is not for sign-ins.
    assert sign_in.check_oidc(None) == []


def test_e006_a_backend_that_would_get_our_codes(settings: Any) -> None:
    assert sign_in.check_other_backends(None) == []
    settings.AUTHENTICATION_BACKENDS = [
        "mozilla_django_oidc.auth.OIDCAuthenticationBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    assert ids(sign_in.check_other_backends(None)) == ["django_tmibff.E006"]
    settings.AUTHENTICATION_BACKENDS = settings.AUTHENTICATION_BACKENDS[:1]
    assert sign_in.check_other_backends(None) == []  # That is W005's.


@pytest.mark.parametrize("alg", ["PS256", "EdDSA", "none", ""])
def test_e005_id_tokens_that_cannot_be_verified(settings: Any, alg: str) -> None:
    assert sign_in.check_signing_algorithms(None) == []
    settings.TMIBFF_PROVIDERS = {"partner": {"signing_alg": alg}}
    [message] = sign_in.check_signing_algorithms(None)
    assert message.id == "django_tmibff.E005"
    assert "TMIBFF_PROVIDERS['partner']['signing_alg']" in message.hint
    settings.TMIBFF_PROVIDERS = {}
    settings.OIDC_RP_SIGN_ALGO = alg
    [message] = sign_in.check_signing_algorithms(None)
    assert "OIDC_RP_SIGN_ALGO" in message.hint


def test_w005_a_backend_that_keeps_no_tokens(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "mozilla_django_oidc.auth.OIDCAuthenticationBackend",
        "no.such.backend",
    ]
    assert ids(sign_in.check_oidc(None)) == ["django_tmibff.W005"]


def test_b1_w002_the_sign_in_is_without_pkce(settings: Any) -> None:
    settings.OIDC_USE_PKCE = False
    assert ids(sign_in.check_pkce(None)) == ["django_tmibff.W002"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert sign_in.check_pkce(None) == []


@pytest.mark.parametrize(
    "path", ["mozilla_django_oidc.views.OIDCAuthenticationCallbackView", "no.such.View", ""]
)
def test_w007_a_callback_that_signs_out_whoever_is_sent_there(settings: Any, path: str) -> None:
    assert sign_in.check_callback(None) == []
    settings.OIDC_CALLBACK_CLASS = path
    assert ids(sign_in.check_callback(None)) == ["django_tmibff.W007"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert sign_in.check_callback(None) == []


def test_w006_sessions_that_cannot_be_ended_from_elsewhere(settings: Any) -> None:
    for engine in ("django.contrib.sessions.backends.signed_cookies", "tests.cookie_sessions"):
        settings.SESSION_ENGINE = engine
        assert ids(session.check_session_engine(None)) == ["django_tmibff.W006"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    assert session.check_session_engine(None) == []


def test_b6_w004_the_issuer_is_not_known(settings: Any) -> None:
    settings.OIDC_OP_ISSUER = None
    assert ids(sign_in.check_issuer(None)) == ["django_tmibff.W004"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert sign_in.check_issuer(None) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TMIBFF_RESOURCE", "Did you mean TMIBFF_RESOURCES?"),
        ("TMIBFF_XYZZY_PLUGH", "docs/settings.md has all settings and their types."),
    ],
)
def test_w003_a_setting_that_does_not_exist(settings: Any, name: str, hint: str) -> None:
    setattr(settings, name, 1)
    [message] = values.check_setting_names(None)
    assert (message.id, message.hint) == ("django_tmibff.W003", hint)


@pytest.mark.parametrize(("name", "value"), [("PATH", "/shop"), ("DOMAIN", ".app.example")])
def test_e9_e009_w013_where_the_session_cookie_goes(settings: Any, name: str, value: str) -> None:
    check = getattr(session, f"check_session_cookie_{name.lower()}")
    assert check(None) == []
    setattr(settings, f"SESSION_COOKIE_{name}", value)
    wanted = {"PATH": "django_tmibff.E009", "DOMAIN": "django_tmibff.W013"}
    [message] = check(None)
    assert (message.id, f"SESSION_COOKIE_{name}" in message.hint) == (wanted[name], True)


def test_e9_i001_a_name_that_no_other_host_can_set(settings: Any) -> None:
    assert ids(session.check_session_cookie_name(None)) == ["django_tmibff.I001"]
    for prefix in ("__Host-", "__Host-Http-"):
        settings.SESSION_COOKIE_NAME = f"{prefix}sessionid"
        assert session.check_session_cookie_name(None) == []


@pytest.mark.parametrize("name", ["OIDC_STORE_ACCESS_TOKEN", "OIDC_STORE_ID_TOKEN"])
def test_w009_tokens_in_the_session(settings: Any, name: str) -> None:
    assert session.check_tokens_in_session(None) == []
    setattr(settings, name, True)
    [message] = session.check_tokens_in_session(None)
    assert (message.id, name in message.hint) == ("django_tmibff.W009", True)


class TestPaths:
    """E1: E007, E008, W011 and W019."""

    def test_e1_at_the_root_all_is_well(self) -> None:
        assert endpoints.check_paths(None) == []

    def test_e1_w011_not_included(self, settings: Any) -> None:
        settings.ROOT_URLCONF = urls(THEIRS)
        assert ids(endpoints.check_paths(None)) == ["django_tmibff.W011"] * 2

    def test_w011_no_callback_where_people_sign_in_with_openid_connect(self, settings: Any) -> None:
        settings.ROOT_URLCONF = urls(path("", include("django_tmibff.urls")))
        [message] = endpoints.check_paths(None)
        assert message.id == "django_tmibff.W011"
        assert "mozilla_django_oidc.urls" in message.hint
        del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
        assert endpoints.check_paths(None) == []

    def test_e1_e007_below_the_root(self, settings: Any) -> None:
        settings.ROOT_URLCONF = urls(THEIRS, path("bff/", include("django_tmibff.urls")))
        messages = endpoints.check_paths(None)
        assert ids(messages) == ["django_tmibff.E007"] * 2
        assert "/bff/.well-known/bff-token" in messages[0].msg

    def test_e1_e007_below_a_language(self, settings: Any) -> None:
        ours = i18n_patterns(path("", include("django_tmibff.urls")))
        settings.ROOT_URLCONF = urls(THEIRS, *ours)
        assert ids(endpoints.check_paths(None)) == ["django_tmibff.E007"] * 2

    def test_e1_e008_behind_a_route_that_takes_every_path(self, settings: Any) -> None:
        ours = path("", include("django_tmibff.urls"))
        settings.ROOT_URLCONF = urls(THEIRS, re_path("", index), ours)
        assert ids(endpoints.check_paths(None)) == ["django_tmibff.E008"] * 2
        settings.ROOT_URLCONF = urls(THEIRS, ours, re_path("", index))
        assert endpoints.check_paths(None) == []

    def test_e008_a_callback_behind_a_route_that_takes_every_path(self, settings: Any) -> None:
        ours = path("", include("django_tmibff.urls"))
        settings.ROOT_URLCONF = urls(ours, re_path("", index), THEIRS)
        [message] = endpoints.check_paths(None)
        assert message.id == "django_tmibff.E008"
        assert "/oidc/callback/" in message.msg
        assert "mozilla_django_oidc.urls" in message.hint
        settings.ROOT_URLCONF = urls(ours, THEIRS, re_path("", index))
        assert endpoints.check_paths(None) == []

    @pytest.mark.parametrize("prefixed", [True, False])
    def test_w019_a_callback_for_each_language(self, settings: Any, prefixed: bool) -> None:
        assert endpoints.check_callback_language(None) == []
        theirs = i18n_patterns(THEIRS, prefix_default_language=prefixed)
        settings.ROOT_URLCONF = urls(path("", include("django_tmibff.urls")), *theirs)
        settings.LANGUAGES = [("de", "German"), ("en", "English")]
        settings.LANGUAGE_CODE = "en"
        [message] = endpoints.check_callback_language(None)
        assert message.id == "django_tmibff.W019"
        assert ("/en/oidc/callback/" if prefixed else " /oidc/callback/") in message.msg
        assert "/de/oidc/callback/" in message.msg

    def test_nothing_of_it_where_there_is_one_or_none(self, settings: Any) -> None:
        settings.ROOT_URLCONF = urls(path("", include("django_tmibff.urls")))
        assert endpoints.check_callback_language(None) == []
        settings.ROOT_URLCONF = urls(*i18n_patterns(THEIRS))
        settings.LANGUAGES = [("de", "German")]
        assert endpoints.check_callback_language(None) == []
        settings.LANGUAGES = [("de", "German"), ("en", "English")]
        del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
        assert endpoints.check_callback_language(None) == []

    def test_e1_a_project_without_paths(self, settings: Any) -> None:
        settings.ROOT_URLCONF = None
        assert endpoints.check_paths(None) == []


class TestScriptName:
    """E1: W012."""

    def test_w012_says_what_the_proxy_has_to_do(self, settings: Any) -> None:
        assert endpoints.check_script_name(None) == []
        settings.FORCE_SCRIPT_NAME = "/shop"
        [message] = endpoints.check_script_name(None)
        assert message.id == "django_tmibff.W012"
        assert "/.well-known/bff-token" in message.hint

    @pytest.mark.django_db
    def test_e1_what_the_proxy_hands_over_is_answered(self, settings: Any) -> None:
        """As docs/deployment.md has it: the path as it came, without the prefix."""
        settings.FORCE_SCRIPT_NAME = "/shop"
        environ = {
            "PATH_INFO": TOKEN,
            "HTTP_HOST": HOST,
            "HTTP_SEC_FETCH_SITE": "same-origin",
            "wsgi.url_scheme": "https",
        }
        setup_testing_defaults(environ)
        before = get_script_prefix()
        try:
            answer = WSGIHandler()(environ, lambda status, headers: None)
            error = json.loads(answer.content)
            answer.close()
        finally:
            set_script_prefix(before)
        assert (error["error"], error["login_url"]) == ("invalid_session", "/shop/bff/login")

    def test_e1_the_prefix_is_no_part_of_a_path(self, settings: Any) -> None:
        before = get_script_prefix()
        set_script_prefix("/shop/")
        try:
            assert endpoints.check_paths(None) == []
        finally:
            set_script_prefix(before)


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        (None, True),
        (r"^/\.well-known/", True),
        (re.compile("bff|/"), True),
        (r"^/api/.*$", False),
        (re.compile("^/api/"), False),
    ],
)
def test_e4_w010_preflights_that_are_answered(settings: Any, pattern: Any, covered: bool) -> None:
    assert endpoints.check_cors(None) == []
    settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
    if pattern is not None:
        settings.CORS_URLS_REGEX = pattern
    assert ids(endpoints.check_cors(None)) == (["django_tmibff.W010"] if covered else [])


def test_b1_w014_pkce_that_shows_its_secret(settings: Any) -> None:
    assert sign_in.check_pkce_method(None) == []
    settings.OIDC_PKCE_CODE_CHALLENGE_METHOD = "plain"
    assert ids(sign_in.check_pkce_method(None)) == ["django_tmibff.W014"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert sign_in.check_pkce_method(None) == []


@pytest.mark.parametrize(
    "host",
    [
        "login.microsoftonline.com",
        "tea.ciamlogin.com",
        "tea.eu.auth0.com",
        "tea.okta.com",
        "tea.zitadel.cloud",
        "tea.projects.oryapis.com",
    ],
)
def test_w015_a_provider_that_wants_offline_access(settings: Any, host: str) -> None:
    settings.OIDC_OP_AUTHORIZATION_ENDPOINT = f"https://{host}/authorize"
    [message] = sign_in.check_refresh_tokens(None)
    assert (message.id, message.hint) == (
        "django_tmibff.W015",
        "Add offline_access to OIDC_RP_SCOPES.",
    )
    settings.OIDC_RP_SCOPES = "openid offline_access"
    assert sign_in.check_refresh_tokens(None) == []


def test_w015_google_wants_it_in_its_own_way(settings: Any) -> None:
    google = {"authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth"}
    settings.TMIBFF_PROVIDERS = {"google": {"issuer": "https://accounts.google.com", **google}}
    [message] = sign_in.check_refresh_tokens(None)
    assert "TMIBFF_PROVIDERS['google']['authorization_params']" in message.hint
    google["authorization_params"] = {"access_type": "offline"}
    settings.TMIBFF_PROVIDERS = {"google": {"issuer": "https://accounts.google.com", **google}}
    assert sign_in.check_refresh_tokens(None) == []


def test_w015_of_others_nothing_is_known(settings: Any) -> None:
    settings.OIDC_OP_AUTHORIZATION_ENDPOINT = "https://okta.com.example/authorize"
    assert sign_in.check_refresh_tokens(None) == []


@pytest.mark.parametrize(
    ("store", "names", "backend", "said"),
    [
        ("db", {"TMIBFF_CACHE_ALIAS": "default"}, "redis.RedisCache", "uses no cache"),
        ("db", {"TMIBFF_CACHE_SECONDS": 5}, "redis.RedisCache", "TMIBFF_CACHE_SECONDS mean"),
        ("cache", {}, "memcached.PyMemcacheCache", "memcached evicts"),
    ],
)
def test_w016_a_store_and_a_cache_that_do_not_fit(
    settings: Any, store: str, names: dict[str, Any], backend: str, said: str
) -> None:
    settings.TMIBFF_STORE = f"django_tmibff.stores.{store}"
    backend = f"django.core.cache.backends.{backend}"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "127.0.0.1:1"}}
    for name, value in names.items():
        setattr(settings, name, value)
    [message] = values.check_store_fits_cache(None)
    assert message.id == "django_tmibff.W016"
    assert said in message.msg
    settings.TMIBFF_STORE = "django_tmibff.stores.cached_db"
    assert values.check_store_fits_cache(None) == []


@pytest.mark.parametrize("hides", [True, False])
def test_w016_a_redis_that_hides_its_failures(settings: Any, hides: bool) -> None:
    pytest.importorskip("django_redis", reason="The extra redis is not installed.")
    settings.TMIBFF_STORE = "django_tmibff.stores.cache"
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": {**cache, "OPTIONS": {"IGNORE_EXCEPTIONS": hides}}}
    found = values.check_store_fits_cache(None)
    assert ids(found) == (["django_tmibff.W016"] if hides else [])


def test_w017_a_sign_in_that_waits_for_good(settings: Any) -> None:
    assert sign_in.check_timeout(None) == []
    settings.AUTHENTICATION_BACKENDS = ["mozilla_django_oidc.auth.OIDCAuthenticationBackend"]
    assert ids(sign_in.check_timeout(None)) == ["django_tmibff.W017"]
    settings.OIDC_TIMEOUT = 5
    assert sign_in.check_timeout(None) == []


def _backend_of_the_page() -> Any:
    names: dict[str, Any] = {}
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(code, names)  # noqa: S102  # ours
    return names["Backend"]


MakesUsers = _backend_of_the_page()


@pytest.mark.parametrize(
    "manager",
    [
        SimpleNamespace(create_user=lambda email, password=None, **more: None),
        SimpleNamespace(create_user=lambda *, email: None),
        SimpleNamespace(),
    ],
    ids=["an e-mail address first", "no name", "nothing of the kind"],
)
class TestNewUsers:
    """W018."""

    @pytest.fixture(autouse=True)
    def model(self, manager: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        settings.AUTHENTICATION_BACKENDS = ["django_tmibff.backends.OIDCAuthenticationBackend"]
        model = SimpleNamespace(objects=manager)
        monkeypatch.setattr(sign_in, "get_user_model", lambda: model)

    def test_w018_a_manager_that_is_called_in_another_way(self) -> None:
        [message] = sign_in.check_new_users(None)
        assert message.id == "django_tmibff.W018"
        assert "django_tmibff.backends.OIDCAuthenticationBackend" in message.msg
        assert "create_user" in message.hint

    def test_w018_not_where_the_site_makes_users_itself_or_makes_none(self, settings: Any) -> None:
        with override_settings(AUTHENTICATION_BACKENDS=["tests.test_checks.MakesUsers"]):
            assert sign_in.check_new_users(None) == []
        settings.OIDC_CREATE_USER = False
        assert sign_in.check_new_users(None) == []


def test_w018_the_backend_of_the_page_makes_users_by_e_mail_address() -> None:
    backend = MakesUsers()
    backend.UserModel = SimpleNamespace(objects=SimpleNamespace(create_user=lambda email: email))
    assert backend.create_user({"email": "alice@example.test"}) == "alice@example.test"


def test_w018_the_usual_managers_are_called_as_they_want_it() -> None:
    assert sign_in.check_new_users(None) == []


def test_i002_keys_of_the_secret_key_alone(settings: Any) -> None:
    assert ids(values.check_encryption_keys(None)) == ["django_tmibff.I002"]
    settings.TMIBFF_ENCRYPTION_KEYS = ["SECRET_KEY", Fernet.generate_key()]
    assert ids(values.check_encryption_keys(None)) == ["django_tmibff.I002"]
    settings.TMIBFF_ENCRYPTION_KEYS = [Fernet.generate_key(), "SECRET_KEY"]
    assert values.check_encryption_keys(None) == []


def test_b4_i003_refresh_tokens_that_live_on(settings: Any) -> None:
    assert sign_in.check_revocation(None) == []
    settings.OIDC_OP_REVOCATION_ENDPOINT = None
    [message] = sign_in.check_revocation(None)
    assert (message.id, "OIDC_OP_REVOCATION_ENDPOINT" in message.hint) == (
        "django_tmibff.I003",
        True,
    )


@pytest.mark.django_db
def test_all_are_registered_and_silent_on_this_project(settings: Any) -> None:
    registered = django_checks.registry.registry
    ours = {check for check, _options in CHECKS}
    assert ours <= {*registered.get_checks(include_deployment_checks=True)}
    assert all("django_tmibff" in check.tags for check in ours)
    found = django_checks.run_checks(include_deployment_checks=True)
    heard = [message for message in found if not message.is_silenced()]
    assert [message for message in heard if message.id.startswith("django_tmibff")] == []


LEVELS = {"Error": "E", "CheckWarning": "W", "Info": "I"}
ID = re.compile(r"\b[EWI]\d{3}\b")


def messages_in_the_source() -> list[tuple[str, str]]:
    """Return the class of each message that a check makes, and its id."""
    modules = (ast.parse(file.read_text()) for file in Path(checks.__file__).parent.glob("*.py"))
    calls = (node for module in modules for node in ast.walk(module) if isinstance(node, ast.Call))
    return [
        (ast.unparse(call.func), ast.literal_eval(word.value).removeprefix("django_tmibff."))
        for call in calls
        for word in call.keywords
        if word.arg == "id"
    ]


def test_the_level_of_each_is_the_letter_of_its_id() -> None:
    assert [one for one in messages_in_the_source() if LEVELS.get(one[0]) != one[1][0]] == []


def heard(*, deploy: bool) -> set[tuple[str, str]]:
    """Return the id and the text of each message of ours."""
    found = django_checks.run_checks(tags=["django_tmibff"], include_deployment_checks=deploy)
    return {(message.id.removeprefix("django_tmibff."), message.msg) for message in found}


def test_those_marked_in_the_documentation_wait_for_a_deployment(settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = settings.SESSION_COOKIE_HTTPONLY = False
    settings.OIDC_OP_REVOCATION_ENDPOINT = None
    waited = sorted(heard(deploy=True) - heard(deploy=False))
    page = PAGE.read_text().split("\n### ")[1:]
    marked = sorted(section[:4] for section in page if "*deploy*" in section)
    assert [id_ for id_, _ in waited] == marked == ["I001", "I002", "I003", "W001"]
    assert waited[-1][1].startswith("SESSION_COOKIE_SECURE ")
    ours = {check for check, options in CHECKS if options.get("deploy")}
    assert len(ours) == len(waited)


class TestDocumentation:
    """docs/checks.md."""

    def test_it_has_a_section_for_each_id_and_for_no_other(self) -> None:
        given = {id_ for _, id_ in messages_in_the_source()}
        sections = re.findall(r"^### ([EWI]\d{3})\b", PAGE.read_text(), re.MULTILINE)
        assert sections == sorted(sections, key=lambda one: ("EWI".index(one[0]), one))
        assert set(sections) == given
        assert len(sections) == len(given)

    def test_it_lists_those_about_security(self) -> None:
        secured = [check for check, options in CHECKS if "tags" in options]
        assert all({"django_tmibff", "security"} == {*check.tags} for check in secured)
        ids = {id_ for check in secured for id_ in ID.findall((check.__doc__ or "").split(".")[0])}
        [_, listed] = PAGE.read_text().partition("\n## ")[0].split("tag `security` too:")
        assert set(ID.findall(listed)) == ids

    def test_each_id_has_a_test(self) -> None:
        """Its name stands in one of them."""
        tests = " ".join(file.read_text() for file in TESTS.glob("test_*.py")).upper()
        sections = re.findall(r"^### ([EWI]\d{3})\b", PAGE.read_text(), re.MULTILINE)
        assert [one for one in sections if one not in tests] == []


def test_a_deployment_of_the_test_project_hears_nothing(tmp_path: Path) -> None:
    """Neither from us nor from Django."""
    environment = {
        "DJANGO_SETTINGS_MODULE": "testproject.production",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "CLIENT_SECRET": secrets.token_urlsafe(),
        "ISSUER": "https://op.example",
        "HOSTS": "app.example",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level=DEBUG"]
    printed = run(command, cwd=PROJECT, env=environment)
    assert printed == "System check identified no issues (0 silenced).\n"
