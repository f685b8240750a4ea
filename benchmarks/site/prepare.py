"""Make sessions in a site, as its sign-in makes them: ``python -m benchmarks.site.prepare 1 16``.

A program of its own, which runs with the site's settings: for each number it makes a session with
that many tokens, and prints their cookies, one in a line.
"""

import secrets
import sys
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest


def main(numbers: list[int]) -> None:
    """Make the sessions."""
    django.setup()
    for number in numbers:
        sys.stdout.write(f"{settings.SESSION_COOKIE_NAME}={_new_session(number)}\n")


def _new_session(number: int) -> str:
    from django.contrib.auth import login

    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore()
    request.user = user = _new_user()
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    site = import_module(settings.ROOT_URLCONF)
    site.keep(request)
    if number > 1:
        site.keep_more(request, number)
    request.session.save()
    return str(request.session.session_key)


def _new_user() -> Any:
    from django.contrib.auth import get_user_model

    name = f"user-{secrets.token_hex(8)}"
    return get_user_model().objects.create_user(name, email=f"{name}@op.example")


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
