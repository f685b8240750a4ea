"""What Python runs at its start under libfaketime 0.9.10, under which time.sleep() fails.

The library takes the moment on the clock that only measures, to which Python sleeps, for one on the
clock that it shifts.
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
