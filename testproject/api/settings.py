"""The demo's API; where the app and the OpenID Provider are comes from the environment."""

import os

from testproject.idp.accounts import API

DEMO_APP = os.environ.get("DEMO_APP", "http://localhost:8000")
DEMO_IDP = os.environ.get("DEMO_IDP", "http://localhost:8001")
DEMO_API = os.environ.get("DEMO_API", "http://localhost:8002")

SECRET_KEY = "for-the-demo-only-" + "not-a-secret" * 4
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = ["corsheaders"]
MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
ROOT_URLCONF = "testproject.api.urls"
USE_TZ = True

# The token comes in a header that only the page's own script can set: no cookies, no credentials.
# The thief's page is let in for show: one in earnest needs no browser, and asks nobody.
CORS_ALLOWED_ORIGINS = [DEMO_APP, DEMO_APP.replace("localhost", "127.0.0.1")]
CORS_EXPOSE_HEADERS = ["WWW-Authenticate", "Retry-After", "DPoP-Nonce"]
CORS_ALLOW_METHODS = ["GET", "POST", "OPTIONS"]
CORS_ALLOW_HEADERS = ["authorization", "content-type", "dpop"]

INTROSPECTION_ENDPOINT = f"{DEMO_IDP}/introspect/"
INTROSPECTION_CLIENT = (API.client_id, API.secret)
INTROSPECTION_TIMEOUT = 5  # seconds

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    # Each refused request is in the access log already.
    "loggers": {"django.request": {"level": "ERROR"}},
}
