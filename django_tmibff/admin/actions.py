"""What an operator can do with token sets; each has its own permission and leaves a log entry."""

import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.contrib import admin, auth, messages
from django.contrib.admin import helpers
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedCookies
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .. import tokens
from ..conf import settings
from ..models import TokenSet
from . import phrases

if TYPE_CHECKING:
    TokenSetAdmin = admin.ModelAdmin[TokenSet]

    Action = Callable[[TokenSetAdmin, HttpRequest, list[TokenSet]], HttpResponse | None]
    AdminAction = Callable[[TokenSetAdmin, HttpRequest, QuerySet[TokenSet]], HttpResponse | None]

_MOST_AT_ONCE = 100
# A worker that takes too long is killed, and with it may go a refresh token that was replaced.
_RENEWING_SECONDS = 10.0


def _on_few(action: "Action") -> "AdminAction":
    """Let ``action`` have the chosen ones as a list, and lead back to where it was called from."""

    @wraps(action)
    def checked(
        modeladmin: "TokenSetAdmin", request: HttpRequest, queryset: QuerySet[TokenSet]
    ) -> HttpResponse | None:
        chosen = list(queryset[: _MOST_AT_ONCE + 1])
        if len(chosen) > _MOST_AT_ONCE:
            told = _("At most %(count)d token sets at once: nothing was done.")
            modeladmin.message_user(request, told % {"count": _MOST_AT_ONCE}, messages.ERROR)
            return None
        return action(modeladmin, request, chosen) or _way_back(modeladmin, request, chosen)

    return checked


@admin.action(permissions=["renew"], description=gettext_lazy("Renew now"))
@_on_few
def renew_now(modeladmin: "TokenSetAdmin", request: HttpRequest, chosen: list[TokenSet]) -> None:
    """Get a new access token for each: that tests the grant."""
    gives_up_at = time.monotonic() + _RENEWING_SECONDS
    for number, token_set in enumerate(chosen):
        if time.monotonic() > gives_up_at:
            left = len(chosen) - number
            told = ngettext(
                "This took long: %(count)d was not tried.",
                "This took long: %(count)d were not tried.",
                left,
            )
            modeladmin.message_user(request, told % {"count": left}, messages.WARNING)
            break
        _renew(modeladmin, request, token_set)
    _sign_out_of_ended_session(request, chosen)


@admin.action(permissions=["forget"], description=gettext_lazy("Forget access tokens"))
@_on_few
def forget_access_tokens(
    modeladmin: "TokenSetAdmin", request: HttpRequest, chosen: list[TokenSet]
) -> None:
    """Forget the stored access tokens: the next request gets a new one."""
    forgotten = 0
    for token_set in chosen:
        if _forgets(token_set):
            modeladmin.log_change(request, token_set, phrases.FORGOTTEN)
            forgotten += 1
        else:
            told = _("%(token_set)s stays as it is: it has ended, or is just being renewed.")
            values = {"token_set": _named(token_set)}
            modeladmin.message_user(request, told % values, messages.WARNING)
    if forgotten:
        told = ngettext(
            "The access tokens of %(count)d token set were forgotten:"
            " the next request gets a new one.",
            "The access tokens of %(count)d token sets were forgotten:"
            " the next request gets a new one.",
            forgotten,
        )
        modeladmin.message_user(request, told % {"count": forgotten}, messages.SUCCESS)


@admin.action(permissions=["end"], description=gettext_lazy("End and revoke"))
@_on_few
def end_and_revoke(
    modeladmin: "TokenSetAdmin", request: HttpRequest, chosen: list[TokenSet]
) -> HttpResponse | None:
    """Ask whether to end them; then sign their users out and revoke the refresh tokens."""
    alive = [token_set for token_set in chosen if token_set.ended_at is None]
    if not alive:
        modeladmin.message_user(request, _("All of them had ended already."), messages.WARNING)
        return None
    if request.POST.get("confirmed") != "yes":
        return _confirmation(modeladmin, request, alive)
    ended = sum(_ends(modeladmin, request, token_set) for token_set in alive)
    if ended:
        told = ngettext(
            "%(count)d token set was ended. Its refresh token is being revoked.",
            "%(count)d token sets were ended. Their refresh tokens are being revoked.",
            ended,
        )
        modeladmin.message_user(request, told % {"count": ended}, messages.SUCCESS)
    _sign_out_of_ended_session(request, alive)
    return None


ACTIONS = (renew_now, forget_access_tokens, end_and_revoke)


def _renew(modeladmin: "TokenSetAdmin", request: HttpRequest, token_set: TokenSet) -> None:
    try:
        tokens.renew(token_set)
    except tokens.TokenError as error:
        modeladmin.log_change(request, token_set, phrases.NOT_RENEWED % {"error": error.error})
        told = _("%(token_set)s was not renewed: %(error)s")
        values = {"token_set": _named(token_set), "error": error}
        modeladmin.message_user(request, told % values, messages.ERROR)
    else:
        modeladmin.log_change(request, token_set, phrases.RENEWED)
        told = _("%(token_set)s was renewed: its grant works.")
        modeladmin.message_user(request, told % {"token_set": _named(token_set)}, messages.SUCCESS)


def _ends(modeladmin: "TokenSetAdmin", request: HttpRequest, token_set: TokenSet) -> bool:
    try:
        is_session_over = tokens.end(token_set, phrases.ENDED_HERE)
    except tokens.TokenError as error:
        told = _("%(token_set)s was not ended: %(error)s")
        values = {"token_set": _named(token_set), "error": error}
        modeladmin.message_user(request, told % values, messages.ERROR)
        return False
    if not is_session_over:
        told = _("The session of %(token_set)s may live on: its key was lost with the tokens.")
        modeladmin.message_user(request, told % {"token_set": _named(token_set)}, messages.WARNING)
    modeladmin.log_change(request, token_set, phrases.ENDED)
    return True


def _forgets(token_set: TokenSet) -> bool:
    try:
        return tokens.forget_access_tokens(token_set)
    except tokens.TokenError:
        return False


def _confirmation(
    modeladmin: "TokenSetAdmin", request: HttpRequest, alive: list[TokenSet]
) -> TemplateResponse:
    """Answer with the page that says what will happen."""
    lasting = [at for one in alive if (at := one.access_expires_at) and at > timezone.now()]
    context = {
        **modeladmin.admin_site.each_context(request),
        "title": _("End and revoke"),
        "opts": modeladmin.opts,
        "media": modeladmin.media,
        "token_sets": alive,
        "people": len({one.user_id for one in alive} - {None}),
        "revocations": _revocations(alive),
        "last_access": max(lasting, default=None),
        "stay_signed_in": isinstance(request.session, SignedCookies),
        "ends_own": tokens.handle_of(request) in {one.handle for one in alive},
        "from_detail": "_detail" in request.POST,
        "action": end_and_revoke.__name__,
        "action_checkbox_name": helpers.ACTION_CHECKBOX_NAME,
    }
    template = "admin/django_tmibff/tokenset/end_confirmation.html"
    return TemplateResponse(request, template, context)


def _revocations(alive: list[TokenSet]) -> list[dict[str, Any]]:
    """Return how many are revoked at each provider, and where that is."""
    counted = sorted(Counter(one.provider for one in alive).items())
    return [
        {"provider": name, "count": count, "endpoint": provider and provider.revocation_endpoint}
        for name, count in counted
        for provider in [settings.find_provider(name)]
    ]


def _sign_out_of_ended_session(request: HttpRequest, chosen: list[TokenSet]) -> None:
    """Sign the operator out whose own session has just ended: it cannot be saved any more."""
    own = tokens.handle_of(request)
    handles = {token_set.handle for token_set in chosen}
    if own in handles and TokenSet.objects.filter(handle=own, ended_at__isnull=False).exists():
        auth.logout(request)


def _way_back(
    modeladmin: "TokenSetAdmin", request: HttpRequest, chosen: list[TokenSet]
) -> HttpResponse | None:
    """Return to the page of the one token set that was acted on; else to the list."""
    if "_detail" not in request.POST or len(chosen) != 1:
        return None
    site = modeladmin.admin_site.name
    name = "admin:django_tmibff_tokenset_change"
    return redirect(reverse(name, args=[chosen[0].pk], current_app=site))


def _named(token_set: TokenSet) -> str:
    # Not in the f-string itself, where xgettext does not look.
    who = token_set.user or _("nobody")
    return f"{who} ({token_set})"
