"""django-oauth-toolkit as it comes, as an OpenID Provider; for tests.

``TESTPROJECT_SETTINGS`` holds a JSON object: settings that are laid over these, and in
``OAUTH2_PROVIDER`` those that differ.
"""

import json
import os

SECRET_KEY = "for-tests-only-" + "not-a-secret" * 4
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "oauth2_provider",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.real.oauth_toolkit.urls"
SIGN_IN = '<form method="post" action="">{% csrf_token %}{{ form }}<button>Sign in</button></form>'
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ],
            "loaders": [
                ("django.template.loaders.locmem.Loader", {"registration/login.html": SIGN_IN}),
                "django.template.loaders.app_directories.Loader",
            ],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "sign-in"

OAUTH2_PROVIDER = {
    "OIDC_ENABLED": True,
    "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
    "OAUTH2_VALIDATOR_CLASS": "tests.real.oauth_toolkit.validators.Validator",
    "SCOPES": {name: name for name in ("openid", "email", "orders:read", "orders:write")},
}

_over = json.loads(os.environ["TESTPROJECT_SETTINGS"])
OAUTH2_PROVIDER |= _over.pop("OAUTH2_PROVIDER", {})
globals().update(_over)
