"""The concurrency bench: real processes, a strict server, and everything that goes wrong.

``python -m tests.concurrency`` runs all of it and writes the figures to docs/reliability.md.
"""

import os

import django

# The testing kit's servers come with models.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
django.setup()
