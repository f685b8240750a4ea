"""Let a worker die at a chosen point of a renewal, as ``kill -9`` would; see ``kill_points``."""

import json
from pathlib import Path

from tests.real.processes import wait_until

BEFORE_CALL = "before the call"
HALF_SENT = "request half sent"
SENT = "answer not awaited"
ANSWERED = "answer not saved"
SAVED = "saved, lease not released"
POINTS = (BEFORE_CALL, HALF_SENT, SENT, ANSWERED, SAVED)

# How long until a worker comes to the point, on a busy machine.
KILL_SECONDS = 30.0


def kill(folder: Path, point: str) -> set[str]:
    """Let one worker die at that point; return the handles of what it had not saved."""
    report = folder / f"{point}.dead"
    report.unlink(missing_ok=True)
    (folder / point).touch()
    wait_until(report.exists, KILL_SECONDS, f"a worker has died: {point}")
    return set(json.loads(report.read_text())["unsaved"])
