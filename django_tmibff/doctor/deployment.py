"""Probes of this deployment itself: its settings, its store, and what its processes share."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core import checks as django_checks
from django.db import router, transaction
from django.utils import timezone

from .. import ending, stores, vault
from ..conf import DEFAULT_PROVIDER, settings
from ..contents import AccessToken, Contents, TokenKey
from ..models import TokenSet, new_handle
from ..stores import caching
from .verdicts import Outcome, Verdict

_LEVELS = {
    django_checks.WARNING: Outcome.WARNING,
    django_checks.ERROR: Outcome.FAILED,
    django_checks.CRITICAL: Outcome.FAILED,
}
# How long a throwaway token set could be kept, and a fact for another process.
_SECONDS = 120.0
_LEASE_SECONDS = 60.0
# By how much the clocks of host and database may differ: sessions end by both.
_CLOCK_SECONDS = 5.0
_FORGETS = "does not give back what was put there: see TMIBFF_STORE, TMIBFF_CACHE_ALIAS and CACHES"


def system_checks() -> Iterator[Verdict]:
    """Run our own system checks, those for deployments too."""
    messages = django_checks.run_checks(tags=["django_tmibff"], include_deployment_checks=True)
    heard = [one for one in messages if not one.is_silenced()]
    # Django runs them in no order.
    for message in sorted(heard, key=lambda one: (-one.level, str(one.id))):
        outcome = _LEVELS.get(message.level, Outcome.NOTE)
        finding = " ".join(filter(None, [message.msg, message.hint]))
        yield Verdict("check", outcome, finding, subject=str(message.id))
    if not heard:
        yield Verdict("check", Outcome.OK, "The system checks find nothing.")


def store() -> Iterator[Verdict]:
    """Seal a throwaway token set; add, read, change and end it."""
    with _throwaway() as contents:
        problem = _problem_of_store(contents)
    if problem:
        yield Verdict("store", Outcome.FAILED, f"{settings.store} {problem}.")
    else:
        finding = f"A throwaway token set went through {settings.store}: nothing of it is left."
        yield Verdict("store", Outcome.OK, finding)


def lease() -> Iterator[Verdict]:
    """Take and give back the lease of a throwaway token set, and look at the database's clock."""
    with _throwaway() as contents:
        problem = _problem_of_lease(contents.handle)
        before = time.time()
        clock = TokenSet.objects.clock() / 1000
        after = time.time()
    if problem:
        yield Verdict("lease", Outcome.FAILED, f"{problem} See DATABASES.")
        return
    ahead = max(0.0, clock - after) + min(0.0, clock - before)
    if abs(ahead) <= _CLOCK_SECONDS:
        finding = "One at a time has the lease; the database's clock is right."
        yield Verdict("lease", Outcome.OK, finding)
    else:
        finding = (
            f"The clock of the database (DATABASES) is {_apart(ahead)} this host's: leases do not"
            " mind, but sessions end too early or too late. Let NTP set both."
        )
        yield Verdict("lease", Outcome.WARNING, finding)


def processes() -> Iterator[Verdict]:
    """Let another process see what this one has written, and the other way round."""
    name = secrets.token_hex(16)
    _facts().remember(_fact(name, "first"), name, _SECONDS)
    is_seen = _is_seen_by_second_process(name)
    sees = _facts().recall(_fact(name, "second")) == name
    for which in ("first", "second"):
        _facts().remember(_fact(name, which), None, 0)
    shared = f"cache {settings.cache_alias!r}" if stores.current().uses_cache else "database"
    if is_seen and sees:
        finding = f"Two processes see each other's writes in the {shared}."
        yield Verdict("processes", Outcome.OK, finding)
        return
    finding = (
        f"{_what_is_missing(is_seen, sees=sees)} in the {shared}: see TMIBFF_CACHE_ALIAS, CACHES"
        " and DATABASES, and whether all processes have the same settings module."
    )
    yield Verdict("processes", Outcome.FAILED, finding)


def answer_as_second_process(name: str) -> str:
    """Return what the first process has written under that name; write something for it."""
    _facts().remember(_fact(name, "second"), name, _SECONDS)
    return str(_facts().recall(_fact(name, "first")))


@contextmanager
def _throwaway() -> Iterator[Contents]:
    """Yield a token set of nobody's, just added; nothing is left of it afterwards."""
    ends_at = timezone.now() + timedelta(seconds=_SECONDS)
    token_set = TokenSet(handle=new_handle(), provider=DEFAULT_PROVIDER, expires_at=ends_at)
    contents = Contents(token_set.handle, DEFAULT_PROVIDER, user="")
    contents.put(_token())
    try:
        stores.current().add(token_set, contents.sealed())
        yield contents
    finally:
        TokenSet.objects.filter(handle=token_set.handle).delete()
        if stores.current().uses_cache:
            with suppress(caching.CacheFailsError):
                caching.forget(token_set.handle)


def _token() -> AccessToken:
    """Return a token that nobody has given."""
    now = time.time()
    return AccessToken(TokenKey(), secrets.token_urlsafe(), "Bearer", None, now, now + _SECONDS)


def _problem_of_store(contents: Contents) -> str:
    """Return what is wrong with the store in which ``contents`` are; empty: nothing."""
    handle, owner = contents.handle, secrets.token_hex(16)
    if vault.load(handle, fresh=True) != contents:
        return _FORGETS
    changed = vault.read(handle)
    changed.put(_token())
    TokenSet.objects.take_lease(handle, owner, _LEASE_SECONDS)
    if not vault.save(changed, owner=owner):
        return "does not save what the owner of the lease changes: see DATABASES"
    if vault.load(handle, fresh=True) != changed or vault.load(handle) != changed:
        return _FORGETS
    _end(handle)
    left = stores.current().get(handle)
    if left is None or not left.ended or left.data is not None:
        return "still has what was ended: see TMIBFF_STORE, TMIBFF_CACHE_ALIAS and CACHES"
    return ""


def _end(handle: str) -> None:
    # Not ending.end(): nobody is to be told of it.
    with transaction.atomic(using=router.db_for_write(TokenSet)):
        stored = ending.claimed(handle)
        if stored is not None:
            end: dict[str, Any] = {"ended_at": timezone.now(), "end_reason": "tmibff_doctor"}
            stores.current().put(handle, None, version=stored.version, owner=None, **end)


def _problem_of_lease(handle: str) -> str:
    """Return what is wrong with leases, as that token set's shows; empty: nothing."""
    mine, other = secrets.token_hex(16), secrets.token_hex(16)
    if not TokenSet.objects.take_lease(handle, mine, _LEASE_SECONDS):
        return "Nobody gets the lease of a token set, so no token can be renewed."
    until = TokenSet.objects.values_list("lease_until", flat=True).get(handle=handle)
    left = until / 1000 - TokenSet.objects.clock() / 1000
    if TokenSet.objects.take_lease(handle, other, _LEASE_SECONDS):
        return "Two at once got the lease of a token set."
    if not 0 < left <= _LEASE_SECONDS:
        return f"A lease of {_LEASE_SECONDS:.0f} s ends in {left:.0f} s by the database's clock."
    TokenSet.objects.release_lease(handle, mine)
    if not TokenSet.objects.take_lease(handle, other, _LEASE_SECONDS):
        return "A lease that was given back is not free."
    return ""


def _apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _facts() -> Any:
    """Return what keeps the facts that processes share: past the store, where a cache has them.

    A store may put up with a cache that fails.
    """
    return caching if stores.current().uses_cache else stores.current()


def _fact(name: str, which: str) -> str:
    return f"doctor:{name}:{which}"


def _is_seen_by_second_process(name: str) -> bool | None:
    """Return whether another process sees what we have written; ``None``: it could not run."""
    command = [sys.executable, "-m", "django", "tmibff_doctor", "--second-process", name]
    module = getattr(django_settings, "SETTINGS_MODULE", None)
    environment = {
        "DJANGO_SETTINGS_MODULE": str(module),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        # Not what happens to lie in the folder that this was called from.
        "PYTHONSAFEPATH": "1",
    }
    try:
        done = subprocess.run(  # noqa: S603  # nothing in it comes from outside
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split()[-1:] == [name]


def _what_is_missing(is_seen: bool | None, *, sees: bool) -> str:
    if is_seen is None:
        return "A second process could not run, so nothing is known of what is shared"
    if sees:
        return "Another process does not see this one's writes"
    return "Two processes do not see each other's writes"
