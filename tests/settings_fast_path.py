"""The tests' project with the fast path in front of everything."""

from tests.settings import *  # noqa: F403  # settings build on settings
from tests.settings import MIDDLEWARE

MIDDLEWARE = ["django_tmibff.middleware.WarmTokenMiddleware", *MIDDLEWARE]
TMIBFF_WARM_SKIPS = ["testproject.middleware.content_security_policy"]
