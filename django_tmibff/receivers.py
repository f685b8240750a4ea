"""What we hear: Django's sign-in and sign-out, and users who may no longer sign in."""

from collections.abc import Collection
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db.models import Model
from django.db.models.signals import class_prepared, post_save, pre_delete
from django.http import HttpRequest

from . import sign_in, tokens, user_checks
from .models import TokenSet


def connect() -> None:
    """Start to listen."""
    user_logged_in.connect(store_tokens, dispatch_uid="django_tmibff.store_tokens")
    user_logged_out.connect(end_tokens, dispatch_uid="django_tmibff.end_tokens")
    # Not to all senders: Django deletes in one query what nobody listens to.
    for model in apps.get_models():
        listen_if_of_users(model)
    # A proxy for the admin is often written beside it, and the admin may be loaded after us.
    class_prepared.connect(listen_if_of_users, dispatch_uid="django_tmibff.user_models")


def listen_if_of_users(sender: type[Model], **kwargs: Any) -> None:
    """Listen to the user model, its proxies and its children: each tells of itself alone."""
    user_model = get_user_model()
    if not issubclass(sender, user_model):
        return
    post_save.connect(end_if_deactivated, sender, dispatch_uid="django_tmibff.deactivated")
    # With a child's row the user's own is deleted, and tells so, or the user stays.
    if sender._meta.concrete_model is user_model._meta.concrete_model:
        pre_delete.connect(end_of_deleted, sender, dispatch_uid="django_tmibff.deleted")


def store_tokens(*, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Store what the sign-in of ``user`` brought."""
    if request is not None:
        sign_in.complete(request, user, made_session=True)


def end_tokens(*, request: HttpRequest | None, **kwargs: Any) -> None:
    """End the session's token set: the session is still there when this is sent."""
    if request is not None and hasattr(request, "session"):
        tokens.end(request, "logout")


def end_if_deactivated(
    *,
    instance: Any,
    created: bool,
    raw: bool,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> None:
    """End the token sets of a user who was saved as deactivated."""
    # Each sign-in saves the time of it, which says nothing of who may sign in.
    if not created and (update_fields is None or set(update_fields) - {"last_login"}):
        user_checks.forget(instance)
    if not raw and not getattr(instance, "is_active", True):
        _end_all(instance, "user deactivated")


def end_of_deleted(*, instance: Any, **kwargs: Any) -> None:
    """End the token sets of a user who is about to be deleted."""
    user_checks.forget(instance)
    _end_all(instance, "user deleted")


def _end_all(user: Any, reason: str) -> None:
    alive = TokenSet.objects.filter(user=user, ended_at=None)
    for handle in list(alive.values_list("handle", flat=True)):
        tokens.end(handle, reason)
