"""What we hear: Django's sign-in and sign-out."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest

from . import sign_in, tokens


def connect() -> None:
    """Start to listen."""
    user_logged_in.connect(store_tokens, dispatch_uid="django_tmibff.store_tokens")
    user_logged_out.connect(end_tokens, dispatch_uid="django_tmibff.end_tokens")


def store_tokens(*, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Store what the sign-in of ``user`` brought."""
    if request is not None:
        sign_in.complete(request, user, made_session=True)


def end_tokens(*, request: HttpRequest | None, **kwargs: Any) -> None:
    """End the session's token set: the session is still there when this is sent."""
    if request is not None and hasattr(request, "session"):
        tokens.end(request, "logout")
