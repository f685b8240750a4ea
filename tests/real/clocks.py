"""A program whose clock is wrong, as on a host of its own: libfaketime."""

from pathlib import Path

from tests.real.components import faketime_library


def clock_off_by(shift: str) -> dict[str, str]:
    """Return the environment of a Python program whose clock is off by ``shift``, such as ``+1h``.

    The clock that only measures how long things take is left alone.
    """
    return {
        "LD_PRELOAD": str(faketime_library()),
        "FAKETIME": shift,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # gunicorn learns from files' times whether its workers are alive.
        "NO_FAKE_STAT": "1",
        "PYTHONPATH": str(Path(__file__).parent / "faketime"),
    }
