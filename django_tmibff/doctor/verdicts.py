"""What a probe has found, as data."""

import re
from dataclasses import dataclass
from enum import StrEnum

# What settings are called, as far as findings name any.
_SETTING = re.compile(
    r"TMIBFF_PROVIDERS\['[^']+'\]\['\w+'\]|\b(?:TMIBFF|OIDC|SESSION)_[A-Z0-9_]+\b"
    r"|\b(?:AUTHENTICATION_BACKENDS|CACHES|DATABASES)\b"
)


class Outcome(StrEnum):
    """How it went."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the probe of that name has found, without any secret.

    ``subject``: of which provider, resource or check, if there are several. ``answer``: a word for
    programs. ``finding``: a sentence for people, which names the setting that mends it.
    """

    probe: str
    outcome: Outcome
    finding: str
    subject: str = ""
    answer: str = ""

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that the finding names, each once."""
        return tuple(dict.fromkeys(_SETTING.findall(self.finding)))
