"""Look into token sets, and change what they hold, whatever store keeps them."""

from django_tmibff import stores
from django_tmibff.conf import settings
from django_tmibff.contents import Contents
from django_tmibff.models import TokenSet
from django_tmibff.stores import caching


def store_name() -> str:
    """Return which of our stores this run uses."""
    return settings.store.rpartition(".")[2]


def sealed_of(token_set: TokenSet) -> bytes | None:
    """Return the sealed part as the store has it."""
    stored = stores.current().get(token_set.handle, fresh=True)
    assert stored is not None
    return stored.data


def contents_of(token_set: TokenSet) -> Contents:
    """Return what is sealed."""
    data = sealed_of(token_set)
    assert data is not None
    return Contents.opened(data, handle=token_set.handle, provider=token_set.provider)


def plant(token_set: TokenSet, data: bytes | None) -> None:
    """Put ``data`` where the store has the sealed part, past the store."""
    if TokenSet.objects.exclude(sealed=None).filter(pk=token_set.pk).exists():
        TokenSet.objects.filter(pk=token_set.pk).update(sealed=data)
    if stores.current().uses_cache:
        now = TokenSet.objects.get(pk=token_set.pk)
        entry = stores.Stored(now.provider, now.version, now.ended_at is not None, data)
        caching.write(now.handle, entry, 60)
