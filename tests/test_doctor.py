"""``manage.py tmibff_doctor``: what each probe finds, and how it is shown."""

import email.utils
import io
import json
import logging
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.dispatch import Signal
from django.utils import timezone

from django_tmibff import doctor, signals, stores, tokens
from django_tmibff.conf import settings as our_settings
from django_tmibff.doctor import Outcome, Verdict, deployment, servers, sessions
from django_tmibff.management.commands import tmibff_doctor
from django_tmibff.models import Note, TokenSet
from django_tmibff.stores import caching
from tests.metadata import ISSUER, SOUND, Published, ec_key, rsa_key
from tests.page import SIGN_IN, Page
from tests.real.certificates import make_certificate
from tests.real.raw_server import RawServer, http
from tests.sealed import contents_of, plant
from tests.terminal import Terminal

pytestmark = pytest.mark.django_db

ORDERS, MAIL = "https://api.example/orders", "https://api.example/mail"
STORES = ["db", "cached_db", "cache"]
COSTLY = ["rotation", "narrower-scope", "resource", "revocation"]


@pytest.fixture
def published(authorization_server: Any, settings: Any) -> Published:
    """What the provider of the settings publishes, which agrees with them."""
    settings.OIDC_RP_SIGN_ALGO = "RS256"
    settings.OIDC_OP_END_SESSION_ENDPOINT = SOUND["end_session_endpoint"]
    published = Published(authorization_server.mocker)
    published.mocker.get(f"{ISSUER}/", text="Welcome")
    return published


def only(verdicts: Iterable[Verdict]) -> Verdict:
    [verdict] = verdicts
    return verdict


def by_probe(verdicts: Iterable[Verdict]) -> dict[str, Outcome]:
    """Return the outcome of each probe, the worst where there are several."""
    order = list(Outcome)
    found: dict[str, Outcome] = {}
    for verdict in verdicts:
        worst = found.get(verdict.probe, Outcome.OK)
        found[verdict.probe] = max(worst, verdict.outcome, key=order.index)
    return found


def names(verdict: Verdict, *settings: str) -> bool:
    return set(settings) <= set(verdict.settings)


class TestSystemChecks:
    def test_nothing_to_say(self) -> None:
        verdict = only(deployment.system_checks())
        assert (verdict.probe, verdict.outcome) == ("check", Outcome.OK)

    def test_what_is_only_for_deployments_is_said_too(self, settings: Any) -> None:
        settings.SESSION_COOKIE_SECURE = False
        verdict = only(deployment.system_checks())
        assert (verdict.outcome, verdict.subject) == (Outcome.WARNING, "django_tmibff.W001")
        assert names(verdict, "SESSION_COOKIE_SECURE")

    def test_the_worst_is_said_first(self, settings: Any) -> None:
        settings.SILENCED_SYSTEM_CHECKS = ["django_tmibff.E003"]
        settings.SESSION_COOKIE_SECURE = False
        settings.TMIBFF_NARROWER_SCOPE = "maybe"
        said = [verdict.outcome for verdict in deployment.system_checks()]
        assert said == [Outcome.FAILED, Outcome.WARNING, Outcome.NOTE, Outcome.NOTE]

    def test_an_error_is_a_failure(self, settings: Any) -> None:
        settings.TMIBFF_NARROWER_SCOPE = "maybe"
        verdict = only(deployment.system_checks())
        assert (verdict.outcome, verdict.subject) == (Outcome.FAILED, "django_tmibff.E002")
        assert names(verdict, "TMIBFF_NARROWER_SCOPE")

    def test_what_the_site_has_silenced_is_not_said(self, settings: Any) -> None:
        settings.SESSION_COOKIE_SECURE = False
        settings.SILENCED_SYSTEM_CHECKS = [*settings.SILENCED_SYSTEM_CHECKS, "django_tmibff.W001"]
        assert only(deployment.system_checks()).outcome == Outcome.OK


@pytest.fixture(params=STORES)
def store(request: Any, settings: Any) -> str:
    settings.TMIBFF_STORE = f"django_tmibff.stores.{request.param}"
    return str(request.param)


def attempted(name: str) -> Verdict:
    """Return what the whole examination says of that probe."""
    probes = {name: doctor._OF_DEPLOYMENT[name]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_OF_DEPLOYMENT", probes)
        return only(doctor.examine_deployment())


@pytest.fixture
def signals_heard() -> Iterator[list[str]]:
    """The handles that our signals tell of."""
    heard: list[str] = []

    def listen(handle: str, **arguments: Any) -> None:
        heard.append(handle)

    ours = [one for one in vars(signals).values() if isinstance(one, Signal)]
    for signal in ours:
        signal.connect(listen)
    yield heard
    for signal in ours:
        signal.disconnect(listen)


class TestStore:
    def test_it_works_and_nothing_is_left(
        self, store: str, signals_heard: list[str], settings: Any
    ) -> None:
        verdict = only(deployment.store())
        assert (verdict.probe, verdict.outcome) == ("store", Outcome.OK)
        assert settings.TMIBFF_STORE in verdict.finding
        self.assert_nothing_left()
        assert signals_heard == []

    def assert_nothing_left(self) -> None:
        assert not TokenSet.objects.exists()
        assert not Note.objects.exists()
        assert caches["default"]._cache == {}

    @pytest.mark.parametrize("store", ["cache"], indirect=True)
    def test_a_cache_that_keeps_nothing(self, store: str, settings: Any) -> None:
        backend = "django.core.cache.backends.dummy.DummyCache"
        settings.CACHES = {"default": {"BACKEND": backend}}
        verdict = only(deployment.store())
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "TMIBFF_STORE", "TMIBFF_CACHE_ALIAS", "CACHES")
        assert not TokenSet.objects.exists()

    @pytest.mark.parametrize("store", ["cache"], indirect=True)
    def test_a_cache_that_fails(self, store: str, monkeypatch: Any) -> None:
        def fail(*args: Any) -> None:
            raise ConnectionError("redis://:canary@cache.example")

        for method in ("get", "set", "add", "delete"):
            monkeypatch.setattr(caches["default"], method, fail)
        verdict = attempted("store")
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "CACHES")
        assert "canary" not in verdict.finding
        assert not TokenSet.objects.exists()

    def test_keys_that_cannot_be_used(self, store: str, settings: Any) -> None:
        settings.TMIBFF_ENCRYPTION_KEYS = ["short"]
        verdict = attempted("store")
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "TMIBFF_ENCRYPTION_KEYS")
        self.assert_nothing_left()

    def test_a_store_that_is_none(self, settings: Any) -> None:
        settings.TMIBFF_STORE = "no.such.store"
        verdict = attempted("store")
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "TMIBFF_STORE")

    def test_a_database_that_fails(self, store: str, monkeypatch: Any) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise OperationalError("password canary")

        monkeypatch.setattr(TokenSet, "save", fail)
        verdict = attempted("store")
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "DATABASES")
        assert "canary" not in verdict.finding

    @pytest.mark.parametrize(("method", "answer"), [("put", False), ("put", True), ("get", None)])
    def test_a_store_that_only_says_so(
        self, store: str, monkeypatch: Any, method: str, answer: Any
    ) -> None:
        """As one of the site's own might."""
        monkeypatch.setattr(stores.current(), method, lambda *args, **options: answer)
        assert attempted("store").outcome == Outcome.FAILED
        assert not TokenSet.objects.exists()

    def test_a_store_that_cannot_end(self, store: str, monkeypatch: Any) -> None:
        put = stores.current().put

        def keep(*args: Any, **options: Any) -> bool:
            return True if "ended_at" in options else put(*args, **options)

        monkeypatch.setattr(stores.current(), "put", keep)
        verdict = attempted("store")
        assert verdict.outcome == Outcome.FAILED
        assert "still has what was ended" in verdict.finding

    def test_what_breaks_in_a_way_that_nobody_has_thought_of(
        self, store: str, monkeypatch: Any, caplog: Any
    ) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(stores.current(), "add", fail)
        verdict = attempted("store")
        assert verdict.outcome == Outcome.FAILED
        assert "ZeroDivisionError" in verdict.finding
        assert "probe store failed" in caplog.text


class TestLease:
    def test_one_at_a_time(self, store: str) -> None:
        verdict = only(deployment.lease())
        assert (verdict.probe, verdict.outcome) == ("lease", Outcome.OK)
        assert not TokenSet.objects.exists()

    @pytest.mark.parametrize(
        ("answers", "said"),
        [
            ([False], "Nobody gets the lease"),
            ([True, True], "Two at once"),
            ([True, False, False], "not free"),
        ],
    )
    def test_a_database_that_counts_wrongly(
        self, monkeypatch: Any, answers: list[bool], said: str
    ) -> None:
        """As one behind a pool that lies about the rows of an UPDATE."""
        take_lease, left = TokenSet.objects.take_lease, iter(answers)

        def lie(*args: Any) -> bool:
            take_lease(*args)
            return next(left)

        monkeypatch.setattr(TokenSet.objects, "take_lease", lie)
        verdict = only(deployment.lease())
        assert verdict.outcome == Outcome.FAILED
        assert said in verdict.finding
        assert names(verdict, "DATABASES")
        assert not TokenSet.objects.exists()

    def test_a_lease_by_another_clock(self, monkeypatch: Any) -> None:
        clock = TokenSet.objects.clock
        monkeypatch.setattr(TokenSet.objects, "clock", lambda: clock() - 3600_000)
        verdict = only(deployment.lease())
        assert verdict.outcome == Outcome.FAILED
        assert "ends in 3660 s" in verdict.finding

    @pytest.mark.parametrize(("seconds", "said"), [(120, "120 s behind"), (-120, "120 s ahead of")])
    def test_a_host_whose_clock_is_wrong(self, monkeypatch: Any, seconds: float, said: str) -> None:
        now = time.time
        monkeypatch.setattr(deployment.time, "time", lambda: now() + seconds)
        verdict = only(deployment.lease())
        assert verdict.outcome == Outcome.WARNING
        assert said in verdict.finding


def test_processes_that_share_nothing(settings: Any) -> None:
    """In these tests each process has a cache and a database of its own."""
    verdict = only(deployment.processes())
    assert (verdict.probe, verdict.outcome) == ("processes", Outcome.FAILED)
    assert names(verdict, "CACHES", "DATABASES")
    left = Note.objects.values_list("key", flat=True)
    assert [key for key in left if stores.current().recall(key)] == []
    # What has expired is there until it is asked for.
    cached = [key.removeprefix(":1:") for key in caches["default"]._cache]
    assert [key for key in cached if caches["default"].get(key)] == []


@pytest.mark.parametrize(
    ("is_seen", "answers", "outcome", "said"),
    [
        (True, True, Outcome.OK, "see each other's"),
        (False, True, Outcome.FAILED, "Another process does not see"),
        (True, False, Outcome.FAILED, "do not see each other's"),
    ],
)
def test_processes_that_share_something(
    monkeypatch: Any, is_seen: bool, answers: bool, outcome: Outcome, said: str
) -> None:
    """Another process really does so in tests/test_real_doctor.py."""

    def second_process(name: str) -> bool:
        if answers:
            doctor.answer_as_second_process(name)
        return is_seen

    monkeypatch.setattr(deployment, "_is_seen_by_second_process", second_process)
    verdict = only(deployment.processes())
    assert verdict.outcome == outcome
    assert said in verdict.finding


@pytest.mark.parametrize("store", ["cached_db", "cache"], indirect=True)
def test_a_cache_that_fails_is_shared_by_nobody(store: str, monkeypatch: Any) -> None:
    def fail(*args: Any) -> None:
        raise ConnectionError("redis://:canary@cache.example")

    monkeypatch.setattr(caches["default"], "set", fail)
    verdict = attempted("processes")
    assert verdict.outcome == Outcome.FAILED
    assert names(verdict, "TMIBFF_CACHE_ALIAS", "CACHES")


def test_the_second_process_says_what_it_sees_and_leaves_word() -> None:
    facts = caching if stores.current().uses_cache else stores.current()
    facts.remember("doctor:n:first", "n", 60)
    out = io.StringIO()
    call_command("tmibff_doctor", second_process="n", stdout=out)
    assert out.getvalue() == "n\n"
    assert facts.recall("doctor:n:second") == "n"


def test_a_second_process_that_cannot_start(monkeypatch: Any) -> None:
    monkeypatch.setattr(deployment.sys, "executable", "/no/such/python")
    verdict = only(deployment.processes())
    assert verdict.outcome == Outcome.FAILED
    assert "could not run" in verdict.finding


class TestMetadata:
    def of(self, name: str = "default") -> list[Verdict]:
        return list(servers.published(our_settings.provider(name)))

    def test_sound_and_agreeing(self, published: Published, settings: Any) -> None:
        settings.OIDC_USE_PKCE = True
        outcomes = by_probe(self.of())
        assert outcomes["metadata"] == outcomes["settings"] == Outcome.OK

    def test_lies(self, published: Published) -> None:
        published.says(issuer="https://evil.example")
        verdict = only(self.of())
        assert (verdict.probe, verdict.outcome) == ("metadata", Outcome.FAILED)
        assert names(verdict, "OIDC_OP_ISSUER")

    def test_nowhere_to_be_found(self, published: Published, settings: Any) -> None:
        settings.OIDC_OP_ISSUER = None
        verdict = only(self.of())
        assert (verdict.outcome, verdict.settings) == (Outcome.FAILED, ("OIDC_OP_ISSUER",))

    def test_a_setting_that_differs(self, published: Published, settings: Any) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = "https://op.example/old"
        found = [verdict for verdict in self.of() if verdict.outcome == Outcome.FAILED]
        assert names(only(found), "OIDC_OP_TOKEN_ENDPOINT")

    def test_an_endpoint_that_the_site_does_without(
        self, published: Published, settings: Any
    ) -> None:
        settings.OIDC_OP_REVOCATION_ENDPOINT = None
        found = [verdict for verdict in self.of() if verdict.outcome == Outcome.WARNING]
        assert names(only(found), "OIDC_OP_REVOCATION_ENDPOINT")

    def test_what_the_provider_lacks(self, published: Published) -> None:
        published.says(backchannel_logout_supported=False)
        found = [verdict for verdict in self.of() if verdict.outcome == Outcome.NOTE]
        assert any("back-channel logout" in verdict.finding for verdict in found)

    def test_an_endpoint_that_only_the_settings_know_is_not_lacking(
        self, published: Published, settings: Any
    ) -> None:
        settings.OIDC_OP_REVOCATION_ENDPOINT = f"{ISSUER}/revoke"
        published.says(revocation_endpoint=...)
        assert not any("revocation_endpoint" in verdict.finding for verdict in self.of())
        settings.OIDC_OP_REVOCATION_ENDPOINT = None
        assert any("revocation_endpoint" in verdict.finding for verdict in self.of())

    def test_another_provider(self, published: Published, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"tea": {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/old"}}
        found = [one for one in self.of("tea") if one.outcome == Outcome.FAILED]
        assert names(only(found), "TMIBFF_PROVIDERS['tea']['token_endpoint']")
        assert {verdict.subject for verdict in self.of("tea")} == {"tea"}


class TestClock:
    def clock(self, published: Published, **headers: str) -> Verdict:
        published.metadata(json=SOUND, headers=headers)
        verdicts = servers.published(our_settings.provider())
        return only(verdict for verdict in verdicts if verdict.probe == "clock")

    def date(self, ahead: float) -> str:
        return email.utils.formatdate(time.time() + ahead, usegmt=True)

    @pytest.mark.parametrize(
        ("ahead", "outcome"),
        [
            (0, Outcome.OK),
            (-1, Outcome.OK),
            (20, Outcome.WARNING),
            (-20, Outcome.WARNING),
            (300, Outcome.FAILED),
            (-300, Outcome.FAILED),
        ],
    )
    def test_how_far_they_are_apart(
        self, published: Published, ahead: float, outcome: Outcome
    ) -> None:
        verdict = self.clock(published, Date=self.date(ahead))
        assert verdict.outcome == outcome
        if outcome != Outcome.OK:
            assert ("behind" in verdict.finding) is (ahead > 0)

    def test_a_copy_from_a_cache_on_the_way(self, published: Published) -> None:
        verdict = self.clock(published, Date=self.date(-500), Age="500")
        assert verdict.outcome == Outcome.OK

    @pytest.mark.parametrize("date", ["yesterday", "", "Thu, 99 Foo 2026 00:00:00 GMT"])
    def test_a_server_that_does_not_tell(self, published: Published, date: str) -> None:
        assert self.clock(published, Date=date, Age="\u0663").outcome == Outcome.NOTE


class TestTransportSecurity:
    def of(self) -> list[Verdict]:
        return list(servers.transport_security(our_settings.provider()))

    def test_each_server_once(self, published: Published, settings: Any) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = "https://tokens.example/token"
        published.mocker.get("https://tokens.example/", status_code=500)
        first, second = self.of()
        assert {first.outcome, second.outcome} == {Outcome.OK}
        assert names(first, "OIDC_OP_ISSUER", "OIDC_OP_JWKS_ENDPOINT")
        assert names(second, "OIDC_OP_TOKEN_ENDPOINT")

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (requests.exceptions.SSLError, "OIDC_VERIFY_SSL"),
            (requests.exceptions.ConnectionError, "OIDC_OP_TOKEN_ENDPOINT"),
            (requests.exceptions.ProxyError, "OIDC_PROXY"),
            (OSError, "TMIBFF_CLIENT_AUTH"),
        ],
    )
    def test_a_server_that_cannot_be_reached(
        self, published: Published, error: type[Exception], said: str
    ) -> None:
        published.mocker.get(f"{ISSUER}/", exc=error)
        verdict = only(self.of())
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, said)

    @pytest.mark.parametrize("url", ["http://op.example/token", "op.example/token", "https://"])
    def test_a_place_that_cannot_be_used(
        self, published: Published, settings: Any, url: str
    ) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = url
        found = only(verdict for verdict in self.of() if verdict.outcome == Outcome.FAILED)
        assert found.settings == ("OIDC_OP_TOKEN_ENDPOINT",)

    def test_certificates_that_are_not_checked(self, published: Published, settings: Any) -> None:
        settings.OIDC_VERIFY_SSL = False
        verdict = only(self.of())
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "OIDC_VERIFY_SSL")

    def test_with_the_clients_own_certificate(self, published: Published, settings: Any) -> None:
        settings.TMIBFF_CLIENT_AUTH = {"method": "tls_client_auth", "certificate": "client.pem"}
        assert only(self.of()).outcome == Outcome.OK
        assert published.mocker.last_request.cert == "client.pem"

    @pytest.mark.usefixtures("new_pool")
    def test_real_certificates(self, settings: Any, tmp_path: Path) -> None:
        certificate, key = make_certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with RawServer(lambda: [http(b"Welcome")], context) as server:
            for name in ("TOKEN", "USER", "REVOCATION", "JWKS"):
                setattr(settings, f"OIDC_OP_{name}_ENDPOINT", server.url)
            settings.OIDC_OP_ISSUER = server.url
            refused = only(self.of())
            settings.OIDC_VERIFY_SSL = str(certificate)
            trusted = only(self.of())
        assert refused.outcome == Outcome.FAILED
        assert names(refused, "OIDC_VERIFY_SSL")
        assert trusted.outcome == Outcome.OK


class TestKeys:
    def of(self) -> Verdict:
        return only(servers.keys(our_settings.provider()))

    @pytest.mark.parametrize(
        ("alg", "keys", "outcome", "said"),
        [
            ("RS256", [rsa_key(kid="k")], Outcome.OK, "OIDC_OP_JWKS_ENDPOINT"),
            ("ES256", [rsa_key(kid="k")], Outcome.FAILED, "OIDC_RP_SIGN_ALGO"),
            ("ES256", [rsa_key(kid="r"), ec_key(kid="e")], Outcome.OK, "OIDC_RP_SIGN_ALGO"),
            ("RS256", [rsa_key(kid="k"), ec_key()], Outcome.FAILED, "OIDC_VERIFY_KID"),
            ("RS512", [rsa_key(kid="k")], Outcome.FAILED, "OIDC_RP_SIGN_ALGO"),
            ("RS256", [], Outcome.FAILED, "OIDC_OP_JWKS_ENDPOINT"),
            ("PS256", [rsa_key(kid="k")], Outcome.FAILED, "OIDC_RP_SIGN_ALGO"),
            ("none", [rsa_key(kid="k")], Outcome.FAILED, "OIDC_RP_SIGN_ALGO"),
            ("HS256", [], Outcome.NOTE, "OIDC_RP_CLIENT_SECRET"),
        ],
    )
    def test_for_the_algorithm(
        self,
        published: Published,
        settings: Any,
        alg: str,
        keys: list[Any],
        outcome: Outcome,
        said: str,
    ) -> None:
        settings.OIDC_RP_SIGN_ALGO = alg
        published.keys(*keys)
        verdict = self.of()
        assert verdict.outcome == outcome
        assert names(verdict, said)
        assert "canary" not in verdict.finding

    @pytest.mark.parametrize(
        ("place", "outcome"), [(None, Outcome.OK), (f"{ISSUER}/authorize", Outcome.FAILED)]
    )
    def test_where_nobody_signs_in_they_are_not_for_mozilla_django_oidc(
        self, published: Published, settings: Any, place: str | None, outcome: Outcome
    ) -> None:
        members = {"signing_alg": "PS256", "authorization_endpoint": place}
        settings.TMIBFF_PROVIDERS = {"tea": members}
        published.keys(rsa_key())
        verdict = only(servers.keys(our_settings.provider("tea")))
        assert verdict.outcome == outcome
        assert names(verdict, "TMIBFF_PROVIDERS['tea']['signing_alg']")

    def test_keys_without_names_will_do_where_the_site_says_so(
        self, published: Published, settings: Any
    ) -> None:
        settings.OIDC_VERIFY_KID = False
        published.keys(rsa_key())
        assert self.of().outcome == Outcome.OK

    @pytest.mark.parametrize(
        "answer", [{"json": {}}, {"text": "<html>"}, {"text": " " * 300_000}, {"status_code": 404}]
    )
    def test_what_is_no_key_set(self, published: Published, answer: dict[str, Any]) -> None:
        published.key_set(**answer)
        verdict = self.of()
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "OIDC_OP_JWKS_ENDPOINT")

    def test_no_place_for_keys(self, published: Published, settings: Any) -> None:
        settings.OIDC_OP_JWKS_ENDPOINT = None
        assert names(self.of(), "OIDC_OP_JWKS_ENDPOINT")

    @pytest.mark.parametrize(("key", "outcome"), [("canary", Outcome.FAILED), (None, Outcome.OK)])
    def test_a_key_of_the_sites_own(
        self, published: Published, settings: Any, key: Any, outcome: Outcome
    ) -> None:
        settings.OIDC_RP_IDP_SIGN_KEY = key or jwt.PyJWK(rsa_key(), "RS256").key
        verdict = self.of()
        assert verdict.outcome == outcome
        assert names(verdict, "OIDC_RP_IDP_SIGN_KEY")
        assert "canary" not in verdict.finding


class TestProviders:
    def test_one_that_is_not_set_up(self, published: Published, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"tea": {"colour": "green"}}
        found = only(one for one in doctor.examine_providers() if one.subject == "tea")
        assert (found.outcome, found.probe) == (Outcome.FAILED, "settings")
        assert names(found, "TMIBFF_PROVIDERS")

    def test_a_site_that_signs_in_in_another_way_needs_no_default_one(
        self, published: Published, settings: Any
    ) -> None:
        for name in ("OIDC_OP_ISSUER", "OIDC_OP_AUTHORIZATION_ENDPOINT", "OIDC_OP_TOKEN_ENDPOINT"):
            delattr(settings, name)
        settings.INSTALLED_APPS = [one for one in settings.INSTALLED_APPS if "oidc" not in one]
        assert list(doctor.examine_providers()) == []


@pytest.fixture
def session(signed_in: Any, authorization_server: Any) -> TokenSet:
    """A living session, granted three scopes."""
    signed_in(scope="openid email orders:read")
    return TokenSet.objects.get()


class TestRefreshToken:
    def test_given(self, session: TokenSet, authorization_server: Any) -> None:
        verdict = only(sessions.refresh_token(session))
        assert (verdict.outcome, verdict.answer) == (Outcome.OK, "given")
        assert authorization_server.calls == 0

    def test_not_given(self, signed_in: Any, authorization_server: Any) -> None:
        signed_in(refresh_token=...)
        verdicts = list(doctor.examine_session(TokenSet.objects.get(), lambda probe: True))
        assert (verdicts[0].outcome, verdicts[0].answer) == (Outcome.FAILED, "not given")
        assert names(verdicts[0], "OIDC_RP_SCOPES", "OIDC_AUTH_REQUEST_EXTRA_PARAMS")
        assert {verdict.outcome for verdict in verdicts[1:]} == {Outcome.NOT_TRIED}
        assert authorization_server.calls == 0

    def test_a_session_that_has_ended(self, session: TokenSet) -> None:
        tokens.end(session, "test")
        verdicts = list(doctor.examine_session(session, lambda probe: True))
        assert verdicts[0].finding == "This session has ended."
        assert {verdict.outcome for verdict in verdicts[1:]} == {Outcome.NOT_TRIED}

    def test_a_database_that_fails(self, session: TokenSet, monkeypatch: Any) -> None:
        def fail(*args: Any, **options: Any) -> None:
            raise OperationalError

        monkeypatch.setattr(stores.current(), "get", fail)
        verdicts = list(doctor.examine_session(session, lambda probe: True))
        assert names(verdicts[0], "DATABASES")
        assert {verdict.outcome for verdict in verdicts[1:]} == {Outcome.NOT_TRIED}

    def test_tokens_that_do_not_open(self, session: TokenSet) -> None:
        plant(session, b"canary")
        verdict = only(sessions.refresh_token(session))
        assert (verdict.outcome, verdict.answer) == (Outcome.FAILED, "lost")
        assert names(verdict, "TMIBFF_STORE", "TMIBFF_ENCRYPTION_KEYS")


def found_by(name: str, token_set: TokenSet) -> Verdict:
    """Return the only verdict of that probe, tried as the examination tries it."""
    return only(all_found_by(name, token_set))


def all_found_by(name: str, token_set: TokenSet) -> list[Verdict]:
    verdicts = doctor.examine_session(token_set, lambda probe: probe.name == name)
    return [verdict for verdict in verdicts if verdict.probe == name]


class TestRotation:
    def test_another_refresh_token_comes(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.gives(access_token="a", refresh_token="canary-rotated")
        verdict = found_by("rotation", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.OK, "rotates")
        assert contents_of(session).refresh_token == "canary-rotated"

    @pytest.mark.parametrize("answer", [{}, {"refresh_token": SIGN_IN["refresh_token"]}])
    def test_it_stays_the_same(
        self, session: TokenSet, authorization_server: Any, answer: dict[str, str]
    ) -> None:
        authorization_server.gives(access_token="a", **answer)
        assert found_by("rotation", session).answer == "keeps"

    @pytest.mark.parametrize(
        ("error", "status", "said"),
        [
            ("invalid_client", 401, {"OIDC_RP_CLIENT_SECRET", "OIDC_TOKEN_USE_BASIC_AUTH"}),
            ("unauthorized_client", 400, {"OIDC_RP_CLIENT_ID"}),
            ("unsupported_grant_type", 400, {"OIDC_RP_CLIENT_ID"}),
            ("server_error", 500, {"OIDC_OP_TOKEN_ENDPOINT", "TMIBFF_AS_TIMEOUT"}),
            ("invalid_request", 400, set()),
        ],
    )
    def test_a_renewal_that_is_refused(
        self,
        session: TokenSet,
        authorization_server: Any,
        error: str,
        status: int,
        said: set[str],
    ) -> None:
        authorization_server.refuses(error, status)
        verdict = found_by("rotation", session)
        assert verdict.outcome == Outcome.FAILED
        assert said <= set(verdict.settings)
        assert contents_of(session).refresh_token == SIGN_IN["refresh_token"]

    def test_a_renewal_without_an_answer_of_oauth(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.answers(status_code=400, text="")
        assert names(found_by("rotation", session), "OIDC_OP_TOKEN_ENDPOINT")

    def test_a_bearer_token_where_only_bound_ones_will_do(
        self, session: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_DPOP = "required"
        authorization_server.gives(access_token="a", token_type="Bearer", refresh_token="rotated")
        verdict = found_by("rotation", session)
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "TMIBFF_DPOP")
        assert contents_of(session).refresh_token == "rotated"

    def test_a_grant_that_is_dead_ends_the_session_as_a_page_would(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.refuses("invalid_grant")
        verdicts = list(doctor.examine_session(session, lambda probe: True))
        assert "invalid_grant" in verdicts[1].finding
        assert {verdict.outcome for verdict in verdicts[2:]} == {Outcome.NOT_TRIED}
        assert authorization_server.calls == 1


class TestNarrowerScope:
    def probe(self, session: TokenSet, authorization_server: Any, *scopes: str | None) -> Verdict:
        """Let the renewals be answered with these scopes."""
        for scope in scopes:
            said = {} if scope is None else {"scope": scope}
            authorization_server.gives(access_token="a", expires_in=600, **said)
        return found_by("narrower-scope", session)

    def asked(self, authorization_server: Any) -> list[list[str]]:
        return [form.get("scope", []) for form in authorization_server.requests]

    def test_keeps(self, session: TokenSet, authorization_server: Any) -> None:
        all_of_them = "email openid orders:read"
        verdict = self.probe(
            session, authorization_server, "openid email", all_of_them, all_of_them
        )
        assert (verdict.outcome, verdict.answer) == (Outcome.OK, "keeps")
        asked = self.asked(authorization_server)
        assert asked == [["email openid"], [], [all_of_them]]

    def test_keeps_and_never_says_a_scope(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        assert self.probe(session, authorization_server, None, None, None).answer == "keeps"

    def test_sticks(self, session: TokenSet, authorization_server: Any) -> None:
        verdict = self.probe(session, authorization_server, "openid email", "openid email")
        assert (verdict.outcome, verdict.answer) == (Outcome.WARNING, "sticks")
        assert names(verdict, "TMIBFF_NARROWER_SCOPE")
        assert "lost orders:read" in verdict.finding

    def test_sticks_and_does_not_say_so(self, session: TokenSet, authorization_server: Any) -> None:
        for _ in range(2):
            authorization_server.gives(access_token="a", expires_in=600)
        authorization_server.refuses("invalid_scope")
        assert found_by("narrower-scope", session).answer == "sticks"

    @pytest.mark.parametrize("choice", ["serve", "refuse"])
    def test_sticks_where_the_site_never_asks_for_less(
        self, session: TokenSet, authorization_server: Any, settings: Any, choice: str
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = choice
        verdict = self.probe(session, authorization_server, "openid email", "openid email")
        assert (verdict.outcome, verdict.answer) == (Outcome.OK, "sticks")

    @pytest.mark.parametrize(
        ("choice", "outcome"), [("ask", Outcome.NOTE), ("ask-strict", Outcome.OK)]
    )
    def test_ignores(
        self,
        session: TokenSet,
        authorization_server: Any,
        settings: Any,
        choice: str,
        outcome: Outcome,
    ) -> None:
        settings.TMIBFF_NARROWER_SCOPE = choice
        verdict = self.probe(session, authorization_server, "openid email orders:read")
        assert (verdict.outcome, verdict.answer) == (outcome, "ignores")
        assert names(verdict, "TMIBFF_NARROWER_SCOPE")

    def test_refuses(self, session: TokenSet, authorization_server: Any) -> None:
        authorization_server.refuses("invalid_scope")
        verdict = found_by("narrower-scope", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.NOTE, "refuses")
        assert names(verdict, "TMIBFF_NARROWER_SCOPE")

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_another_refusal_is_none_of_a_scope(
        self, session: TokenSet, authorization_server: Any, number: int
    ) -> None:
        for _ in range(number):
            authorization_server.gives(access_token="a", expires_in=600)
        authorization_server.refuses("invalid_client", 401)
        verdict = found_by("narrower-scope", session)
        assert verdict.outcome == Outcome.FAILED
        assert names(verdict, "OIDC_RP_CLIENT_SECRET")

    @pytest.mark.parametrize("scope", ["openid", "email"])
    def test_nothing_to_leave_out(
        self, signed_in: Any, authorization_server: Any, scope: str
    ) -> None:
        signed_in(scope=scope)
        verdict = found_by("narrower-scope", TokenSet.objects.get())
        assert verdict.outcome == Outcome.NOT_TRIED
        assert authorization_server.calls == 0


class TestResources:
    @pytest.fixture(autouse=True)
    def listed(self, settings: Any) -> None:
        settings.TMIBFF_RESOURCES = {ORDERS: {"scope": "orders:read"}}

    def jwt_for(self, audience: Any) -> str:
        return jwt.encode({"aud": audience, "exp": 1}, "k" * 32)

    @pytest.mark.parametrize("audience", [ORDERS, [MAIL, ORDERS], None])
    def test_accepts(self, session: TokenSet, authorization_server: Any, audience: Any) -> None:
        token = "opaque" if audience is None else self.jwt_for(audience)
        authorization_server.gives(access_token=token, expires_in=600)
        verdict = found_by("resource", session)
        assert (verdict.outcome, verdict.answer, verdict.subject) == (
            Outcome.OK,
            "accepts",
            ORDERS,
        )
        [asked] = authorization_server.requests
        assert (asked["resource"], asked["scope"]) == ([ORDERS], ["orders:read"])

    @pytest.mark.parametrize("audience", [MAIL, [], 5])
    def test_ignores(self, session: TokenSet, authorization_server: Any, audience: Any) -> None:
        authorization_server.gives(access_token=self.jwt_for(audience), expires_in=600)
        verdict = found_by("resource", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.WARNING, "ignores")
        assert names(verdict, "TMIBFF_PROVIDERS['default']['resource_request']")

    def test_a_prefix_of_scopes_is_no_audience(
        self, session: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_PROVIDERS = {"default": {"resource_request": "scope_prefix"}}
        authorization_server.gives(access_token=self.jwt_for("another name"), expires_in=600)
        assert found_by("resource", session).answer == "accepts"
        assert authorization_server.requests[0]["scope"] == [f"{ORDERS}/orders:read"]

    @pytest.mark.parametrize("error", ["invalid_target", "unauthorized_client", "invalid_request"])
    def test_refuses(self, session: TokenSet, authorization_server: Any, error: str) -> None:
        authorization_server.refuses(error)
        verdict = found_by("resource", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.FAILED, "refuses")
        assert names(verdict, "TMIBFF_RESOURCES", "TMIBFF_PROVIDERS")
        assert error in verdict.finding

    def test_consumes(self, session: TokenSet, authorization_server: Any, settings: Any) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS, MAIL]
        authorization_server.refuses("invalid_target")
        authorization_server.refuses("invalid_grant")
        first, second = all_found_by("resource", session)
        assert (first.outcome, first.answer) == (Outcome.FAILED, "consumes")
        assert (second.outcome, second.subject) == (Outcome.NOT_TRIED, MAIL)
        assert authorization_server.calls == 2

    def test_a_resource_without_consent_of_entra_is_refused_and_costs_nothing(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        """X6: it says invalid_grant, and a plain refresh shows that it means the resource."""
        authorization_server.refuses("invalid_grant")
        assert found_by("resource", session).answer == "refuses"
        assert contents_of(session).refresh_token is not None

    def test_a_client_that_is_refused_is_none_of_a_resource(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        authorization_server.refuses("invalid_client", 401)
        verdict = found_by("resource", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.FAILED, "")
        assert names(verdict, "OIDC_RP_CLIENT_SECRET")

    def test_one_without_an_answer_says_nothing_of_the_next(
        self, session: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS, MAIL]
        authorization_server.answers(status_code=503)
        first, second = all_found_by("resource", session)
        assert (first.outcome, first.subject) == (Outcome.FAILED, ORDERS)
        assert names(first, "OIDC_OP_TOKEN_ENDPOINT")
        assert (second.outcome, second.subject) == (Outcome.OK, MAIL)

    def test_none_listed(self, session: TokenSet, settings: Any, authorization_server: Any) -> None:
        settings.TMIBFF_RESOURCES = []
        verdict = found_by("resource", session)
        assert (verdict.outcome, verdict.settings) == (Outcome.NOT_TRIED, ("TMIBFF_RESOURCES",))
        assert authorization_server.calls == 0


@pytest.mark.django_db(transaction=True)
class TestRevocation:
    def test_revokes(self, session: TokenSet, authorization_server: Any) -> None:
        authorization_server.answers(status_code=200)
        authorization_server.refuses("invalid_grant")
        verdict = found_by("revocation", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.OK, "revokes")
        assert authorization_server.revoked == [SIGN_IN["refresh_token"]]
        session.refresh_from_db()
        assert session.end_reason == "tmibff_doctor"
        assert session.lease_owner == ""

    def test_the_django_session_ends_too(
        self, session: TokenSet, page: Page, authorization_server: Any
    ) -> None:
        found_by("revocation", session)
        assert page.refusal()["error"] == "invalid_session"

    @pytest.mark.parametrize(
        ("answer", "outcome", "word"),
        [
            ({"status_code": 400, "text": ""}, Outcome.OK, "revokes"),
            ({"status_code": 400, "json": {"error": "invalid_request"}}, Outcome.OK, "revokes"),
            ({"status_code": 401, "json": {"error": "invalid_client"}}, Outcome.WARNING, "unclear"),
            ({"status_code": 503}, Outcome.WARNING, "unclear"),
            ({"exc": requests.ConnectionError}, Outcome.WARNING, "unclear"),
        ],
    )
    def test_what_is_said_of_the_dead_refresh_token(
        self,
        session: TokenSet,
        authorization_server: Any,
        answer: dict[str, Any],
        outcome: Outcome,
        word: str,
    ) -> None:
        authorization_server.answers(status_code=200)
        authorization_server.answers(**answer)
        verdict = found_by("revocation", session)
        assert (verdict.outcome, verdict.answer) == (outcome, word)
        assert names(verdict, "OIDC_OP_REVOCATION_ENDPOINT") is (outcome == Outcome.WARNING)

    def test_one_that_only_says_so(self, session: TokenSet, authorization_server: Any) -> None:
        authorization_server.answers(status_code=200)
        authorization_server.gives(access_token="canary-a", refresh_token="canary-r")
        verdict = found_by("revocation", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.FAILED, "does not revoke")
        assert names(verdict, "OIDC_OP_REVOCATION_ENDPOINT")
        assert authorization_server.revoked[-1] == "canary-r"

    def test_one_that_does_not_take_it(self, session: TokenSet, authorization_server: Any) -> None:
        authorization_server.answers(status_code=503)
        verdict = found_by("revocation", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.FAILED, "fails")
        assert names(verdict, "OIDC_OP_REVOCATION_ENDPOINT")
        session.refresh_from_db()
        assert session.revoke_at is not None

    def test_nowhere_to_revoke(
        self, session: TokenSet, settings: Any, authorization_server: Any
    ) -> None:
        settings.OIDC_OP_REVOCATION_ENDPOINT = None
        verdict = found_by("revocation", session)
        assert (verdict.outcome, verdict.answer) == (Outcome.WARNING, "nowhere")
        assert names(verdict, "OIDC_OP_REVOCATION_ENDPOINT")
        session.refresh_from_db()
        assert session.ended_at is None

    def test_not_while_somebody_is_renewing(
        self, session: TokenSet, authorization_server: Any
    ) -> None:
        TokenSet.objects.take_lease(session.handle, "somebody", 60)
        assert found_by("revocation", session).outcome == Outcome.NOT_TRIED
        session.refresh_from_db()
        assert (session.ended_at, session.lease_owner) == (None, "somebody")


class Shown:
    """What the command printed; ``failed`` with what it ended."""

    def __init__(
        self, *, out: io.StringIO | None = None, stdin: Any = None, **options: Any
    ) -> None:
        out, err = out or io.StringIO(), io.StringIO()
        self.failed = ""
        try:
            call_command(
                "tmibff_doctor", stdout=out, stderr=err, stdin=stdin or io.StringIO(), **options
            )
        except CommandError as error:
            self.failed = str(error)
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out)["verdicts"]
        return found

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of each probe; of several, the last."""
        return {verdict["probe"]: verdict["outcome"] for verdict in self.verdicts}


@pytest.fixture
def healthy(published: Published, settings: Any, monkeypatch: Any) -> Published:
    """A deployment that lacks nothing: in these tests, processes share nothing."""
    settings.OIDC_USE_PKCE = True
    alone = {name: probe for name, probe in doctor._OF_DEPLOYMENT.items() if name != "processes"}
    monkeypatch.setattr(doctor, "_OF_DEPLOYMENT", alone)
    return published


class TestCommand:
    def test_for_programs(self, healthy: Published) -> None:
        shown = Shown(json=True)
        assert shown.failed == ""
        assert set(shown.verdicts[0]) == {
            "probe",
            "outcome",
            "finding",
            "subject",
            "answer",
            "settings",
        }
        assert shown.outcomes == {
            "check": "ok",
            "store": "ok",
            "lease": "ok",
            "metadata": "ok",
            "settings": "ok",
            "clock": "note",
            "tls": "ok",
            "keys": "ok",
            **dict.fromkeys(["refresh-token", *COSTLY], "not tried"),
        }

    def test_a_failure_is_the_exit_code_and_names_the_setting(
        self, healthy: Published, settings: Any
    ) -> None:
        settings.OIDC_OP_TOKEN_ENDPOINT = "https://op.example/old"
        shown = Shown(json=True)
        assert shown.failed.endswith("failed: settings.")
        failed = only(one for one in shown.verdicts if one["outcome"] == "failed")
        assert failed["settings"] == ["OIDC_OP_TOKEN_ENDPOINT"]

    def test_plain_text_has_a_line_for_each(self, healthy: Published) -> None:
        lines = Shown().out.splitlines()
        assert lines[0].split()[:2] == ["ok", "check"]
        assert lines[-1] == "7 ok, 1 note, 5 not tried"
        assert "\x1b" not in "".join(lines)

    def test_a_coloured_table_on_a_terminal(self, healthy: Published, monkeypatch: Any) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        lines = Shown(out=Terminal(), force_color=True).out.splitlines()
        assert lines[0].startswith("\x1b[32;1mok")
        assert all(len(line) <= 100 for line in lines)
        assert lines[2].startswith(" " * 27)

    def test_no_colour_where_it_is_not_wanted(self, healthy: Published) -> None:
        assert "\x1b" not in Shown(out=Terminal(), no_color=True).out

    def test_another_providers_lines_name_it(self, healthy: Published, settings: Any) -> None:
        settings.TMIBFF_PROVIDERS = {"tea": {"issuer": "https://tea.example"}}
        healthy.mocker.get(re.compile("^https://tea.example/"), exc=requests.ConnectionError)
        shown = Shown()
        assert "tea: https://tea.example/.well-known/openid-configuration cannot be" in shown.out


@pytest.mark.django_db(transaction=True)
class TestCommandWithASession:
    def test_of_a_user(self, healthy: Published, session: TokenSet) -> None:
        shown = Shown(json=True, user="alice")
        assert shown.outcomes["refresh-token"] == "ok"

    def test_their_latest_that_lives(self, healthy: Published, signed_in: Any, user: Any) -> None:
        now = timezone.now()
        alive = {"user": user, "provider": "default", "expires_at": now + timedelta(hours=1)}
        wanted = TokenSet.objects.create(**alive)
        TokenSet.objects.create(**alive, created_at=now - timedelta(hours=1))
        TokenSet.objects.create(**alive, created_at=now, ended_at=now)
        TokenSet.objects.create(**{**alive, "expires_at": now - timedelta(hours=1)})
        assert tmibff_doctor._token_set("alice", None) == wanted

    def test_of_a_handle(self, healthy: Published, session: TokenSet) -> None:
        shown = Shown(json=True, token_set=session.handle)
        assert shown.outcomes["refresh-token"] == "ok"

    @pytest.mark.parametrize("named", [{"user": "mallory"}, {"token_set": "no such handle"}])
    def test_nobody(self, healthy: Published, session: TokenSet, named: dict[str, str]) -> None:
        shown = Shown(**named)
        assert "no living token set" in shown.failed
        assert shown.out == ""

    def test_not_both(self, healthy: Published) -> None:
        with pytest.raises(CommandError, match="not allowed with"):
            call_command("tmibff_doctor", "--user=alice", "--token-set=x")

    def test_without_a_terminal_nothing_that_costs_something_is_tried(
        self, healthy: Published, session: TokenSet, authorization_server: Any
    ) -> None:
        shown = Shown(json=True, user="alice")
        assert {shown.outcomes[name] for name in COSTLY} == {"not tried"}
        assert shown.err == ""
        assert (authorization_server.calls, authorization_server.revoked) == (0, [])

    def test_at_a_terminal_each_says_what_it_costs_and_asks(
        self, healthy: Published, session: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS]
        shown = Shown(json=True, user="alice", stdin=Terminal("y\nYes\n\nno\n"))
        assert [shown.outcomes[name] for name in COSTLY] == ["ok", "ok", *["not tried"] * 2]
        for probe in sessions.PROBES[1:]:
            assert f"{probe.name}: {probe.cost} Try it? [y/N] " in shown.err
        assert authorization_server.revoked == []

    def test_nobody_is_asked_about_what_costs_nothing_or_cannot_be_tried(
        self, healthy: Published, signed_in: Any
    ) -> None:
        signed_in(refresh_token=...)
        assert "Try it?" not in Shown(user="alice", stdin=Terminal("y\n" * 9)).err

    def test_at_the_end_of_input_the_answer_is_no(
        self, healthy: Published, session: TokenSet, authorization_server: Any
    ) -> None:
        Shown(user="alice", stdin=Terminal(""))
        assert authorization_server.calls == 0

    def test_the_session_goes_on_where_it_was_not_ended(
        self, healthy: Published, session: TokenSet, page: Page, authorization_server: Any
    ) -> None:
        authorization_server.gives(access_token="a", refresh_token="second", expires_in=600)
        Shown(user="alice", stdin=Terminal("y\n"))
        assert page.token()["access_token"] == "a"
        page.token(scope="openid")
        assert authorization_server.requests[-1]["refresh_token"] == ["second"]

    def test_yes_tries_all_and_says_the_cost(
        self, healthy: Published, session: TokenSet, authorization_server: Any, settings: Any
    ) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS]
        for _ in range(5):
            authorization_server.gives(access_token="a", expires_in=600)
        authorization_server.answers(status_code=200)
        authorization_server.refuses("invalid_grant")
        shown = Shown(json=True, user="alice", yes=True)
        assert {shown.outcomes[name] for name in COSTLY} == {"ok"}
        for probe in sessions.PROBES[1:]:
            assert f"{probe.name}: {probe.cost}\n" in shown.err
        assert shown.failed == ""

    @pytest.mark.parametrize("as_json", [True, False])
    @pytest.mark.parametrize("status", [200, 400])
    def test_x9_no_token_and_no_secret_is_shown_or_logged(
        self,
        healthy: Published,
        session: TokenSet,
        authorization_server: Any,
        settings: Any,
        caplog: Any,
        as_json: bool,
        status: int,
    ) -> None:
        settings.TMIBFF_RESOURCES = [ORDERS]
        answer = {"access_token": "canary-new", "refresh_token": "canary-next", "expires_in": 600}
        if status == 400:
            answer = {"error": "canary-refresh-token", "error_description": "canary-client-secret"}
        for _ in range(12):
            authorization_server.answers(json=answer, status_code=status)
        with caplog.at_level(logging.DEBUG):
            shown = Shown(json=as_json, user="alice", yes=True)
        assert authorization_server.calls > 3
        assert "canary" not in shown.out + shown.err + shown.failed + caplog.text
