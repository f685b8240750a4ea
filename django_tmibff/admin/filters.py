"""What the list can be narrowed to; no filter looks at the whole table for its choices."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from ..models import TokenSet
from .states import State, in_state

if TYPE_CHECKING:
    Admin = ModelAdmin[TokenSet]

_MOST_CHOICES = 30


class StateFilter(SimpleListFilter):
    """By what is the matter with them."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: "Admin") -> list[tuple[str, str]]:
        return [(state.value, str(state.label)) for state in State]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[TokenSet]
    ) -> QuerySet[TokenSet] | None:
        chosen = chosen_state(request)
        return queryset if chosen is None else in_state(queryset, chosen)


class _ValueFilter(SimpleListFilter):
    """By the values that occur in an indexed column."""

    parameter_name: str

    def lookups(self, request: HttpRequest, model_admin: "Admin") -> list[tuple[str, str]]:
        return [(value, value) for value in _occurring(self.parameter_name)]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[TokenSet]
    ) -> QuerySet[TokenSet] | None:
        chosen = self.value()
        return queryset.filter(**{self.parameter_name: chosen}) if chosen else queryset


class ProviderFilter(_ValueFilter):
    """By the name in ``TMIBFF_PROVIDERS``."""

    title = _("provider")
    parameter_name = "provider"


class IssuerFilter(_ValueFilter):
    """By who vouches for the user."""

    title = _("issuer")
    parameter_name = "issuer"


class ErrorFilter(_ValueFilter):
    """By what the last renewal came to nothing for."""

    # Behind Django's "By", which takes another case in some languages.
    title = pgettext_lazy("by", "last error")
    parameter_name = "last_error"


FILTERS = (StateFilter, "created_at", ErrorFilter, ProviderFilter, IssuerFilter)


def chosen_state(request: HttpRequest) -> State | None:
    """Return the state that the list is narrowed to."""
    value = request.GET.get(StateFilter.parameter_name)
    return State(value) if value in State.values else None


def _occurring(column: str) -> Iterator[str]:
    """Return the first values that occur: one step in the index for each, however many rows."""
    last = ""
    for _step in range(_MOST_CHOICES):
        later = TokenSet.objects.filter(**{f"{column}__gt": last}).order_by(column)
        found = later.values_list(column, flat=True).first()
        if found is None:
            return
        yield found
        last = found
