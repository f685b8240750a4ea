"""Why reading on the fast path would not mean the same as the view."""

import inspect
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import router
from django.db.models import BooleanField, CharField, QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query_utils import DeferredAttribute
from django.utils.module_loading import import_string
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from .. import stores
from ..backends import OIDCAuthenticationBackend
from ..models import TokenSet
from ..stores import cache, cached_db, db
from .statements import user_model

_USUAL_GET_USER = (
    ModelBackend.get_user,
    MozillaBackend.get_user,
    OIDCAuthenticationBackend.get_user,
)
_USUAL_GETS = tuple(module.TokenStore.get for module in (db, cache, cached_db))
# Through these QuerySet.get finds its row.
_FINDING = ("__init__", "_chain", "_clone", "_fetch_all", "filter", "get")


def obstacles() -> Iterator[str]:
    """Yield why reading here would not mean the same as the view, each in a sentence."""
    if django_settings.SESSION_SAVE_EVERY_REQUEST:
        yield "SESSION_SAVE_EVERY_REQUEST wants every request to prolong its session."
    if router.db_for_read(user_model()) != router.db_for_write(TokenSet):
        yield "Users and token sets are in different databases."
    if not _has_usual_store():
        yield "TMIBFF_STORE has a get of its own."
    yield from _obstacles_of(user_model())
    for path in django_settings.AUTHENTICATION_BACKENDS:
        if not is_usual(path):
            yield f"{path} has a get_user or user_can_authenticate of its own."


def _obstacles_of(model: Any) -> Iterator[str]:
    for name in ("get_session_auth_hash", "is_authenticated"):
        if getattr(model, name) is not getattr(AbstractBaseUser, name):
            yield f"The user model has {name} of its own."
    if not _has_usual_columns(model):
        yield "The user model keeps password or is_active in a way of its own."
    managers = {model._default_manager, getattr(model, "objects", None)} - {None}
    if any(type(manager).get_queryset is not BaseManager.get_queryset for manager in managers):
        yield "The user model's manager has a get_queryset of its own."
    elif not all(_gets_usually(manager) for manager in managers):
        yield "The user model's manager, or its QuerySet, finds users in a way of its own."


def is_usual(path: str | None) -> bool:
    """Return whether this backend's users are found, and let in, as Django does it."""
    return path in django_settings.AUTHENTICATION_BACKENDS and _is_usual_backend(path)


@lru_cache
def _is_usual_backend(path: str) -> bool:
    backend = import_string(path)
    can_authenticate = getattr(backend, "user_can_authenticate", None)
    return (
        can_authenticate is ModelBackend.user_can_authenticate
        and backend.get_user in _USUAL_GET_USER
    )


def _has_usual_store() -> bool:
    try:
        return type(stores.current()).get in _USUAL_GETS
    except ImproperlyConfigured:
        return True  # That is E002's, and the view's.


def _gets_usually(manager: Any) -> bool:
    # A manager's method calls its QuerySet's of the same name.
    is_passed_on = getattr(type(manager).get, "__wrapped__", None) is QuerySet.get
    return is_passed_on and all(
        getattr(manager._queryset_class, name) is getattr(QuerySet, name) for name in _FINDING
    )


def _has_usual_columns(model: Any) -> bool:
    options = model._meta
    try:
        password, is_active = map(options.get_field, ("password", "is_active"))
    except FieldDoesNotExist:
        return False
    own = options.local_concrete_fields
    usual = isinstance(password, CharField) and isinstance(is_active, BooleanField)
    return (
        usual
        and all(field in own for field in (password, is_active, options.pk))
        and all(_is_plain(model, field) for field in (password, is_active))
    )


def _is_plain(model: Any, field: Any) -> bool:
    """Return whether an instance's attribute is what is in the column."""
    attribute = inspect.getattr_static(model, field.attname)
    return isinstance(attribute, DeferredAttribute) and not hasattr(field, "from_db_value")
