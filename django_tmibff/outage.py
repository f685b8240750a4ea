"""Outages of authorization servers, known to all processes: a time-out once, not for each worker.

It takes a failed connection, or failures of two token sets, to call it an outage; but not for one
and the same resource: one that is broken blocks nobody. While it lasts nobody asks; then one asks
at a time, until one is answered. No times are kept, only facts that expire: hosts' clocks differ.
"""

import logging
import math
from collections.abc import Sequence

from . import stores
from .conf import settings
from .exceptions import TemporarilyUnavailable

logger = logging.getLogger(__name__)

LONGEST_SECONDS = 30.0
# How long it is remembered that there was an outage, and that one token set's call failed.
_AFTERMATH_SECONDS = 60.0
_SUSPICION_SECONDS = 30.0


def check(provider: str) -> bool:
    """Return whether there has been an outage just now, which this caller is to probe.

    Raises ``TemporarilyUnavailable`` while it lasts, and while somebody else is probing.
    """
    if not settings.outage_seconds:
        return False
    store = stores.current()
    seconds = store.recall(_aftermath(provider))
    if seconds is None:
        return False
    is_over = store.recall(_outage(provider)) is None
    if is_over and store.once(f"outage-probe:{provider}:{seconds}", settings.as_timeout):
        return True
    raise TemporarilyUnavailable(
        "The authorization server did not answer a moment ago.",
        retry_after=1 if is_over else math.ceil(seconds),
    )


def lasts(provider: str) -> bool:
    """Return whether nobody is to ask this provider now."""
    return bool(settings.outage_seconds) and stores.current().recall(_outage(provider)) is not None


def report(
    provider: str, handle: str, *, resources: Sequence[str] = (), no_connection: bool
) -> None:
    """Note that a call for the token set ``handle``, and ``resources``, got no OAuth answer."""
    store = stores.current()
    if not settings.outage_seconds or store.recall(_outage(provider)) is not None:
        return
    last = store.recall(_aftermath(provider))
    if last is None and not no_connection and not _is_second(provider, handle, resources):
        return
    seconds = settings.outage_seconds if last is None else min(last * 2, LONGEST_SECONDS)
    store.remember(_aftermath(provider), seconds, seconds + _AFTERMATH_SECONDS)
    store.remember(_outage(provider), seconds, seconds)
    logger.error("provider %s does not answer: not asked for %s s", provider, seconds)


def end(provider: str) -> None:
    """Note that the authorization server answers again."""
    stores.current().remember(_aftermath(provider), None, 0)
    logger.warning("provider %s answers again", provider)


def _is_second(provider: str, handle: str, resources: Sequence[str]) -> bool:
    """Return whether another token set's call has failed shortly before.

    And not for the same resource only: that may be what is broken.
    """
    store = stores.current()
    first = store.recall(f"outage-suspicion:{provider}")
    if not isinstance(first, list):
        suspicion = [handle, list(resources)]
        store.remember(f"outage-suspicion:{provider}", suspicion, _SUSPICION_SECONDS)
        return False
    same_resource = bool(resources) and list(resources) == first[1]
    return first[0] != handle and not same_resource


def _outage(provider: str) -> str:
    return f"outage:{provider}"


def _aftermath(provider: str) -> str:
    return f"outage-aftermath:{provider}"
