"""The test project as it would be deployed, behind a proxy that ends TLS.

What differs from one deployment to the next comes from the environment, secrets too.
"""

import os

from testproject.settings import *  # noqa: F403  # settings build on settings
from testproject.settings import BASE_DIR

SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = os.environ["HOSTS"].split()
STATIC_ROOT = BASE_DIR / "static"

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_NAME = "__Host-sessionid"
SESSION_COOKIE_SECURE = True
SESSION_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_NAME = "__Host-csrftoken"
CSRF_COOKIE_SECURE = True

TMIBFF_ENCRYPTION_KEYS = os.environ["ENCRYPTION_KEYS"].split()

OIDC_OP_ISSUER = os.environ["ISSUER"]
OIDC_OP_AUTHORIZATION_ENDPOINT = f"{OIDC_OP_ISSUER}/authorize/"
OIDC_OP_TOKEN_ENDPOINT = f"{OIDC_OP_ISSUER}/token/"
OIDC_OP_USER_ENDPOINT = f"{OIDC_OP_ISSUER}/userinfo/"
OIDC_OP_JWKS_ENDPOINT = f"{OIDC_OP_ISSUER}/.well-known/jwks.json"
OIDC_OP_REVOCATION_ENDPOINT = f"{OIDC_OP_ISSUER}/revoke/"
OIDC_OP_END_SESSION_ENDPOINT = f"{OIDC_OP_ISSUER}/sign-out/"
OIDC_RP_CLIENT_ID = os.environ.get("CLIENT_ID", "app")
OIDC_RP_CLIENT_SECRET = os.environ["CLIENT_SECRET"]
