"""Writes the tables into docs/security/attacks.md."""

from tests.browser.attacks.battery import Outcome

READS, ANSWERED, REFUSED = "**reads it**", "answered", "refused"
NO_COOKIE, PREFLIGHT, NOT_SENT = "no cookie", "asks first", "—"


def cell(outcomes: list[Outcome], session: str) -> str:
    """Return what came of one means, used by one origin on all endpoints."""
    if any("canary-access" in text for outcome in outcomes for text in outcome.read):
        return READS
    arrivals = [arrival for outcome in outcomes for arrival in outcome.arrivals]
    if not arrivals:
        return NOT_SENT
    if all(arrival.method == "OPTIONS" for arrival in arrivals):
        return PREFLIGHT
    if any(arrival.token_sets for arrival in arrivals if arrival.status == 200):
        return ANSWERED
    return REFUSED if any(arrival.session == session for arrival in arrivals) else NO_COOKIE
