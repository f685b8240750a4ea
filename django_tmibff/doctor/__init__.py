"""What a deployment, its providers and one of its sessions are really like: verdicts as data."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFails

from ..conf import DEFAULT_PROVIDER, Provider, settings
from ..models import TokenSet
from ..stores.caching import CacheFailsError
from . import deployment, servers, sessions
from .deployment import answer_as_second_process
from .sessions import SessionProbe
from .verdicts import Outcome, Verdict

__all__ = [
    "Outcome",
    "SessionProbe",
    "Verdict",
    "answer_as_second_process",
    "examine_deployment",
    "examine_providers",
    "examine_session",
]

logger = logging.getLogger(__name__)

_OF_DEPLOYMENT = {
    "check": deployment.system_checks,
    "store": deployment.store,
    "lease": deployment.lease,
    "processes": deployment.processes,
}
_OF_PROVIDER = {
    "metadata": servers.published,
    "tls": servers.transport_security,
    "keys": servers.keys,
}


def examine_deployment() -> Iterator[Verdict]:
    """Try what needs nobody else."""
    for name, probe in _OF_DEPLOYMENT.items():
        yield from _attempted(Verdict(name, Outcome.FAILED, ""), probe)


def examine_providers() -> Iterator[Verdict]:
    """Try what each provider publishes, and whether it can be reached."""
    for name in (DEFAULT_PROVIDER, *settings.provider_names):
        try:
            provider = settings.provider(name)
        except ImproperlyConfigured as error:
            yield Verdict("settings", Outcome.FAILED, str(error), subject=name)
            continue
        if _is_used(provider):
            for probe_name, probe in _OF_PROVIDER.items():
                failed = Verdict(probe_name, Outcome.FAILED, "", subject=name)
                yield from _attempted(failed, probe, provider)


def examine_session(
    token_set: TokenSet | None, agrees: Callable[[SessionProbe], bool]
) -> Iterator[Verdict]:
    """Try what only a session's refresh token can show.

    ``agrees`` is asked before each probe that costs the session something.
    """
    for probe in sessions.PROBES:
        why_not = _why_not(token_set, probe, agrees)
        if token_set is None or why_not:
            yield Verdict(probe.name, Outcome.NOT_TRIED, why_not)
        else:
            yield from _attempted(Verdict(probe.name, Outcome.FAILED, ""), probe, token_set)


def _is_used(provider: Provider) -> bool:
    return bool(provider.issuer or provider.token_endpoint or settings.signs_in_at(provider))


def _why_not(
    token_set: TokenSet | None, probe: SessionProbe, agrees: Callable[[SessionProbe], bool]
) -> str:
    """Return why that probe is not tried; empty: it is."""
    if token_set is None:
        return "It needs a session to try on: --user or --token-set."
    if not probe.cost:
        return ""
    if not sessions.has_refresh_token(token_set):
        return "There is no refresh token of this session to try it with."
    if not agrees(probe):
        return f"Nobody agreed to its cost. {probe.cost}"
    return ""


def _attempted(
    failed: Verdict, probe: Callable[..., Iterable[Verdict]], *arguments: object
) -> list[Verdict]:
    """Return what the probe has found; ``failed``, with the reason, where it cannot be tried."""
    try:
        return list(probe(*arguments))
    except ImproperlyConfigured as error:
        finding = str(error)
    except CacheFailsError:
        finding = "The cache fails: see TMIBFF_CACHE_ALIAS and CACHES."
    except DatabaseFails as error:
        # Its text may hold the address of the database, and with it a password.
        finding = f"The database fails ({type(error).__name__}): see DATABASES, and run migrate."
    except Exception as error:
        # Others' code runs too, in checks and settings: one that breaks must not hide the rest.
        logger.exception("probe %s failed", failed.probe)
        finding = f"This could not be tried ({type(error).__name__}): see the log."
    return [replace(failed, finding=finding)]
