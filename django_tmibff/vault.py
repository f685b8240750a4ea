"""Opens and saves sealed parts: the store and the sealing, put together."""

import logging
import time
from enum import Enum, auto
from typing import Any

from . import crypto, stores
from .contents import CannotOpenError, Contents
from .exceptions import BackendNotReady, InvalidSession

logger = logging.getLogger(__name__)

# How often a token set that changes meanwhile is read again to be sealed anew.
_ATTEMPTS = 3


class Sealing(Enum):
    """How a token set is sealed."""

    NOTHING = auto()
    CURRENT = auto()
    RESEALED = auto()
    OLD = auto()
    LOST = auto()


def load(handle: str, *, fresh: bool = False) -> Contents | None:
    """Return what is sealed under ``handle``, or ``None`` where there is nothing to be had.

    ``fresh`` asks for the truth, not for a copy: needed before a call to the authorization server.
    Raises ``InvalidSession`` when the token set has ended.
    """
    stored = stores.current().get(handle, fresh=fresh)
    if stored is None:
        return None
    if stored.ended:
        raise InvalidSession("This sign-in has ended.")
    return opened(handle, stored)


def read(handle: str) -> Contents:
    """Return the truth of what is sealed under ``handle``.

    Raises ``BackendNotReady`` where there is nothing to be had, and ``InvalidSession`` when the
    token set has ended.
    """
    contents = load(handle, fresh=True)
    if contents is None:
        raise BackendNotReady
    return contents


def opened(handle: str, stored: stores.Stored) -> Contents | None:
    """Return the contents of ``stored``; ``None``, and an error in the log, if they don't open."""
    if stored.data is None:
        return None
    try:
        contents = Contents.opened(stored.data, handle=handle, provider=stored.provider)
    except CannotOpenError as error:
        logger.error("token set %s cannot be opened: %s", handle, error)  # noqa: TRY400  # its text says it all
        return None
    if stored.ended and contents.version == stored.version - 1:
        # As it was before the end, which a cache did not hear of.
        contents.version = stored.version
    if contents.version != stored.version:
        logger.error("token set %s has a sealed part of another version", handle)
        return None
    return contents


def reseal(handle: str, *, dry_run: bool = False) -> Sealing:
    """Seal what is kept under ``handle`` with the newest key; return how it is sealed now.

    What is kept stays what it is, so that its version stays too: a renewal beside this one wins,
    and seals with the newest key itself.
    """
    for _ in range(1 if dry_run else _ATTEMPTS):
        stored = stores.current().get(handle, fresh=True)
        if stored is None or stored.data is None:
            return Sealing.NOTHING
        if crypto.is_current(stored.data):
            return Sealing.CURRENT
        try:
            data = crypto.reseal(stored.data)
        except crypto.CannotUnsealError:
            return Sealing.LOST
        if not dry_run and stores.current().replace(handle, data, version=stored.version):
            return Sealing.RESEALED
    return Sealing.OLD


def save(contents: Contents, *, owner: str | None, **columns: Any) -> bool:
    """Save ``contents``, as read from version ``contents.version``, and the row's ``columns``.

    False, and nothing is saved, when somebody else was faster or the token set has ended.
    """
    version = contents.version
    contents.drop_expired(time.time())
    contents.version = version + 1
    try:
        return stores.current().put(
            contents.handle, contents.sealed(), version=version, owner=owner, **columns
        )
    except BaseException:
        contents.version = version
        raise
