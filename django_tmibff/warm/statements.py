"""The SQL of the fast path, made once for each database: Django would make it anew each time."""

from functools import lru_cache
from importlib import import_module
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db import connections

from ..models import TokenSet
from ..stores import db

_USER = ("password", "is_active")


def user_model() -> Any:
    """Return the model of this site's users."""
    return get_user_model()


def session_store() -> Any:
    """Return the class of this site's sessions."""
    return import_module(django_settings.SESSION_ENGINE).SessionStore


@lru_cache
def session(alias: str) -> str:
    """Return what finds a session's data, by its key and the time it is."""
    return f"SELECT session_data FROM {_sessions(alias)}{_IS_SESSION}"  # noqa: S608  # our names


@lru_cache
def user(alias: str) -> str:
    """Return what finds a user's password and ``is_active``, by the primary key."""
    return (
        f"SELECT {_user_columns(alias)} FROM {_users(alias)} AS u"  # noqa: S608  # our names
        f" WHERE {_is_user(alias)}"
    )


@lru_cache
def user_and_token_set(alias: str) -> str:
    """Return what finds that and a token set, by its handle and the user's primary key."""
    return (
        f"SELECT {_user_columns(alias)}, {_TOKEN_SET} FROM {_users(alias)} AS u"  # noqa: S608  # our names
        f" LEFT JOIN {_token_sets(alias)} AS t ON t.handle = %s WHERE {_is_user(alias)}"
    )


@lru_cache
def session_user_and_token_set(alias: str) -> str:
    """Return what finds all three, by handle, user, session key and the time it is."""
    return (
        f"SELECT session_data, {_user_columns(alias)}, {_TOKEN_SET}"  # noqa: S608  # our names
        f" FROM {_sessions(alias)} LEFT JOIN {_token_sets(alias)} AS t ON t.handle = %s"
        f" LEFT JOIN {_users(alias)} AS u ON {_is_user(alias)}{_IS_SESSION}"
    )


_IS_SESSION = " WHERE s.session_key = %s AND s.expire_date > %s"
_TOKEN_SET = ", ".join(f"t.{name}" for name in db.COLUMNS)


def _sessions(alias: str) -> str:
    model = session_store().get_model_class()
    return f"{connections[alias].ops.quote_name(model._meta.db_table)} AS s"


def _token_sets(alias: str) -> str:
    return connections[alias].ops.quote_name(TokenSet._meta.db_table)


def _users(alias: str) -> str:
    return connections[alias].ops.quote_name(user_model()._meta.db_table)


def _user_columns(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    fields = map(user_model()._meta.get_field, _USER)
    return ", ".join(f"u.{quote(field.column)}" for field in fields)


def _is_user(alias: str) -> str:
    return f"u.{connections[alias].ops.quote_name(user_model()._meta.pk.column)} = %s"
