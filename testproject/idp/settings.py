"""The demo's OpenID Provider; where it is and who its app is comes from the environment."""

import os
from pathlib import Path

from testproject.idp.key import private_key

BASE_DIR = Path(__file__).resolve().parents[2]
DEMO_FOLDER = Path(os.environ.get("DEMO_FOLDER", BASE_DIR / ".demo"))
DEMO_APP = os.environ.get("DEMO_APP", "http://localhost:8000")
DEMO_IDP = os.environ.get("DEMO_IDP", "http://localhost:8001")

SECRET_KEY = "for-the-demo-only-" + "not-a-secret" * 4
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = [
    # Before oauth2_provider, whose templates it replaces.
    "testproject.idp",
    "oauth2_provider",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "testproject.idp.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "testproject.idp.urls"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DEMO_FOLDER / "idp.sqlite3",
        # Those who read first and write then would get "database is locked" from each other.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "static/"

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "/"
# Cookies ignore ports: the app on the same host has its own.
SESSION_COOKIE_NAME = "idp_sessionid"
CSRF_COOKIE_NAME = "idp_csrftoken"

# Its default; but who refers to that model needs it said.
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "oauth2_provider.AccessToken"
OAUTH2_PROVIDER = {
    "OIDC_ENABLED": True,
    "OIDC_ISS_ENDPOINT": DEMO_IDP,
    "OIDC_RSA_PRIVATE_KEY": private_key(DEMO_FOLDER / "idp-key.pem"),
    "OIDC_RESPONSE_TYPES_SUPPORTED": ["code"],
    "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
    # It would end the same user's sign-ins in all other browsers and apps too.
    "OIDC_RP_INITIATED_LOGOUT_DELETE_TOKENS": False,
    "OAUTH2_VALIDATOR_CLASS": "testproject.idp.validators.Validator",
    "SCOPES": {
        "openid": "Know who you are",
        "email": "See your e-mail address",
        "profile": "See your name and username",
        "orders:read": "See your orders",
        "orders:write": "Place orders in your name",
        "orders:cancel": "Cancel your orders",
    },
    "DEFAULT_SCOPES": ["openid"],
    "PKCE_REQUIRED": True,
    "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ.get("DEMO_ACCESS_TOKEN_SECONDS", "60")),
    "ROTATE_REFRESH_TOKEN": True,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    # What RFC 9700 recommends, and django-oauth-toolkit will do by itself from 4.0 on.
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
