"""The OpenID Provider's WSGI application, its static files included."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.idp.settings")
application = StaticFilesHandler(get_wsgi_application())
