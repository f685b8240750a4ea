"""The tests' project: the test project with a provider that only requests-mock knows."""

import os

from testproject.settings import *  # noqa: F403  # settings build on settings

DEBUG = False
ALLOWED_HOSTS = ["app.example", "localhost", "127.0.0.1", "[::1]"]
ROOT_URLCONF = "tests.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "mozilla_django_oidc",
    "django_tmibff",
    "tests.users",
    "tests.people",
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SESSION_COOKIE_SECURE = True

# Beside SQLite: postgresql or mariadb, which conftest.py starts.
TEST_DATABASE = os.environ.get("TEST_DATABASE", "sqlite")
ENGINES = {
    "postgresql": "django.db.backends.postgresql",
    "mariadb": "tests.real.mysql",
    "sqlite": "django.db.backends.sqlite3",
}
DATABASES = {
    "default": {
        "ENGINE": ENGINES[TEST_DATABASE],
        "NAME": ":memory:" if TEST_DATABASE == "sqlite" else "tests",
    }
}

# One store for all tests that do not choose theirs: db, cached_db or cache.
TMIBFF_STORE = f"django_tmibff.stores.{os.environ.get('TEST_STORE', 'db')}"
SILENCED_SYSTEM_CHECKS = [
    "django_tmibff.E003",  # There is one process.
    "django_tmibff.I001",  # Tests name the session cookie as Django does,
    "django_tmibff.I002",  # and seal as a site does that sets nothing.
]

# Most tests of failures want the next call to be made; tests/test_outage.py does not.
TMIBFF_OUTAGE_SECONDS = 0

OIDC_OP_ISSUER = "https://op.example"
OIDC_OP_AUTHORIZATION_ENDPOINT = "https://op.example/authorize"
OIDC_OP_TOKEN_ENDPOINT = "https://op.example/token"
OIDC_OP_USER_ENDPOINT = "https://op.example/userinfo"
OIDC_OP_JWKS_ENDPOINT = "https://op.example/jwks"
OIDC_OP_REVOCATION_ENDPOINT = "https://op.example/revoke"
OIDC_RP_CLIENT_ID = "client"
OIDC_RP_CLIENT_SECRET = "canary-client-secret"
