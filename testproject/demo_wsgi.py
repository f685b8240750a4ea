"""The project's WSGI application for the demo: gunicorn alone serves no static files."""

from django.contrib.staticfiles.handlers import StaticFilesHandler

from testproject.wsgi import application as project

application = StaticFilesHandler(project)
