"""What a store does. The lease and the version live in the SQL row for every store."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from ..models import TokenSet


@dataclass(frozen=True, slots=True)
class Stored:
    """A token set as its store has it; ``data`` is sealed, or nothing.

    ``unread``: there may be ``data``, but where it is kept nobody answers.
    """

    provider: str
    version: int
    ended: bool
    data: bytes | None = field(repr=False)
    unread: bool = False


class BaseStore(ABC):
    """Keeps sealed parts by handle, and small facts that all processes share."""

    uses_cache = False

    @abstractmethod
    def get(self, handle: str, *, fresh: bool = False) -> Stored | None:
        """Return what is kept under ``handle``; ``fresh`` asks for the truth, not for a copy."""

    @abstractmethod
    def add(self, token_set: TokenSet, data: bytes) -> None:
        """Save a new token set and keep ``data`` for it."""

    @abstractmethod
    def put(
        self,
        handle: str,
        data: bytes | None,
        *,
        version: int,
        owner: str | None,
        ended: bool = False,
        **columns: Any,
    ) -> bool:
        """Keep ``data`` and the row's ``columns`` in one step; ``None`` forgets the sealed part.

        ``owner`` holds the lease and gives it back; ``None``: the caller has claimed the row.
        ``ended``: the token set has ended, and what is kept is what it owes. False, and nothing is
        kept, when the row's version is not ``version`` any more, its lease not ``owner``'s, or the
        token set is not as ``ended`` says.
        """

    @abstractmethod
    def replace(self, handle: str, data: bytes, *, version: int) -> bool:
        """Keep ``data``, which says the same, in place of that version's sealed part.

        False, and nothing is kept, when the token set has another version by now, or no sealed
        part.
        """

    @abstractmethod
    def remember(self, key: str, value: Any, seconds: float) -> None:
        """Let all processes ``recall`` this fact (anything JSON can hold) for ``seconds``."""

    @abstractmethod
    def recall(self, key: str) -> Any:
        """Return the fact of that name, or ``None``."""

    @abstractmethod
    def once(self, key: str, seconds: float) -> bool:
        """Return true to the first who asks under ``key``, false to all others for ``seconds``."""

    def forget_some(self) -> None:  # noqa: B027  # caches do it by themselves
        """Forget some of the facts whose time is over, where that does not happen by itself."""
