"""A stored token must not get dearer unnoticed: instructions are steady, seconds are not."""

import json
from pathlib import Path

import pytest
import yaml

from benchmarks.instructions import counting
from benchmarks.instructions.counting import Counts
from benchmarks.instructions.scenarios import ANCHOR, SCENARIOS

pytestmark = pytest.mark.real

WORKFLOW = Path(__file__).resolve().parents[1] / ".github" / "workflows" / "test.yml"


@pytest.fixture(scope="module")
def recorded() -> Counts:
    """What was recorded for this Python and Django."""
    return counting.recorded()


@pytest.fixture(scope="module")
def counts(recorded: Counts, tmp_path_factory: pytest.TempPathFactory) -> Counts:
    """What it takes now."""
    return counting.count(Path(tmp_path_factory.mktemp("instructions")))


@pytest.mark.parametrize("name", sorted({*SCENARIOS} - {ANCHOR}))
def test_stored_token_takes_as_many_instructions_as_recorded(
    name: str, counts: Counts, recorded: Counts
) -> None:
    change = counting.change(name, counts, recorded)
    assert abs(change) <= counting.TOLERANCE, (
        f"{name} takes {counts[name]:,} instructions, {change:+.1%} against the record. If that is"
        " meant, or an improvement: make instructions, and commit what it writes."
    )


def test_the_workflow_tests_on_a_python_for_which_there_is_a_record() -> None:
    steps = yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]["steps"]
    [python] = [
        step["with"]["python-version"] for step in steps if "python" in step.get("uses", "")
    ]
    recorded = json.loads(counting.FILE.read_text())
    assert [key for key in recorded if key.startswith(f"Python {python}, ")]
