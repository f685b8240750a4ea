"""A site as ``startproject`` makes it, with kept connections; each one's own settings come on top.

``TESTPROJECT_SETTINGS`` holds a JSON object of settings that are laid over these.
"""

import json
import os

from benchmarks.site.usual import DJANGOS_APPS, DJANGOS_MIDDLEWARE

SECRET_KEY = "for-measuring-only-" + "not-a-secret" * 3
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
# wrk speaks plain http, as a proxy does that has taken the browser's https.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = list(DJANGOS_APPS)
MIDDLEWARE = list(DJANGOS_MIDDLEWARE)
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
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "static/"

# The provider of those who have one; a stored token asks nothing of it.
OIDC_OP_ISSUER = "https://op.example"
OIDC_OP_AUTHORIZATION_ENDPOINT = "https://op.example/authorize"
OIDC_OP_TOKEN_ENDPOINT = "https://op.example/token"
OIDC_OP_USER_ENDPOINT = "https://op.example/userinfo"
OIDC_OP_JWKS_ENDPOINT = "https://op.example/jwks"
OIDC_RP_CLIENT_ID = "client"
OIDC_RP_CLIENT_SECRET = "not-a-secret"
OIDC_RP_SIGN_ALGO = "RS256"

globals().update(json.loads(os.environ.get("TESTPROJECT_SETTINGS", "{}")))
