"""A machine for ourselves, where those who share it agree on a lock."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

Alone = Callable[[], AbstractContextManager[None]]


@contextmanager
def sharing(file: Path | None) -> Iterator[Alone]:
    """Hold that file's shared lock, and yield what holds its exclusive one for a while."""
    if file is None:
        yield nullcontext
        return
    with file.open("a") as opened:

        @contextmanager
        def alone() -> Iterator[None]:
            fcntl.flock(opened, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(opened, fcntl.LOCK_SH)

        fcntl.flock(opened, fcntl.LOCK_SH)
        yield alone
