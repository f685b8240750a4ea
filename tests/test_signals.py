"""What others hear of us: signals, metrics, and log lines, all of them in the docs."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import django_tmibff
from django_tmibff import otel, signals, tokens
from django_tmibff.models import TokenSet
from tests.page import Page

PACKAGE = Path(django_tmibff.__file__).parent
DOCS = PACKAGE.parent / "docs" / "monitoring.md"
SIGNALS = {name: one for name, one in vars(signals).items() if isinstance(one, Signal)}


@pytest.fixture
def heard() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """All signals that were sent, with their arguments."""
    heard: list[tuple[str, dict[str, Any]]] = []
    receivers = {name: _recorder(name, heard) for name in SIGNALS}
    for name, receiver in receivers.items():
        SIGNALS[name].connect(receiver)
    yield heard
    for name, receiver in receivers.items():
        SIGNALS[name].disconnect(receiver)


def _recorder(name: str, heard: list[tuple[str, dict[str, Any]]]) -> Any:
    def receive(*, sender: Any, signal: Any, **kwargs: Any) -> None:
        assert sender is TokenSet
        heard.append((name, kwargs))

    return receive


def names(heard: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [name for name, _ in heard]


@pytest.mark.django_db
class TestSignals:
    def test_of_a_visit(
        self,
        signed_in: Any,
        authorization_server: Any,
        heard: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        page = signed_in(expires_in=0)
        page.token()
        with django_capture_on_commit_callbacks(execute=True):
            page.logout()
        expected = "tokens_stored tokens_renewed token_served session_ended revocation_tried"
        assert names(heard) == expected.split()
        said = dict(heard)
        assert {arguments["handle"] for arguments in said.values()} == {
            TokenSet.objects.get().handle
        }
        assert said["tokens_renewed"]["seconds"] >= 0
        assert said["session_ended"]["owes_revocation"]
        assert said["revocation_tried"]["outcome"] == "delivered"

    def test_of_a_failure(self, signed_in: Any, authorization_server: Any, heard: Any) -> None:
        page = signed_in(expires_in=0)
        authorization_server.answers(status_code=503)
        page.refusal()
        assert names(heard)[1:] == ["renewal_failed", "token_refused"]
        assert heard[-1][1]["error"] == heard[-2][1]["error"] == "temporarily_unavailable"

    def test_of_a_refusal_without_tokens(self, page: Page, user: Any, heard: Any) -> None:
        page.sign_in(user)
        page.refusal()
        assert [(n, a["handle"], a["error"]) for n, a in heard] == [
            ("token_refused", None, "backend_not_ready")
        ]

    def test_of_waiting(
        self, signed_in: Any, authorization_server: Any, heard: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        TokenSet.objects.take_lease(TokenSet.objects.get().handle, "somebody", 60)
        monkeypatch.setattr("time.sleep", lambda seconds: TokenSet.objects.update(lease_until=0))
        page.token()
        assert "lease_waited" in names(heard)

    def test_a_receiver_that_fails_changes_nothing(
        self, signed_in: Any, authorization_server: Any
    ) -> None:
        def fail(**kwargs: Any) -> None:
            raise RuntimeError

        for signal in SIGNALS.values():
            signal.connect(fail)
        try:
            assert signed_in(expires_in=0).token()["access_token"] == "fresh-1"
        finally:
            for signal in SIGNALS.values():
                signal.disconnect(fail)


@pytest.mark.django_db
class TestMetrics:
    @pytest.fixture
    def points(self) -> Iterator[Any]:
        """Return what was measured since: name and attributes to value, or to count."""
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        before = {name: list(signal.receivers) for name, signal in SIGNALS.items()}
        otel.connect(provider)
        yield lambda: _points(reader)
        for name, signal in SIGNALS.items():
            signal.receivers = before[name]
            signal.sender_receivers_cache.clear()
        provider.shutdown()

    def test_of_a_visit(
        self,
        signed_in: Any,
        authorization_server: Any,
        points: Any,
        token_set: Any,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        page = signed_in(expires_in=0)
        authorization_server.refuses("a-word-of-its-own")
        page.refusal()
        page.token()
        with django_capture_on_commit_callbacks(execute=True):
            tokens.end(token_set(), "test")
        assert points() == {
            ("tmibff.answers", "served"): 1,
            ("tmibff.answers", "other"): 1,
            ("tmibff.renewal.duration", "default", "renewed"): 1,
            ("tmibff.renewal.duration", "default", "other"): 1,
            ("tmibff.ends", "default"): 1,
            ("tmibff.revocations", "default", "owed"): 1,
            ("tmibff.revocations", "default", "delivered"): 1,
        }

    def test_of_waiting(
        self, signed_in: Any, authorization_server: Any, points: Any, monkeypatch: Any
    ) -> None:
        page = signed_in(expires_in=0)
        TokenSet.objects.take_lease(TokenSet.objects.get().handle, "somebody", 60)
        monkeypatch.setattr("time.sleep", lambda seconds: TokenSet.objects.update(lease_until=0))
        page.token()
        assert points()[("tmibff.lease.wait",)] == 1

    def test_whoever_connects_twice_counts_once(self, signed_in: Any, points: Any) -> None:
        otel.connect()
        signed_in().token()
        assert points() == {("tmibff.answers", "served"): 1}


def _points(reader: InMemoryMetricReader) -> dict[tuple[str, ...], float]:
    data = reader.get_metrics_data()
    return {
        (metric.name, *(str(value) for value in point.attributes.values())): getattr(
            point, "value", None
        )
        or point.count
        for resource in (data.resource_metrics if data else [])
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


class TestDocs:
    def test_every_signal_is_described(self) -> None:
        text = DOCS.read_text()
        assert set(re.findall(r"^\| `(\w+)` \| ", text, re.MULTILINE)) >= set(SIGNALS)

    def test_every_log_line_is_described(self) -> None:
        text = DOCS.read_text()
        missing = [phrase for phrase in _log_phrases() if f"`{phrase}`" not in text]
        assert missing == []

    def test_every_metric_is_described(self) -> None:
        text = DOCS.read_text()
        assert set(re.findall(r'"(tmibff\.[\w.]+)"', inspect.getsource(otel))) == set(
            re.findall(r"`(tmibff\.[\w.]+)`", text)
        )


def _log_phrases() -> set[str]:
    """Return what the package logs, with ``…`` where a value is put in."""
    call = re.compile(r'logger\.(?:log|info|warning|error|exception)\(\s*(?:level, )?"([^"]+)"')
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    return {re.sub(r"%\w", "…", phrase) for text in sources for phrase in call.findall(text)}
