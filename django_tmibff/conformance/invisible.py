"""The rules that nobody can see from outside, and why."""

from .rules import Outcome, Strength, Verdict

_AT_THE_SERVER = "What the authorization server answers cannot be chosen from outside."
_INSIDE = "What is kept, and where, is inside."

_WHY_NOT = (
    ("T7", Strength.DECISION, "The authorization server is not asked too often.", "It takes load."),
    ("R9", Strength.DECISION, "A token about to expire is renewed first.", _AT_THE_SERVER),
    ("R10", Strength.DECISION, "A failed renewal costs no token that works.", _AT_THE_SERVER),
    ("R12", Strength.DECISION, "A new refresh token is kept before anything is shown.", _INSIDE),
    ("X4", Strength.MUST, "The authorization server's error is passed on.", _AT_THE_SERVER),
    ("X5", Strength.DECISION, "No OAuth answer is temporarily_unavailable.", _AT_THE_SERVER),
    ("X6", Strength.DECISION, "invalid_grant is believed late, and then for good.", _AT_THE_SERVER),
    ("X7", Strength.DECISION, "A refusal is remembered for a short while.", _AT_THE_SERVER),
    ("S3", Strength.DECISION, "The site may replace the content.", _INSIDE),
    ("B2", Strength.SHOULD, "The session does not outlive the refresh token.", _INSIDE),
    ("B3", Strength.SHOULD, "The client can authenticate with a key.", _INSIDE),
    ("B4", Strength.DECISION, "At logout the refresh token is revoked.", _INSIDE),
    ("B6", Strength.DECISION, "Identity: audience, issuer and subject are checked.", _INSIDE),
    ("B7", Strength.DECISION, "The documentation says when not to use this.", _INSIDE),
)

INVISIBLE = [
    Verdict(id_, strength, text, Outcome.NOT_TESTABLE, (why,))
    for id_, strength, text, why in _WHY_NOT
]
