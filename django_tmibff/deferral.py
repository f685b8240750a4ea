"""Work that waits until the response is on its way: nobody's logout takes longer for it."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from django.core.signals import request_finished, request_started
from django.db import connections

logger = logging.getLogger(__name__)

Work = Callable[[], object]

_waiting: ContextVar[list[Work] | None] = ContextVar("django_tmibff_waiting", default=None)


def connect() -> None:
    """Start to listen to the beginning and the end of requests."""
    request_started.connect(_begin, dispatch_uid="django_tmibff.begin")
    request_finished.connect(_finish, dispatch_uid="django_tmibff.finish")


def after_response(work: Work) -> None:
    """Do ``work`` when the response has been sent; at once where there is no request.

    What it raises is logged. A process that dies before does not do it.
    """
    waiting = _waiting.get()
    if waiting is None:
        _do(work)
    else:
        waiting.append(work)


def _begin(**kwargs: Any) -> None:
    _waiting.set([])


def _finish(**kwargs: Any) -> None:
    waiting = _waiting.get() or []
    _waiting.set(None)
    for work in waiting:
        _do(work)
    if waiting:
        _close_old_connections()  # Django has done so before us.


def _close_old_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # In a test the request is inside of the test's own transaction.
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _do(work: Work) -> None:
    try:
        work()
    except Exception:
        logger.exception("what was to be done after the response failed")
