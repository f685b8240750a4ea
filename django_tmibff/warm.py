"""The fast path's reading: session, user and token set, with every check that the view makes.

What the view has from Django (session middleware, ``request.user``, the ORM) is read here in one or
two statements. That means the same only where nothing on the way was replaced by something of the
site's own: ``obstacles`` says what was, and then nobody reads here.
"""

import inspect
import time
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import connections, router
from django.db.models import BooleanField, CharField
from django.db.models.manager import BaseManager
from django.db.models.query_utils import DeferredAttribute
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string
from mozilla_django_oidc.auth import OIDCAuthenticationBackend as MozillaBackend

from . import stores, tokens, user_checks, vault
from .backends import OIDCAuthenticationBackend
from .contents import Contents
from .models import TokenSet
from .stores import Stored, db

_DB_SESSIONS = "django.contrib.sessions.backends.db"
_USUAL_GET_USER = (
    ModelBackend.get_user,
    MozillaBackend.get_user,
    OIDCAuthenticationBackend.get_user,
)


_UsualUser: Any = AbstractBaseUser


class _Password:
    """As much of a user as the session's hash takes, computed by Django itself."""

    get_session_auth_hash = _UsualUser.get_session_auth_hash
    _get_session_auth_hash = _UsualUser._get_session_auth_hash

    def __init__(self, password: str) -> None:
        self.password = password


def contents_of(request: HttpRequest) -> Contents | None:
    """Return what this request's session has, as the view would find it, and set its session.

    ``None`` where there is anything else to do than to hand a stored token out.
    """
    session = _session(request)
    handle = session.get(tokens.SESSION_KEY)
    user_id = session.get(SESSION_KEY)
    expected_hash = session.get(HASH_SESSION_KEY)
    if not (handle and user_id and expected_hash and _is_usual(session.get(BACKEND_SESSION_KEY))):
        return None
    stored = _checked(handle, user_id, expected_hash)
    if stored is None or stored.ended:
        return None
    contents = vault.opened(handle, stored)
    if contents is None or not constant_time_compare(contents.user, user_id):
        return None
    request.session = session
    return contents


def obstacles() -> Iterator[str]:
    """Yield why reading here would not mean the same as the view, each in a sentence."""
    if django_settings.SESSION_SAVE_EVERY_REQUEST:
        yield "SESSION_SAVE_EVERY_REQUEST wants every request to prolong its session."
    if router.db_for_read(_user_model()) != router.db_for_write(TokenSet):
        yield "Users and token sets are in different databases."
    yield from _obstacles_of(_user_model())
    for path in django_settings.AUTHENTICATION_BACKENDS:
        if not _is_usual(path):
            yield f"{path} has a get_user or user_can_authenticate of its own."


def _obstacles_of(user_model: Any) -> Iterator[str]:
    for name in ("get_session_auth_hash", "is_authenticated"):
        if getattr(user_model, name) is not getattr(AbstractBaseUser, name):
            yield f"The user model has {name} of its own."
    if not _has_usual_columns(user_model):
        yield "The user model keeps password or is_active in a way of its own."
    managers = {user_model._default_manager, getattr(user_model, "objects", None)} - {None}
    if any(type(manager).get_queryset is not BaseManager.get_queryset for manager in managers):
        yield "The user model's manager has a get_queryset of its own."


def _user_model() -> Any:
    return get_user_model()


def _session(request: HttpRequest) -> SessionBase:
    key = request.COOKIES.get(django_settings.SESSION_COOKIE_NAME)
    session: Any = _engine().SessionStore(key)
    if django_settings.SESSION_ENGINE == _DB_SESSIONS and session.session_key:
        session._session_cache = _db_session(session)
    found: SessionBase = session
    return found


def _engine() -> Any:
    return import_module(django_settings.SESSION_ENGINE)


def _db_session(session: Any) -> dict[str, Any]:
    """Return what the database's session holds: Django would make the SQL anew for each."""
    alias = router.db_for_read(session.model)
    connection = connections[alias]
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(_select_session(alias), [session.session_key, now])
        row = cursor.fetchone()
    return session.decode(row[0]) if row else {}


def _is_usual(path: str | None) -> bool:
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


def _checked(handle: str, user_id: str, expected_hash: str) -> Stored | None:
    """Return the token set, once its session's user is known to be active, with that password."""
    store = stores.current()
    if not store.uses_cache:
        return _joined(handle, user_id, expected_hash)
    stored, recent_hash = user_checks.with_recent(handle, user_id)
    if not recent_hash or not constant_time_compare(expected_hash, recent_hash):
        checked_at = time.time()
        if not _is_active(user_id, expected_hash):
            return None
        user_checks.remember(user_id, expected_hash, checked_at=checked_at)
    return stored if stored is not None else store.get(handle)


def _joined(handle: str, user_id: str, expected_hash: str) -> Stored | None:
    row = _row(_select_user_and_token_set, user_id, handle)
    if row is None or not _lets_in(row[0], row[1], expected_hash) or row[2] is None:
        return None
    return db.stored(*row[2:])


def _is_active(user_id: str, expected_hash: str) -> bool:
    row = _row(_select_user, user_id)
    return row is not None and _lets_in(row[0], row[1], expected_hash)


def _lets_in(password: str, is_active: object, expected_hash: str) -> bool:
    # A hash of an older SECRET_KEY is the view's: Django then gives the session a new key.
    found_hash = _Password(password).get_session_auth_hash()
    return bool(is_active) and constant_time_compare(expected_hash, found_hash)


def _row(select: Any, user_id: str, *parameters: str) -> Any:
    alias = router.db_for_write(TokenSet)
    connection = connections[alias]
    pk = _user_model()._meta.pk
    try:
        value = pk.get_db_prep_value(pk.to_python(user_id), connection)
    except ValidationError:
        return None
    with connection.cursor() as cursor:
        cursor.execute(select(alias), [*parameters, value])
        return cursor.fetchone()


@lru_cache
def _select_session(alias: str) -> str:
    model = _engine().SessionStore.get_model_class()
    table = connections[alias].ops.quote_name(model._meta.db_table)
    return f"SELECT session_data FROM {table} WHERE session_key = %s AND expire_date > %s"  # noqa: S608  # our names


@lru_cache
def _select_user(alias: str) -> str:
    return f"SELECT {_user_columns(alias)} FROM {_user_table(alias)} AS u WHERE {_is_user(alias)}"  # noqa: S608  # our names


@lru_cache
def _select_user_and_token_set(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    columns = ", ".join(f"t.{name}" for name in db.COLUMNS)
    return (
        f"SELECT {_user_columns(alias)}, {columns} FROM {_user_table(alias)} AS u"  # noqa: S608  # our names
        f" LEFT JOIN {quote(TokenSet._meta.db_table)} AS t ON t.handle = %s"
        f" WHERE {_is_user(alias)}"
    )


def _user_columns(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    fields = map(_user_model()._meta.get_field, ("password", "is_active"))
    return ", ".join(f"u.{quote(field.column)}" for field in fields)


def _user_table(alias: str) -> str:
    return connections[alias].ops.quote_name(_user_model()._meta.db_table)


def _is_user(alias: str) -> str:
    return f"u.{connections[alias].ops.quote_name(_user_model()._meta.pk.column)} = %s"


def _has_usual_columns(user_model: Any) -> bool:
    options = user_model._meta
    try:
        password, is_active = map(options.get_field, ("password", "is_active"))
    except FieldDoesNotExist:
        return False
    own = options.local_concrete_fields
    usual = isinstance(password, CharField) and isinstance(is_active, BooleanField)
    return (
        usual
        and all(field in own for field in (password, is_active, options.pk))
        and all(_is_plain(user_model, field) for field in (password, is_active))
    )


def _is_plain(user_model: Any, field: Any) -> bool:
    """Return whether an instance's attribute is what is in the column."""
    attribute = inspect.getattr_static(user_model, field.attname)
    return isinstance(attribute, DeferredAttribute) and not hasattr(field, "from_db_value")
