"""A small project that uses django_tmibff; its settings come from the environment in tests.

``TESTPROJECT_SETTINGS`` holds a JSON object of settings that are laid over these.
"""

import json
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "for-development-and-tests-only-" + "not-a-secret" * 3
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "mozilla_django_oidc",
    "django_tmibff",
    "testproject",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "testproject.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

AUTHENTICATION_BACKENDS = [
    "django_tmibff.backends.OIDCAuthenticationBackend",
    "django.contrib.auth.backends.ModelBackend",
]
OIDC_AUTHENTICATE_CLASS = "django_tmibff.views.OIDCRequestView"
OIDC_CALLBACK_CLASS = "django_tmibff.views.OIDCCallbackView"
LOGIN_URL = "oidc_authentication_init"
LOGIN_REDIRECT_URL = "/"
LOGIN_REDIRECT_URL_FAILURE = "/?sign-in=failed"
LOGOUT_REDIRECT_URL = "/"

OIDC_OP_ISSUER = "http://127.0.0.1:9400"
OIDC_OP_AUTHORIZATION_ENDPOINT = "http://127.0.0.1:9400/auth"
OIDC_OP_TOKEN_ENDPOINT = "http://127.0.0.1:9400/token"
OIDC_OP_USER_ENDPOINT = "http://127.0.0.1:9400/me"
OIDC_OP_JWKS_ENDPOINT = "http://127.0.0.1:9400/jwks"
OIDC_OP_END_SESSION_ENDPOINT = ""
OIDC_RP_CLIENT_ID = "rotate"
OIDC_RP_CLIENT_SECRET = "rotate-secret"
OIDC_RP_SIGN_ALGO = "RS256"
OIDC_USE_PKCE = True
OIDC_TOKEN_USE_BASIC_AUTH = True

# The API on another origin that the page calls; without one it calls none.
DEMO_API = ""
# Where the demo's page takes its token to, to show what that is worth elsewhere.
DEMO_THIEF = ""
# The file by which the demo's page has its provider stopped, where a launcher looks for it.
DEMO_PROVIDER_STOPPED = ""
# What a page may ask for beyond what was granted at sign-in.
TMIBFF_SCOPES: list[str] = []
# The demo's page switches it.
TMIBFF_DPOP = "off"
TMIBFF_RESOURCES: list[str] = []

globals().update(json.loads(os.environ.get("TESTPROJECT_SETTINGS", "{}")))
