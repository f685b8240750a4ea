"""Sealing at rest: what is stored opens only with this site's keys, and for its own token set."""

import base64
import dataclasses
import json
import time
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_tmibff import crypto
from django_tmibff.contents import AccessToken, CannotOpenError, Contents, Refusal, TokenKey
from django_tmibff.models import TokenSet
from tests.page import SESSION_INFO
from tests.sealed import contents_of, plant, sealed_of

HANDLE = "0" * 32


def some_contents() -> Contents:
    contents = Contents(handle=HANDLE, provider="default", user="1", refresh_token="canary")
    key = TokenKey.of(["https://api.example"], ["b", "a", "b"])
    contents.put(AccessToken(key, "canary", "Bearer", "a b", 1.5, 2.5))
    contents.refuse(Refusal(key, "invalid_scope", "no", 3.5))
    return contents


def reopened(data: bytes) -> Contents:
    return Contents.opened(data, handle=HANDLE, provider="default")


class TestRoundTrip:
    def test_everything_comes_back(self) -> None:
        assert reopened(some_contents().sealed()) == some_contents()

    def test_nothing_is_in_the_clear(self) -> None:
        assert b"canary" not in some_contents().sealed()

    def test_no_secret_in_a_repr(self) -> None:
        """X9."""
        contents = some_contents()
        assert "canary" not in repr(contents)
        assert "canary" not in repr(contents.access_tokens)

    def test_the_same_is_never_sealed_the_same(self) -> None:
        assert some_contents().sealed() != some_contents().sealed()


class TestKeys:
    def test_the_first_key_seals_and_all_open(self, settings: Any) -> None:
        old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
        settings.TMIBFF_ENCRYPTION_KEYS = [old]
        sealed = crypto.seal(b"x")
        settings.TMIBFF_ENCRYPTION_KEYS = [new, old]
        assert crypto.unseal(sealed) == b"x"
        resealed = crypto.seal(b"x")
        settings.TMIBFF_ENCRYPTION_KEYS = [new]
        assert crypto.unseal(resealed) == b"x"
        with pytest.raises(crypto.CannotUnsealError):
            crypto.unseal(sealed)

    def test_without_keys_of_its_own_a_site_uses_its_secret_key(self, settings: Any) -> None:
        sealed = crypto.seal(b"x")
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another" * 10
        assert crypto.unseal(sealed) == b"x"
        settings.SECRET_KEY_FALLBACKS = []
        with pytest.raises(crypto.CannotUnsealError):
            crypto.unseal(sealed)

    def test_a_site_goes_over_to_keys_of_its_own_in_steps(self, settings: Any) -> None:
        """Processes of one step open what those of the next one have sealed, and the other way."""
        new = Fernet.generate_key().decode()
        steps = [None, ["SECRET_KEY", new], [new, "SECRET_KEY"]]
        sealed = []
        for keys in (*steps, *reversed(steps[1:])):
            settings.TMIBFF_ENCRYPTION_KEYS = keys
            sealed.append(crypto.seal(b"x"))
            assert {crypto.unseal(each) for each in sealed} == {b"x"}
        settings.TMIBFF_ENCRYPTION_KEYS = [new, "SECRET_KEY"]
        resealed = crypto.reseal(sealed[0])
        assert crypto.is_current(resealed)
        settings.TMIBFF_ENCRYPTION_KEYS = [new]
        assert crypto.unseal(resealed) == b"x"
        with pytest.raises(crypto.CannotUnsealError):
            crypto.unseal(sealed[0])

    def test_fallbacks_of_the_secret_key_come_along(self, settings: Any) -> None:
        sealed = crypto.seal(b"x")
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
        settings.SECRET_KEY = "another" * 10
        settings.TMIBFF_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), "SECRET_KEY"]
        assert crypto.unseal(sealed) == b"x"

    @pytest.mark.parametrize("key", ["short", "", b"x" * 44, "ä" * 44])
    def test_a_key_that_is_none_is_said_so_without_showing_it(
        self, settings: Any, key: Any
    ) -> None:
        settings.TMIBFF_ENCRYPTION_KEYS = [key]
        with pytest.raises(ImproperlyConfigured, match=r"Fernet\.generate_key") as raised:
            crypto.seal(b"x")
        assert not key or str(key) not in str(raised.value)


class TestForeignBlobs:
    @pytest.mark.parametrize(
        "changed", [{"handle": "1" * 32}, {"provider": "other"}, {"handle": ""}]
    )
    def test_a_blob_on_another_row_opens_for_nobody(self, changed: dict[str, str]) -> None:
        moved = dataclasses.replace(some_contents(), **changed)
        with pytest.raises(CannotOpenError):
            reopened(moved.sealed())

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b'{"format": 2}',
            b'{"format": 1}',
            b'{"format": 1, "access_tokens": 1, "refusals": []}',
            b'{"format": 1, "access_tokens": [{}], "refusals": []}',
            b'{"format": 1, "access_tokens": [], "refusals": [], "unknown": 1}',
            b"\xff",
        ],
    )
    def test_sealed_by_us_but_not_understood(self, content: bytes) -> None:
        with pytest.raises(CannotOpenError):
            reopened(crypto.seal(content))

    @given(data=st.binary(max_size=300))
    def test_any_bytes_open_for_nobody(self, data: bytes) -> None:
        with pytest.raises(CannotOpenError):
            reopened(data)

    @given(data=st.data())
    def test_one_byte_changed_or_cut_off_opens_for_nobody(self, data: Any) -> None:
        # Below base64, which writes some bytes in more ways than one.
        sealed = bytearray(base64.urlsafe_b64decode(some_contents().sealed()))
        at = data.draw(st.integers(0, len(sealed) - 1))
        if data.draw(st.booleans()):
            del sealed[at:]
        else:
            sealed[at] ^= data.draw(st.integers(1, 255))
        with pytest.raises(CannotOpenError):
            reopened(base64.urlsafe_b64encode(sealed))


class TestColumn:
    """Whatever is in the sealed column: no tokens, one line in the log, never a 500."""

    @hypothesis_settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(sealed=st.none() | st.binary(max_size=300))
    def test_x3_any_bytes_mean_no_tokens(
        self, signed_in: Any, authorization_server: Any, sealed: bytes | None
    ) -> None:
        page = signed_in()
        plant(TokenSet.objects.latest("pk"), sealed)
        assert page.refusal()["error"] == "backend_not_ready"
        assert page.fetch(SESSION_INFO).status_code == 200
        assert authorization_server.calls == 0

    def test_x3_said_in_the_log(self, signed_in: Any, caplog: Any) -> None:
        page = signed_in()
        plant(TokenSet.objects.get(), b"junk")
        page.refusal()
        assert "cannot be opened" in caplog.text

    def test_a_new_sign_in_mends_it(self, signed_in: Any) -> None:
        page = signed_in()
        plant(TokenSet.objects.get(), b"junk")
        page.store({"access_token": "second"})
        assert page.token()["access_token"] == "second"

    def test_an_older_blob_is_not_used(self, signed_in: Any, authorization_server: Any) -> None:
        """A refresh token from a backup would be seen as reused, and kill the grant."""
        page = signed_in(expires_in=0)
        older = sealed_of(TokenSet.objects.get())
        page.token()
        plant(TokenSet.objects.get(), older)
        assert page.refusal()["error"] == "backend_not_ready"
        assert authorization_server.calls == 1

    def test_ending_one_that_does_not_open(self, signed_in: Any, authorization_server: Any) -> None:
        page = signed_in()
        plant(TokenSet.objects.get(), b"junk")
        page.logout()
        record = TokenSet.objects.get()
        assert (record.end_reason, sealed_of(record)) == ("logout", None)


class TestSize:
    def test_sixteen_access_tokens_at_most_and_the_oldest_goes_first(
        self, signed_in: Any, authorization_server: Any, settings: Any, monkeypatch: Any
    ) -> None:
        settings.TMIBFF_SCOPES = [f"scope:{number}" for number in range(20)]
        page = signed_in()
        start = time.time()
        for number in range(20):
            monkeypatch.setattr("time.time", lambda number=number: start + number)
            page.token(scope=f"scope:{number}")
        assert authorization_server.calls == 20
        kept = [token.value for token in contents_of(TokenSet.objects.get()).access_tokens]
        assert kept == [f"fresh-{number}" for number in range(5, 21)]

    def test_expired_ones_are_dropped_on_each_write(self) -> None:
        contents = some_contents()
        contents.drop_expired(now=10)
        assert (contents.access_tokens, contents.refusals) == ([], [])


def test_the_blobs_format_is_known_to_its_readers() -> None:
    """A member more or less needs another format number, or old blobs stop to open."""
    members = set(json.loads(crypto.unseal(some_contents().sealed())))
    assert members == {
        "format",
        "handle",
        "provider",
        "user",
        "version",
        "session_key",
        "made_session",
        "granted",
        "resources",
        "expires_at",
        "refresh_token",
        "refresh_expires_at",
        "id_token",
        "claims",
        "access_tokens",
        "refusals",
        "calls",
        "jkt",
    }
