"""The tests' project with a user model of its own, and without time zones."""

from tests.settings import *  # noqa: F403  # settings build on settings

AUTH_USER_MODEL = "users.Member"
AUTHENTICATION_BACKENDS = [
    "tests.users.backends.MemberBackend",
    "django.contrib.auth.backends.ModelBackend",
]
USE_TZ = False
TIME_ZONE = "America/New_York"
