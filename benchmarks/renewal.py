"""What a renewal costs this site: the call over TLS, the waiting of others, the whole of it.

The parts that need Django run in a process of their own, ``python -m benchmarks.renewal``.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import certifi

from benchmarks.provider import CLIENT_ID, CLIENT_SECRET, Provider
from benchmarks.report import table
from benchmarks.world import REDIS_SESSIONS, World, apps
from tests.real.gunicorn import PROJECT as ROOT
from tests.real.gunicorn import environment
from tests.real.processes import run

STORES = ("db", "cached_db", "cache")
CALL_MILLISECONDS = 1.5
WAITER_MILLISECONDS = 1.0
WAIT_SECONDS = 3.0
# Of one token set: more in a minute would be refused (T7).
RENEWALS = 20

Milliseconds = dict[str, list[float]]


def measure(
    world: World, provider: Provider, *, rounds: int, calls: int
) -> dict[str, Milliseconds]:
    """Return what each step takes, for each store, one figure for each round."""
    return {store: _measured(world, provider, store, rounds, calls) for store in STORES}


def figures(measured: Mapping[str, Milliseconds]) -> str:
    """Return the table of it."""
    [first, *_others] = measured.values()
    limits = {CALL: CALL_MILLISECONDS, WAITER: WAITER_MILLISECONDS}
    head = ("CPU of our process", *(f"store `{store}`" for store in measured), "at most")
    rows = [
        (step, *(_told(found[step]) for found in measured.values()), _limit(limits.get(step)))
        for step in first
    ]
    return "\n".join(table(head, rows))


CALL = "one call to the authorization server, over a kept TLS connection"
SESSION = "the same by a kept `requests.Session`"
POST = "the same by `requests.post`"
WHOLE = "a whole renewal"
WAITER = "a waiter, each 100 ms that it waits"


def _measured(
    world: World, provider: Provider, store: str, rounds: int, calls: int
) -> Milliseconds:
    settings = {
        **world.settings(),
        **REDIS_SESSIONS,
        "ROOT_URLCONF": "benchmarks.site.bff",
        "INSTALLED_APPS": apps("mozilla_django_oidc", "django_tmibff"),
        "TMIBFF_STORE": f"django_tmibff.stores.{store}",
        "OIDC_OP_TOKEN_ENDPOINT": provider.token_endpoint,
        "OIDC_RP_CLIENT_ID": CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": CLIENT_SECRET,
        "OIDC_VERIFY_SSL": str(_trusted(world, provider)),
    }
    command = [sys.executable, "-m", "benchmarks.renewal", str(rounds), str(calls)]
    printed = run(command, cwd=ROOT, env=environment(settings, "benchmarks.site"))
    found: Milliseconds = json.loads(printed.splitlines()[-1])
    return found


def _trusted(world: World, provider: Provider) -> Path:
    """Return a file with the usual authorities' certificates, and the provider's."""
    file = world.folder / "trusted.pem"
    file.write_text(Path(certifi.where()).read_text() + provider.certificate.read_text())
    return file


def _told(milliseconds: Sequence[float]) -> str:
    middle = statistics.median(milliseconds)
    return f"{middle:.2f} ms ({min(milliseconds):.2f} to {max(milliseconds):.2f})"


def _limit(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.1f} ms"


def _main(rounds: int, calls: int) -> None:
    import django

    django.setup()
    steps = dict(_steps(calls))
    found: Milliseconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            found[name].append(1000 * step())
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def _steps(calls: int) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield what returns the CPU seconds of each step; each has been done once before."""
    import requests
    from django.conf import settings

    from benchmarks.stored import REFRESH_TOKEN
    from django_tmibff import oauth, tokens

    provider = oauth.provider("default")
    form = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
    post = {
        "url": provider.token_endpoint,
        "data": form,
        "auth": (provider.client_id, provider.client_secret),
        "verify": settings.OIDC_VERIFY_SSL,
        "timeout": 10,
    }
    session = requests.Session()
    known: Mapping[str, tuple[Callable[[], Any], int]] = {
        CALL: (lambda: oauth.refresh(provider, REFRESH_TOKEN), calls),
        SESSION: (lambda: session.post(**post).json(), calls),
        POST: (lambda: requests.post(**post).json(), max(1, calls // 10)),  # noqa: S113  # in post
    }
    for name, (call, times) in known.items():
        yield name, partial(_each, call, times)
    yield WHOLE, lambda: _each(partial(tokens.renew, _token_set()), RENEWALS)
    yield WAITER, lambda: _waiter(_token_set().handle)


def _each(call: Callable[[], Any], times: int) -> float:
    call()  # Makes the connection.
    started = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - started) / times


def _waiter(handle: str) -> float:
    """Wait for a lease that somebody else has; return the CPU seconds of 100 ms."""
    from django_tmibff import single_flight
    from django_tmibff.models import TokenSet

    if not TokenSet.objects.take_lease(handle, "somebody else", WAIT_SECONDS):
        raise RuntimeError("Nobody else should have the lease.")
    started, cpu = time.monotonic(), time.process_time()
    single_flight._wait_for_lease(handle, started + 2 * WAIT_SECONDS)
    return (time.process_time() - cpu) / (time.monotonic() - started) / 10


def _token_set() -> Any:
    from importlib import import_module

    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.http import HttpRequest

    from benchmarks.stored import CLAIMS, RESPONSE
    from django_tmibff import tokens

    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore()
    request.user, _created = get_user_model().objects.get_or_create(username="renewal")
    return tokens.store(request, RESPONSE, claims=CLAIMS)


if __name__ == "__main__":
    # Models can be imported only after django.setup(), hence the imports inside of the functions.
    _main(*map(int, sys.argv[1:]))
