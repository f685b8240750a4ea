"""Sealing at rest: what is stored opens only with this site's keys."""

import base64
from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.encoding import force_bytes

from .conf import settings

#: In TMIBFF_ENCRYPTION_KEYS: the keys that are used where that is not set.
OF_SECRET_KEY = "SECRET_KEY"  # noqa: S105  # a setting's name


class CannotUnsealError(Exception):
    """What was stored does not open: wrong key, tampered with, or truncated."""


def seal(content: bytes) -> bytes:
    """Return ``content`` encrypted and authenticated with the newest key."""
    return _keys().encrypt(content)


def unseal(sealed: bytes) -> bytes:
    """Return what was sealed, with whichever key it was; raises ``CannotUnsealError``."""
    try:
        return _keys().decrypt(sealed)
    except InvalidToken as error:
        raise CannotUnsealError from error


def is_current(sealed: bytes) -> bool:
    """Return whether ``sealed`` opens with the newest key."""
    try:
        _fernets()[0].decrypt(sealed)
    except InvalidToken:
        return False
    return True


def reseal(sealed: bytes) -> bytes:
    """Return the same content sealed with the newest key; raises ``CannotUnsealError``."""
    return seal(unseal(sealed))


def _keys() -> MultiFernet:
    return _all(_fernets())


@lru_cache(maxsize=4)
def _all(fernets: tuple[Fernet, ...]) -> MultiFernet:
    return MultiFernet(fernets)


def _fernets() -> tuple[Fernet, ...]:
    """Return one for each key, the newest first."""
    secrets = (django_settings.SECRET_KEY, *django_settings.SECRET_KEY_FALLBACKS)
    return _made_of(settings.encryption_keys or (OF_SECRET_KEY,), secrets)


@lru_cache(maxsize=4)
def _made_of(keys: Sequence[str | bytes], secrets: Sequence[str | bytes]) -> tuple[Fernet, ...]:
    try:
        return tuple(
            Fernet(each)
            for key in keys
            for each in (map(_derive, secrets) if key == OF_SECRET_KEY else (key,))
        )
    except ValueError:
        raise ImproperlyConfigured(
            "TMIBFF_ENCRYPTION_KEYS must hold keys made by cryptography's Fernet.generate_key();"
            f" {OF_SECRET_KEY!r} stands for those that are made of SECRET_KEY."
        ) from None


def _derive(secret: str | bytes) -> bytes:
    # A purpose of its own in ``info``: SECRET_KEY also signs cookies and must not be the same key.
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"django_tmibff.seal.v1")
    return base64.urlsafe_b64encode(kdf.derive(force_bytes(secret)))
