"""The site under attack: the test project over https, without DEBUG."""

from corsheaders.defaults import default_headers

from testproject import settings as project
from testproject.settings import *  # noqa: F403  # settings build on settings

DEBUG = False
ALLOWED_HOSTS = ["app.test"]
ROOT_URLCONF = "tests.browser.attacks.urls"
SESSION_COOKIE_SECURE = True

# Both are told by the test: whether the guard is off, and whether everything else is open to all.
WEAKENED = getattr(project, "WEAKENED", False)
CORS_ALLOW_ALL_ORIGINS = CORS_ALLOW_CREDENTIALS = getattr(project, "OPEN_TO_ALL", False)
CORS_ALLOW_HEADERS = [*default_headers, "dpop"]

INSTALLED_APPS = [*project.INSTALLED_APPS, *(["corsheaders"] if CORS_ALLOW_ALL_ORIGINS else [])]
_IN_FRONT = [
    "corsheaders.middleware.CorsMiddleware",
    "django_tmibff.middleware.WarmTokenMiddleware",
]
MIDDLEWARE = [
    "tests.browser.attacks.recording.record",
    *(_IN_FRONT if CORS_ALLOW_ALL_ORIGINS else []),
    # What the pages may do is left to the tests.
    *(name for name in project.MIDDLEWARE if not name.startswith("testproject.")),
]
