"""A minute of the concurrency bench; ``make reliability`` runs all of it."""

import pytest

from tests.concurrency.plan import Step, sample

pytestmark = pytest.mark.real


@pytest.mark.parametrize("step", list(sample()), ids=str)
def test_whatever_happens_nobody_fails_and_no_refresh_token_is_sent_twice(step: Step) -> None:
    figures = step.run()
    assert not figures.broken(), figures.logs
