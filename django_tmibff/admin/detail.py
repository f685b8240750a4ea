"""What the page of one token set says: what happened when, and its access tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import policy, tokens
from ..exceptions import InvalidSession
from ..models import TokenSet, to_datetime


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, or will."""

    at: datetime
    title: str
    text: str = ""
    kind: str = ""

    @property
    def is_to_come(self) -> bool:
        return self.at > timezone.now()


def timeline(token_set: TokenSet) -> list[Event]:
    """Return what happened with the token set, and what is to come, in order of time."""
    return sorted(_events(token_set), key=lambda event: event.at)


def shown(token_set: TokenSet) -> dict[str, Any]:
    """Return what the page says of the tokens; never a token, or a part of one."""
    try:
        found = tokens.describe(token_set)
    except InvalidSession:
        return {"problem": _("This sign-in has ended, and its access tokens were forgotten.")}
    if found is None:
        return {
            "problem": _(
                "Nothing is to be had: no key opens what is kept, or the cache has lost it."
                " The user has to sign in again."
            )
        }
    return {
        "described": found,
        "access_tokens": [_row(token) for token in found.access_tokens],
        "refresh_expires_at": to_datetime(found.refresh_expires_at),
        "is_narrower": policy.is_narrower(token_set.scope, found.granted_scope),
    }


def _events(token_set: TokenSet) -> Iterator[Event]:
    yield Event(token_set.created_at, _("Signed in"))
    if token_set.refreshed_at is not None:
        yield Event(token_set.refreshed_at, _("Last renewed"), _renewals(token_set.refresh_count))
    if token_set.last_error_at is not None:
        yield Event(token_set.last_error_at, _("Not renewed"), token_set.last_error, "failing")
    if token_set.ended_at is None:
        yield from _ends(token_set)
    else:
        yield Event(token_set.ended_at, _("Ended"), _(token_set.end_reason), "ended")
    if token_set.revoke_at is not None:
        yield Event(token_set.revoke_at, _("Revocation tried again"), _tries(token_set), "failing")


def _ends(token_set: TokenSet) -> Iterator[Event]:
    now = timezone.now()
    access_ends_at, ends_at = token_set.access_expires_at, token_set.expires_at
    if access_ends_at is not None:
        is_over = access_ends_at <= now
        yield Event(
            access_ends_at, _("Access token expired") if is_over else _("Access token expires")
        )
    yield Event(ends_at, _("Session expired") if ends_at <= now else _("Session expires"))


def _renewals(count: int) -> str:
    told = ngettext("%(count)d renewal so far", "%(count)d renewals so far", count)
    return told % {"count": count}


def _tries(token_set: TokenSet) -> str:
    count = token_set.revoke_count
    told = ngettext("owed; %(count)d try so far", "owed; %(count)d tries so far", count)
    return told % {"count": count}


def _row(token: tokens.TokenDescription) -> dict[str, Any]:
    expires_at = to_datetime(token.expires_at)
    return {
        "token": token,
        "issued_at": to_datetime(token.issued_at),
        "expires_at": expires_at,
        "is_over": expires_at is not None and expires_at <= timezone.now(),
    }
