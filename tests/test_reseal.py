"""``manage.py reseal_tokens``: after it the old keys can go."""

import io
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.cache import caches
from django.core.management import CommandError, call_command

from django_tmibff import crypto, stores, tokens, vault
from django_tmibff.models import TokenSet
from tests.page import SIGN_IN
from tests.sealed import contents_of, sealed_of
from tests.terminal import Terminal

pytestmark = pytest.mark.django_db

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def run(out: io.StringIO | None = None, **options: Any) -> list[str]:
    """Return the lines that the command printed."""
    out = out or io.StringIO()
    call_command("reseal_tokens", stdout=out, **options)
    return out.getvalue().splitlines()


@pytest.fixture(params=["db", "cached_db", "cache"])
def store(request: Any, settings: Any) -> stores.BaseStore:
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
    return stores.current()


@pytest.fixture
def keys(settings: Any) -> Any:
    """Change the keys of the site, the newest first."""

    def change(*keys: str) -> None:
        settings.TMIBFF_ENCRYPTION_KEYS = list(keys)

    change(OLD)
    return change


@pytest.fixture
def record(store: stores.BaseStore, keys: Any, signed_in: Any) -> TokenSet:
    """A token set sealed with the old key, while there is a newer one."""
    signed_in(refresh_token="canary-refresh")
    keys(NEW, OLD)
    return TokenSet.objects.get()


def test_afterwards_the_old_key_can_go(record: TokenSet, keys: Any, signed_in: Any) -> None:
    assert run()[-1] == (
        "1 sealed anew, 0 sealed with the newest key already, 0 still need an older key,"
        " 0 open with no key"
    )
    keys(NEW)
    assert contents_of(record).refresh_token == "canary-refresh"


def test_the_page_is_served_without_the_old_key(
    store: stores.BaseStore, keys: Any, signed_in: Any
) -> None:
    page = signed_in()
    page.token()
    keys(NEW, OLD)
    run()
    keys(NEW)
    assert page.token()["access_token"] == SIGN_IN["access_token"]


def test_nothing_else_changes(record: TokenSet) -> None:
    before = contents_of(record)
    run()
    assert contents_of(record) == before
    assert TokenSet.objects.get().version == record.version


def test_run_again_it_finds_all_done(record: TokenSet) -> None:
    run()
    sealed = sealed_of(record)
    assert run()[-1].startswith("0 sealed anew, 1 sealed with the newest key already")
    assert sealed_of(record) == sealed


def test_a_dry_run_counts_and_changes_nothing(record: TokenSet) -> None:
    sealed = sealed_of(record)
    assert "1 still need an older key" in run(dry_run=True)[-1]
    assert sealed_of(record) == sealed


def test_what_is_owed_of_an_ended_set_is_sealed_anew_too(record: TokenSet, keys: Any) -> None:
    keys(OLD)
    tokens.end(record, "test")  # The test's transaction never commits: the revocation stays owed.
    keys(NEW, OLD)
    assert run()[-1].startswith("1 sealed anew")
    keys(NEW)
    assert contents_of(record).refresh_token == "canary-refresh"


def test_what_no_key_opens_is_counted_and_left(record: TokenSet, keys: Any) -> None:
    sealed = sealed_of(record)
    keys(NEW)
    assert run()[-1].endswith("1 open with no key")
    assert sealed_of(record) == sealed


def test_a_renewal_meanwhile_wins(record: TokenSet, monkeypatch: Any) -> None:
    reseal = crypto.reseal

    def renewed_meanwhile(sealed: bytes) -> bytes:
        monkeypatch.setattr(crypto, "reseal", reseal)
        contents = contents_of(record)
        contents.refresh_token = "newer"
        assert vault.save(contents, owner="")
        return reseal(sealed)

    monkeypatch.setattr(crypto, "reseal", renewed_meanwhile)
    assert run()[-1].startswith("0 sealed anew, 1 sealed with the newest key already")
    assert contents_of(record).refresh_token == "newer"


def test_one_that_changes_all_the_time_is_said_so(record: TokenSet, monkeypatch: Any) -> None:
    monkeypatch.setattr(stores.current(), "replace", lambda *args, **options: False)
    with pytest.raises(CommandError, match="run this again"):
        run()


@pytest.mark.parametrize("store", ["cache"], indirect=True)
def test_a_cache_that_fails_leaves_the_old_one_and_says_so(
    record: TokenSet, monkeypatch: Any
) -> None:
    def fail(*args: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(caches["default"], "set", fail)
    with pytest.raises(CommandError, match="run this again"):
        run()
    assert crypto.unseal(sealed_of(record))


def test_a_line_for_each_batch(record: TokenSet, signed_in: Any) -> None:
    for number in range(4):
        TokenSet(handle=str(number) * 32, provider="x", expires_at=record.expires_at).save()
    lines = run(batch_size=2)
    assert len(lines) == 4
    assert lines[2].startswith("100%")


def test_a_bar_on_a_terminal(record: TokenSet) -> None:
    out = Terminal()
    run(out)
    assert "[##############################] 100%" in out.getvalue()


def test_nothing_to_do(db: None) -> None:
    assert run()[-1].startswith("0 sealed anew")
