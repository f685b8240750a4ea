"""TMI-BFF for Django: hand a single-page app the access tokens of its signed-in user."""

__version__ = "0.1.0"
