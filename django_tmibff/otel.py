"""Metrics for OpenTelemetry, made of our signals: call ``connect()`` once, when Django is ready."""

from typing import Any

from opentelemetry import metrics

from . import __version__, signals

# What may come to be an attribute's value; the rest is one, for servers can say anything.
_KNOWN_ERRORS = frozenset(
    {
        "access_denied",
        "backend_not_ready",
        "consent_required",
        "interaction_required",
        "invalid_client",
        "invalid_dpop_proof",
        "invalid_grant",
        "invalid_request",
        "invalid_resource",
        "invalid_scope",
        "invalid_session",
        "invalid_target",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_grant_type",
        "use_dpop_nonce",
    }
)


def connect(meter_provider: metrics.MeterProvider | None = None) -> None:
    """Count and measure from now on, for ``meter_provider`` or the global one."""
    meter = metrics.get_meter("django_tmibff", __version__, meter_provider)
    _count_answers(meter)
    _measure_renewals(meter)
    _measure_waiting(meter)
    _count_ends(meter)


def _count_answers(meter: metrics.Meter) -> None:
    answers = meter.create_counter("tmibff.answers", description="Calls for a token, by outcome")

    def served(**kwargs: Any) -> None:
        answers.add(1, {"outcome": "served"})

    def refused(*, error: str, **kwargs: Any) -> None:
        answers.add(1, {"outcome": _known(error)})

    _on(signals.token_served, served)
    _on(signals.token_refused, refused)


def _measure_renewals(meter: metrics.Meter) -> None:
    duration = meter.create_histogram(
        "tmibff.renewal.duration",
        unit="s",
        description="How long the authorization server took, by outcome",
    )

    def renewed(*, provider: str, seconds: float, **kwargs: Any) -> None:
        duration.record(seconds, {"provider": provider, "outcome": "renewed"})

    def failed(*, provider: str, error: str, seconds: float, **kwargs: Any) -> None:
        duration.record(seconds, {"provider": provider, "outcome": _known(error)})

    _on(signals.tokens_renewed, renewed)
    _on(signals.renewal_failed, failed)


def _measure_waiting(meter: metrics.Meter) -> None:
    waiting = meter.create_histogram(
        "tmibff.lease.wait", unit="s", description="How long callers waited for another's renewal"
    )

    def waited(*, seconds: float, **kwargs: Any) -> None:
        waiting.record(seconds)

    _on(signals.lease_waited, waited)


def _count_ends(meter: metrics.Meter) -> None:
    ends = meter.create_counter("tmibff.ends", description="Token sets that ended")
    revocations = meter.create_counter(
        "tmibff.revocations", description="Revocations: owed, delivered, failed, given up"
    )

    def ended(*, provider: str, owes_revocation: bool, **kwargs: Any) -> None:
        ends.add(1, {"provider": provider})
        if owes_revocation:
            revocations.add(1, {"provider": provider, "outcome": "owed"})

    def tried(*, provider: str, outcome: str, **kwargs: Any) -> None:
        revocations.add(1, {"provider": provider, "outcome": outcome})

    _on(signals.session_ended, ended)
    _on(signals.revocation_tried, tried)


def _on(signal: Any, receiver: Any) -> None:
    # Nobody else holds the receiver; and whoever connects twice counts once.
    signal.connect(receiver, weak=False, dispatch_uid=f"django_tmibff.otel.{receiver.__name__}")


def _known(error: str) -> str:
    return error if error in _KNOWN_ERRORS else "other"
