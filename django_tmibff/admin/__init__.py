"""Django's admin for token sets: who has one and how it goes, and what an operator can do.

Nothing is added, changed or deleted by hand, and no page shows a token.
"""

import re
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from .. import http
from ..models import TokenSet
from . import detail, moments, phrases
from .actions import ACTIONS
from .counting import Count, Paginator
from .filters import FILTERS, ErrorFilter, StateFilter, chosen_state
from .states import ORDERINGS, State, in_state, state_of

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[TokenSet]
else:
    ModelAdmin = admin.ModelAdmin

_NOTHING = "-"
_MOST_USERS = 100
_PANEL = (State.ACTIVE, State.RENEWING, State.FAILING, State.OWING)


@admin.register(TokenSet)
class TokenSetAdmin(ModelAdmin):
    """The list of token sets, the page of one, and the actions."""

    list_display = ("whose", "provider", "state_and_error", "age", "access_token", "renewals")
    list_filter = FILTERS
    list_per_page = 25
    # No sorting by columns: each list has its index's order.
    sortable_by = ()
    list_select_related = ("user",)
    search_fields = ("subject",)
    paginator = Paginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ACTIONS
    fields = ("user", "provider", "issuer", "subject", "sid", "handle", "scope", "state")

    class Media:
        css: ClassVar = {"all": ("django_tmibff/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: TokenSet | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TokenSet | None = None) -> bool:
        return False

    def has_renew_permission(self, request: HttpRequest) -> bool:
        """Return whether "Renew now" is allowed."""
        return request.user.has_perm("django_tmibff.renew_tokenset")

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Return whether "End and revoke" is allowed."""
        return request.user.has_perm("django_tmibff.end_tokenset")

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """Return whether "Forget access tokens" is allowed."""
        return request.user.has_perm("django_tmibff.forget_tokenset")

    def get_queryset(self, request: HttpRequest) -> QuerySet[TokenSet]:
        return super().get_queryset(request).defer("sealed")

    def get_ordering(self, request: HttpRequest) -> Any:
        state = chosen_state(request)
        if state is not None:
            return ORDERINGS[state]
        return (
            ("-last_error_at",) if ErrorFilter.parameter_name in request.GET else ("-created_at",)
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[TokenSet], search_term: str
    ) -> tuple[QuerySet[TokenSet], bool]:
        """Return those that the term names exactly: any other search would read the table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        named = Q(subject=term) | Q(sid=term) | Q(handle=term) | Q(user__in=_users(term))
        return queryset.filter(named), False

    @http.outside_transactions  # A renewal must not be rolled back.
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list with its panel, or do what is chosen there."""
        named = {action.__name__ for action in ACTIONS}.intersection(request.POST.getlist("action"))
        if not named <= self.get_actions(request).keys():
            raise PermissionDenied
        return super().changelist_view(request, {"panel": self._panel(), **(extra_context or {})})

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show one token set: its identity, its timeline, and its access tokens without them."""
        token_set: TokenSet = kwargs["obj"]
        context |= {
            "timeline": detail.timeline(token_set),
            "token_set_actions": self.get_action_choices(request, [])
            if token_set.ended_at is None
            else [],
            "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
            **detail.shown(token_set),
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what was done, in the reader's language: the log keeps it in English."""
        answer = super().history_view(request, object_id, extra_context)
        if isinstance(answer, TemplateResponse) and answer.context_data is not None:
            for entry in answer.context_data["action_list"]:
                entry.change_message = phrases.log_message(entry.change_message)
        return answer

    def _panel(self) -> list[dict[str, Any]]:
        """Return the figures on top of the list, each with where to see who they are."""
        name = "admin:django_tmibff_tokenset_changelist"
        url = reverse(name, current_app=self.admin_site.name)
        return [
            {
                "state": state,
                "count": Count.of(in_state(TokenSet.objects.order_by(*ORDERINGS[state]), state)),
                "url": f"{url}?{StateFilter.parameter_name}={state}",
            }
            for state in _PANEL
        ]

    @admin.display(description=gettext_lazy("user"))
    def whose(self, token_set: TokenSet) -> str:
        return str(token_set.user or _("(deleted)"))

    @admin.display(description=gettext_lazy("state"))
    def state(self, token_set: TokenSet) -> str:
        state = state_of(token_set)
        badges = [state] if token_set.revoke_at is None else [state, State.OWING]
        return format_html(" ".join(["{}"] * len(badges)), *map(_badge, badges))

    @admin.display(description=gettext_lazy("state and last error"))
    def state_and_error(self, token_set: TokenSet) -> str:
        if token_set.last_error_at is None:
            return self.state(token_set)
        return format_html(
            '{}<div class="tmibff-error"><code>{}</code> {}</div>',
            self.state(token_set),
            _breakable(token_set.last_error),
            moments.ago(token_set.last_error_at),
        )

    @admin.display(description=gettext_lazy("signed in"))
    def age(self, token_set: TokenSet) -> str:
        return moments.ago(token_set.created_at)

    @admin.display(description=gettext_lazy("access token"), empty_value=_NOTHING)
    def access_token(self, token_set: TokenSet) -> str | None:
        ends_at = token_set.access_expires_at
        if ends_at is None or token_set.ended_at is not None:
            return None
        began_at = token_set.refreshed_at or token_set.created_at
        lifetime = round((ends_at - began_at).total_seconds())
        left = max(0, round((ends_at - timezone.now()).total_seconds()))
        return format_html(
            '<progress class="tmibff-life" max="{}" value="{}" aria-hidden="true"></progress>{}',
            max(1, lifetime),
            left,
            moments.left(ends_at, left),
        )

    @admin.display(description=pgettext_lazy("column", "renewals"), empty_value=_NOTHING)
    def renewals(self, token_set: TokenSet) -> str | None:
        if token_set.refreshed_at is None:
            return None
        return format_html("{} · {}", token_set.refresh_count, moments.ago(token_set.refreshed_at))


def _users(term: str) -> list[Any]:
    """Return the keys of the users with exactly that name, or that e-mail address."""
    model = get_user_model()
    names = {model.USERNAME_FIELD}
    if "@" in term:
        names.add(model.get_email_field_name())
    found: set[Any] = set()
    for name in names:
        try:
            field: Any = model._meta.get_field(name)
            rows = model._default_manager.filter(**{name: field.to_python(term)})
        except (FieldDoesNotExist, ValidationError):
            continue
        found.update(rows.values_list("pk", flat=True)[:_MOST_USERS])
    return list(found)


def _breakable(error: str) -> str:
    """Return the error as HTML that may go on in the next line behind an underscore."""
    return format_html_join("", "{}<wbr>", ((part,) for part in re.split("(?<=_)", error)))


def _badge(state: State) -> str:
    return format_html('<span class="tmibff-badge tmibff-{}">{}</span>', state, state.label)
