"""System checks: each id, its hint, and when it is silent."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core import checks as django_checks
from mozilla_django_oidc.middleware import SessionRefresh

from django_tmibff import checks

EXEMPT = ["tmibff-token", "tmibff-sessioninfo"]


class OwnSessionRefresh(SessionRefresh):
    """A site's own, built on mozilla-django-oidc's."""


def ids(messages: list[Any]) -> list[str]:
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


class TestSessionRefresh:
    """E11: E001."""

    @pytest.fixture(autouse=True)
    def installed(self, settings: Any) -> None:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_checks.OwnSessionRefresh"]

    @pytest.mark.parametrize("exempt", [[], EXEMPT[:1], EXEMPT[1:], [re.compile("^/api/")]])
    def test_e11_stands_until_both_urls_are_exempt(self, settings: Any, exempt: list[Any]) -> None:
        settings.OIDC_EXEMPT_URLS = exempt
        [message] = checks.check_session_refresh(None)
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
        assert checks.check_session_refresh(None) == []

    def test_e11_the_urls_are_not_even_included(self, settings: Any) -> None:
        settings.ROOT_URLCONF = "tests.no_urls"
        assert ids(checks.check_session_refresh(None)) == ["django_tmibff.E001"]

    def test_e11_a_middleware_that_is_none(self, settings: Any) -> None:
        settings.MIDDLEWARE = ["no.such.middleware", "tests.test_guard.weakening_middleware"]
        assert checks.check_session_refresh(None) == []


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
        ("TMIBFF_REFRESH_MARGIN", "soon", "TMIBFF_REFRESH_MARGIN"),
        ("TMIBFF_AS_TIMEOUT", -1, "TMIBFF_AS_TIMEOUT"),
    ],
)
def test_e002_a_value_that_cannot_be_used(settings: Any, name: str, value: Any, said: str) -> None:
    setattr(settings, name, value)
    messages = checks.check_settings_usable(None)
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
    [message] = checks.check_cache(None)
    assert (message.id, message.level) == ("django_tmibff.E003", django_checks.ERROR)
    assert said in message.msg
    assert "TMIBFF_CACHE_ALIAS" in message.hint


def test_e003_an_alias_that_does_not_exist(settings: Any) -> None:
    settings.TMIBFF_STORE = "django_tmibff.stores.cached_db"
    settings.TMIBFF_CACHE_ALIAS = "misspelt"
    [message] = checks.check_cache(None)
    assert "'misspelt', which does not exist" in message.msg


def test_e003_is_silent_on_a_shared_cache_and_where_none_is_used(settings: Any) -> None:
    settings.TMIBFF_STORE = "django_tmibff.stores.db"
    assert checks.check_cache(None) == []
    settings.TMIBFF_STORE = "no.such.store"
    assert checks.check_cache(None) == []
    settings.TMIBFF_STORE = "django_tmibff.stores.cache"
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache"}}
    settings.CACHES["default"]["LOCATION"] = "cache_table"
    assert checks.check_cache(None) == []


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
    [message] = checks.check_session_cookie(None)
    assert message.id == "django_tmibff.W001"
    assert name in message.msg
    assert name in message.hint


def test_e9_w001_secure_matters_when_deployed(settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = False
    assert checks.check_session_cookie(None) == []
    assert ids(checks.check_session_cookie_secure(None)) == ["django_tmibff.W001"]
    settings.SESSION_COOKIE_SECURE = True
    assert checks.check_session_cookie_secure(None) == []


def test_e004_what_a_sign_in_needs(settings: Any) -> None:
    needed = {*checks.OIDC_NEEDED, "OIDC_RP_CLIENT_SECRET"}
    for name in needed:
        delattr(settings, name)
    messages = checks.check_oidc(None)
    assert set(ids(messages)) == {"django_tmibff.E004"}
    assert {message.hint for message in messages} == {f"Set {name}." for name in needed}


def test_e004_nothing_is_needed_where_there_is_no_such_sign_in(settings: Any) -> None:
    for name in checks.OIDC_NEEDED:
        delattr(settings, name)
    settings.INSTALLED_APPS = [one for one in settings.INSTALLED_APPS if "oidc" not in one]
    assert checks.check_oidc(None) == []


@pytest.mark.parametrize("alg", ["RS256", "ES512"])
def test_e004_a_published_key_has_its_place(settings: Any, alg: str) -> None:
    """Without it mozilla-django-oidc raises at each request of anybody."""
    settings.OIDC_RP_SIGN_ALGO = alg
    settings.OIDC_OP_JWKS_ENDPOINT = None
    [message] = checks.check_oidc(None)
    assert (message.id, message.msg) == (
        "django_tmibff.E004",
        "OIDC_OP_JWKS_ENDPOINT is not set.",
    )
    settings.OIDC_RP_IDP_SIGN_KEY = "a key"
    assert checks.check_oidc(None) == []


def test_e004_a_secret_needs_no_published_key(settings: Any) -> None:
    settings.OIDC_RP_SIGN_ALGO = "HS256"
    settings.OIDC_OP_JWKS_ENDPOINT = None
    assert checks.check_oidc(None) == []


def test_e004_a_client_with_a_key_needs_no_secret(settings: Any) -> None:
    del settings.OIDC_RP_CLIENT_SECRET
    settings.TMIBFF_CLIENT_AUTH = {"method": "private_key_jwt", "key": "a key"}
    assert checks.check_oidc(None) == []
    settings.OIDC_RP_SIGN_ALGO = "HS256"
    assert ids(checks.check_oidc(None)) == ["django_tmibff.E004"]
    settings.TMIBFF_CLIENT_AUTH = {"method": "magic"}
    assert checks.check_oidc(None) == []


def test_e004_a_provider_beside_the_default_one_lacks_something(settings: Any) -> None:
    partner = {"issuer": "https://p.example", "authorization_endpoint": "https://p.example/auth"}
    settings.TMIBFF_PROVIDERS = {"partner": partner}
    messages = checks.check_oidc(None)
    assert set(ids(messages)) == {"django_tmibff.E004"}
    assert "TMIBFF_PROVIDERS['partner']['token_endpoint'] is not set." in [m.msg for m in messages]
    del partner["authorization_endpoint"]  # Then it is not for sign-ins.
    assert checks.check_oidc(None) == []


def test_e006_a_backend_that_would_get_our_codes(settings: Any) -> None:
    assert checks.check_other_backends(None) == []
    settings.AUTHENTICATION_BACKENDS = [
        "mozilla_django_oidc.auth.OIDCAuthenticationBackend",
        *settings.AUTHENTICATION_BACKENDS,
    ]
    assert ids(checks.check_other_backends(None)) == ["django_tmibff.E006"]
    settings.AUTHENTICATION_BACKENDS = settings.AUTHENTICATION_BACKENDS[:1]
    assert checks.check_other_backends(None) == []  # That is W005's.


@pytest.mark.parametrize("alg", ["PS256", "EdDSA", "none", ""])
def test_e005_id_tokens_that_cannot_be_verified(settings: Any, alg: str) -> None:
    assert checks.check_signing_algorithms(None) == []
    settings.TMIBFF_PROVIDERS = {"partner": {"signing_alg": alg}}
    [message] = checks.check_signing_algorithms(None)
    assert message.id == "django_tmibff.E005"
    assert "TMIBFF_PROVIDERS['partner']['signing_alg']" in message.hint
    settings.TMIBFF_PROVIDERS = {}
    settings.OIDC_RP_SIGN_ALGO = alg
    [message] = checks.check_signing_algorithms(None)
    assert "OIDC_RP_SIGN_ALGO" in message.hint


def test_w005_a_backend_that_keeps_no_tokens(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [
        "mozilla_django_oidc.auth.OIDCAuthenticationBackend",
        "no.such.backend",
    ]
    assert ids(checks.check_oidc(None)) == ["django_tmibff.W005"]


def test_b1_w002_the_sign_in_is_without_pkce(settings: Any) -> None:
    settings.OIDC_USE_PKCE = False
    assert ids(checks.check_pkce(None)) == ["django_tmibff.W002"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert checks.check_pkce(None) == []


@pytest.mark.parametrize(
    "path", ["mozilla_django_oidc.views.OIDCAuthenticationCallbackView", "no.such.View", ""]
)
def test_w007_a_callback_that_signs_out_whoever_is_sent_there(settings: Any, path: str) -> None:
    assert checks.check_callback(None) == []
    settings.OIDC_CALLBACK_CLASS = path
    assert ids(checks.check_callback(None)) == ["django_tmibff.W007"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert checks.check_callback(None) == []


def test_w006_sessions_that_cannot_be_ended_from_elsewhere(settings: Any) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    assert ids(checks.check_session_engine(None)) == ["django_tmibff.W006"]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
    assert checks.check_session_engine(None) == []


def test_b6_w004_the_issuer_is_not_known(settings: Any) -> None:
    settings.OIDC_OP_ISSUER = None
    assert ids(checks.check_issuer(None)) == ["django_tmibff.W004"]
    del settings.OIDC_OP_AUTHORIZATION_ENDPOINT
    assert checks.check_issuer(None) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TMIBFF_RESOURCE", "Did you mean TMIBFF_RESOURCES?"),
        ("TMIBFF_XYZZY_PLUGH", "See Settings in the README."),
    ],
)
def test_w003_a_setting_that_does_not_exist(settings: Any, name: str, hint: str) -> None:
    setattr(settings, name, 1)
    [message] = checks.check_setting_names(None)
    assert (message.id, message.hint) == ("django_tmibff.W003", hint)


@pytest.mark.django_db
def test_all_are_registered_and_silent_on_this_project(settings: Any) -> None:
    registered = django_checks.registry.registry
    ours = {check for check, _options in checks.CHECKS}
    assert ours <= {*registered.get_checks(include_deployment_checks=True)}
    found = django_checks.run_checks(include_deployment_checks=True)
    heard = [message for message in found if not message.is_silenced()]
    assert [message for message in heard if message.id.startswith("django_tmibff")] == []
