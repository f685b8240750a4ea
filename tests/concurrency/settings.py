"""The test project as the bench serves it: behind a proxy that speaks https, without DEBUG."""

import pymysql

from testproject.settings import *  # noqa: F403  # settings build on settings

# Without a compiler's help there is only this driver, which Django takes for the other.
pymysql.install_as_MySQLdb()

DEBUG = False
ROOT_URLCONF = "tests.concurrency.urls"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# What went wrong is to be found in the servers' logs.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "ERROR"},
    "loggers": {
        "django_tmibff": {"level": "WARNING"},
        # Each 400 is an answer, which the load counts.
        "django.request": {"level": "ERROR"},
    },
}
