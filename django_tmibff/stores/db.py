"""Keeps the sealed part in the token set's own row: needs nothing but a database."""

from datetime import timedelta
from typing import Any

from django.db import IntegrityError, router, transaction
from django.utils import timezone

from ..models import Note, TokenSet
from .base import BaseStore, Stored


class TokenStore(BaseStore):
    """The default store."""

    def get(self, handle: str, *, fresh: bool = False) -> Stored | None:
        row = (
            TokenSet.objects.filter(handle=handle)
            .values_list("provider", "version", "ended_at", "sealed")
            .first()
        )
        if row is None:
            return None
        provider, version, ended_at, sealed = row
        data = None if sealed is None else bytes(sealed)
        return Stored(provider, version, ended_at is not None, data)

    def add(self, token_set: TokenSet, data: bytes) -> None:
        token_set.sealed = data
        token_set.save(force_insert=True)

    def put(
        self, handle: str, data: bytes | None, *, version: int, owner: str, **columns: Any
    ) -> bool:
        return TokenSet.objects.compare_and_set(
            handle, version=version, owner=owner, sealed=data, **columns
        )

    def delete(self, handle: str) -> None:
        TokenSet.objects.filter(handle=handle).update(sealed=None)

    def remember(self, key: str, value: Any, seconds: float) -> None:
        using = router.db_for_write(Note)
        until = timezone.now() + timedelta(seconds=seconds)
        Note.objects.using(using).update_or_create(
            key=key, defaults={"value": value, "expires_at": until}
        )

    def recall(self, key: str) -> Any:
        notes = Note.objects.using(router.db_for_write(Note))
        return (
            notes.filter(key=key, expires_at__gt=timezone.now())
            .values_list("value", flat=True)
            .first()
        )

    def once(self, key: str, seconds: float) -> bool:
        using = router.db_for_write(Note)
        now = timezone.now()
        until = now + timedelta(seconds=seconds)
        notes = Note.objects.using(using)
        if notes.filter(key=key, expires_at__lte=now).update(expires_at=until):
            return True
        try:
            with transaction.atomic(using=using):
                notes.create(key=key, expires_at=until)
        except IntegrityError:
            return False
        return True
