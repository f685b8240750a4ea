"""Figures that the documentation names, measured with real components."""

import os

import django

# The testing kit's servers come with models.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
django.setup()
