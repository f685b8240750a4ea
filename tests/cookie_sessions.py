"""A project's own session engine, made of Django's signed cookies."""

from typing import Any

from django.contrib.sessions.backends import signed_cookies


class SessionStore(signed_cookies.SessionStore):
    """Lives four weeks, whatever the settings say."""

    def get_expiry_age(self, **kwargs: Any) -> int:
        """Return for how many seconds it lives."""
        return 28 * 24 * 60 * 60
