"""The states of token sets: what they are called, and who is in one, in an index's own order."""

from collections.abc import Mapping, Sequence

from django.db.models import QuerySet, TextChoices
from django.utils import timezone
from django.utils.translation import pgettext_lazy

from ..models import TokenSet


class State(TextChoices):
    """A token set is in one of the first four; the others come on top."""

    # Said of a token set: others' catalogues have "active" too, of a user or an account.
    ACTIVE = "active", pgettext_lazy("token set", "active")
    FAILING = "failing", pgettext_lazy("token set", "renewal failing")
    EXPIRED = "expired", pgettext_lazy("token set", "expired")
    ENDED = "ended", pgettext_lazy("token set", "ended")
    RENEWING = "renewing", pgettext_lazy("token set", "renewing now")
    OWING = "owing", pgettext_lazy("token set", "revocation owed")


# The index of the state, from its end to its start. Where a column is the same in all rows the
# order seems to need it no more, but PostgreSQL does not see that of one that is NULL.
_BY_STATE = ("-ended_at", "-last_error_at", "-expires_at")

#: How each state is listed, so that an index has its first rows without looking at others.
ORDERINGS: Mapping[State, Sequence[str]] = {
    State.ACTIVE: _BY_STATE,
    State.FAILING: _BY_STATE,
    State.EXPIRED: ("-expires_at",),
    State.ENDED: ("-ended_at",),
    State.RENEWING: ("-lease_until",),
    State.OWING: ("revoke_at",),
}


def state_of(token_set: TokenSet) -> State:
    """Return which of the first four states this one is in."""
    if token_set.ended_at is not None:
        return State.ENDED
    if token_set.expires_at <= timezone.now():
        return State.EXPIRED
    return State.ACTIVE if token_set.last_error_at is None else State.FAILING


def in_state(rows: QuerySet[TokenSet], state: State) -> QuerySet[TokenSet]:
    """Return those of ``rows`` that are in that state."""
    alive, now = rows.filter(ended_at=None), timezone.now()
    match state:
        case State.ACTIVE:
            return alive.filter(last_error_at=None, expires_at__gt=now)
        case State.FAILING:
            return alive.filter(last_error_at__isnull=False, expires_at__gt=now)
        case State.EXPIRED:
            return alive.filter(expires_at__lte=now)
        case State.ENDED:
            return rows.filter(ended_at__isnull=False)
        case State.RENEWING:
            return alive.filter(lease_until__gte=TokenSet.objects.clock())
        case State.OWING:
            return rows.filter(revoke_at__isnull=False)
