"""Sessions made without a sign-in, what is kept for them, and many callers of one at once.

Also a program of its own, which runs as part of the test project.
"""

import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.real.gunicorn import PROJECT, environment
from tests.real.mariadb import MariaDB
from tests.real.postgresql import PostgreSQL
from tests.real.processes import run

T = TypeVar("T")

TIMEOUT_SECONDS = 60
COOKIE = "sessionid"
DAY = 24 * 3600
DATABASE_SERVERS: Mapping[str, type[PostgreSQL | MariaDB]] = {
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
}


@contextmanager
def databases(vendor: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield Django's ``DATABASES`` with an empty database of that vendor."""
    if vendor == "sqlite":
        yield {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db")}}
        return
    with DATABASE_SERVERS[vendor]() as server:
        server.create_database("testproject")
        yield {"default": server.settings("testproject")}


def new_session(
    settings: Mapping[str, Any], token_response: Mapping[str, Any], *, age_seconds: float = 0
) -> str:
    """Sign a new user in with those tokens, given that long ago; return the session's cookie."""
    return _run(settings, "new_session", token_response, age_seconds)


def drop_access_tokens(settings: Mapping[str, Any], cookie: str) -> None:
    """Let all access tokens of the session be over, as if it had been idle for long."""
    _run(settings, "drop_access_tokens", cookie)


def end(settings: Mapping[str, Any], cookie: str) -> None:
    """End the session's token set, as a logout does."""
    _run(settings, "end", cookie)


def refresh_token(settings: Mapping[str, Any], cookie: str) -> str:
    """Return the refresh token that is kept for the session."""
    return _run(settings, "refresh_token", cookie)


def change_password(settings: Mapping[str, Any], cookie: str) -> str:
    """Change the password of the session's user, as Django's own view does; return its new key."""
    return _run(settings, "change_password", cookie)


def fetch_token(
    origin: str, cookie: str, query: Mapping[str, str] | None = None
) -> requests.Response:
    """Return the answer of bff-token to a page of that session, on a connection of its own."""
    with requests.Session() as session:
        # A proxy from the environment could not reach this machine's loopback.
        session.trust_env = False
        return session.get(
            f"{origin}/.well-known/bff-token",
            params=query,
            cookies={COOKIE: cookie},
            headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
            timeout=TIMEOUT_SECONDS,
        )


def fetch_at_once(
    origin: str, cookie: str, queries: Sequence[Mapping[str, str]]
) -> list[requests.Response]:
    """Send one request for each query, all in the same moment; return the answers in that order."""
    return call_at_once([partial(fetch_token, origin, cookie, query) for query in queries])


def call_at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls in the same moment; return what they return in that order."""
    together = threading.Barrier(len(calls))

    def call(this: Callable[[], T]) -> T:
        together.wait()
        return this()

    with ThreadPoolExecutor(len(calls)) as callers:
        return list(callers.map(call, calls))


def token_of(answer: requests.Response) -> str:
    """Return the access token of an answer, which must be a success."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def only_token(answers: Iterable[requests.Response]) -> str:
    """Return the access token that all of the answers have."""
    [token] = {token_of(answer) for answer in answers}
    return token


def _run(settings: Mapping[str, Any], action: str, *arguments: object) -> str:
    command = [sys.executable, "-m", "tests.real.session", action, json.dumps(arguments)]
    return run(command, cwd=PROJECT, env=environment(settings)).strip()


def _new_session(token_response: Mapping[str, Any], age_seconds: float) -> str:
    from django.contrib.auth import get_user_model, login
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest

    from django_tmibff import oauth, tokens

    request = HttpRequest()
    request.session = SessionStore()
    user = get_user_model().objects.create_user(f"user-{secrets.token_hex(8)}")
    request.user = user
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    requested_at = time.time() - age_seconds
    response = oauth.TokenResponse.parse(token_response, requested_at=requested_at)
    tokens.store(request, response, made_session=True)
    request.session.save()
    return str(request.session.session_key)


def _drop_access_tokens(cookie: str) -> str:
    from django_tmibff import vault

    contents = _contents(cookie)
    contents.access_tokens.clear()
    if not vault.save(contents, owner=""):
        raise RuntimeError("Somebody is using the session.")
    return ""


def _change_password(cookie: str) -> str:
    from django.contrib.auth import get_user, update_session_auth_hash
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest

    request = HttpRequest()
    request.session = SessionStore(cookie)
    request.user = user = get_user(request)
    user.set_password("another")
    user.save()
    update_session_auth_hash(request, user)
    request.session.save()
    return str(request.session.session_key)


def _end(cookie: str) -> str:
    from django_tmibff import tokens

    tokens.end(_contents(cookie).handle, "logout")
    return ""


def _refresh_token(cookie: str) -> str:
    return str(_contents(cookie).refresh_token)


def _contents(cookie: str) -> Any:
    from django.contrib.sessions.backends.db import SessionStore

    from django_tmibff import tokens, vault

    return vault.load(SessionStore(cookie)[tokens.SESSION_KEY], fresh=True)


ACTIONS: dict[str, Callable[..., str]] = {
    "new_session": _new_session,
    "drop_access_tokens": _drop_access_tokens,
    "end": _end,
    "refresh_token": _refresh_token,
    "change_password": _change_password,
}


if __name__ == "__main__":
    # Models can be imported only after this, hence the imports inside of the functions.
    import django

    django.setup()
    sys.stdout.write(ACTIONS[sys.argv[1]](*json.loads(sys.argv[2])))
