"""Reads session, user and token set in as few round trips as can be, and checks them."""

import time
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ValidationError
from django.db import connections, router
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .. import stores, tokens, user_checks, vault
from ..conf import settings
from ..contents import Contents
from ..models import TokenSet
from ..stores import Stored, db
from . import recent, statements
from .recent import Owner
from .usual import is_usual

_DB_SESSIONS = "django.contrib.sessions.backends.db"
_CACHE_SESSIONS = (
    "django.contrib.sessions.backends.cache",
    "django.contrib.sessions.backends.cached_db",
)

_UsualUser: Any = AbstractBaseUser


class _Password:
    """As much of a user as the session's hash takes, computed by Django itself."""

    get_session_auth_hash = _UsualUser.get_session_auth_hash
    _get_session_auth_hash = _UsualUser._get_session_auth_hash

    def __init__(self, password: str) -> None:
        self.password = password


class _Ahead(NamedTuple):
    """What was read together with a session: of the owner that it had when it was last here."""

    owner: Owner | None = None
    row: Any = None
    found: user_checks.Found | None = None


def contents_of(request: HttpRequest) -> Contents | None:
    """Return what this request's session has, as the view would find it, and set its session.

    ``None`` where there is anything else to do than to hand a stored token out.
    """
    session = statements.session_store()(request.COOKIES.get(django_settings.SESSION_COOKIE_NAME))
    ahead = _read(session)
    owner = _owner(session)
    expected_hash = session.get(HASH_SESSION_KEY)
    if not (owner and expected_hash and is_usual(session.get(BACKEND_SESSION_KEY))):
        return None
    stored = _checked(owner, expected_hash, ahead if ahead.owner == owner else _Ahead())
    if stored is None or stored.ended:
        return None
    contents = vault.opened(owner.handle, stored)
    if contents is None or not constant_time_compare(contents.user, owner.user_id):
        return None
    recent.remember(session.session_key, owner)
    request.session = session
    return contents


def _owner(session: SessionBase) -> Owner | None:
    """Return whose tokens this session has."""
    handle, user_id = session.get(tokens.SESSION_KEY), session.get(SESSION_KEY)
    return Owner(handle, user_id) if handle and user_id else None


def _read(session: Any) -> _Ahead:
    """Read a session, and what it will lead to as far as that can be guessed."""
    if not session.session_key:
        return _Ahead()
    owner = recent.owner(session.session_key)
    if django_settings.SESSION_ENGINE == _DB_SESSIONS:
        return _read_rows(session, owner)
    if owner is not None and _shares_cache():
        return _read_entries(session, owner)
    return _Ahead()  # Django reads the session once somebody looks into it.


def _shares_cache() -> bool:
    """Return whether sessions and token sets can be had from one cache in one round trip."""
    return (
        django_settings.SESSION_ENGINE in _CACHE_SESSIONS
        and settings.cache_alias == django_settings.SESSION_CACHE_ALIAS
        and stores.current().uses_cache
    )


def _read_entries(session: Any, owner: Owner) -> _Ahead:
    found = user_checks.with_recent(owner.handle, owner.user_id, session.cache_key)
    if isinstance(found.session, dict):
        session._session_cache = found.session
    return _Ahead(owner, found=found)


def _read_rows(session: Any, owner: Owner | None) -> _Ahead:
    """Read a session of the database: Django would make the SQL anew for each."""
    alias = router.db_for_read(session.model)
    parameters = [session.session_key, _now(alias)]
    if owner is None or stores.current().uses_cache or alias != router.db_for_write(TokenSet):
        select, ahead = statements.session, _Ahead()
    else:
        select, ahead = statements.session_user_and_token_set, _Ahead(owner)
        parameters = [owner.handle, _user_key(owner, alias), *parameters]
    row = _row(select(alias), alias, parameters)
    session._session_cache = session.decode(row[0]) if row else {}
    return ahead._replace(row=row[1:] if row else None)


def _checked(owner: Owner, expected_hash: str, ahead: _Ahead) -> Stored | None:
    """Return the token set, once its session's user is known to be active, with that password."""
    store = stores.current()
    if not store.uses_cache:
        return _of_user(ahead.row or _user_and_token_set(owner), expected_hash)
    found = ahead.found or user_checks.with_recent(owner.handle, owner.user_id)
    recent_hash = found.session_hash
    if not recent_hash or not constant_time_compare(expected_hash, recent_hash):
        checked_at = time.time()
        if not _is_active(owner, expected_hash):
            return None
        user_checks.remember(owner.user_id, expected_hash, checked_at=checked_at)
    return found.stored if found.stored is not None else store.get(owner.handle)


def _of_user(row: Any, expected_hash: str) -> Stored | None:
    if row is None or not _lets_in(row[0], row[1], expected_hash) or row[2] is None:
        return None
    return db.stored(*row[2:])


def _user_and_token_set(owner: Owner) -> Any:
    alias = router.db_for_write(TokenSet)
    select = statements.user_and_token_set(alias)
    return _row(select, alias, [owner.handle, _user_key(owner, alias)])


def _is_active(owner: Owner, expected_hash: str) -> bool:
    alias = router.db_for_write(TokenSet)
    row = _row(statements.user(alias), alias, [_user_key(owner, alias)])
    return row is not None and _lets_in(row[0], row[1], expected_hash)


def _lets_in(password: str | None, is_active: object, expected_hash: str) -> bool:
    if password is None or not is_active:
        return False
    # A hash of an older SECRET_KEY is the view's: Django then gives the session a new key.
    found_hash = _Password(password).get_session_auth_hash()
    return bool(constant_time_compare(expected_hash, found_hash))


def _user_key(owner: Owner, alias: str) -> Any:
    """Return the user's primary key, or what is nobody's."""
    pk = statements.user_model()._meta.pk
    try:
        return pk.get_db_prep_value(pk.to_python(owner.user_id), connections[alias])
    except ValidationError:
        return None


def _now(alias: str) -> Any:
    return connections[alias].ops.adapt_datetimefield_value(timezone.now())


def _row(select: str, alias: str, parameters: list[Any]) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(select, parameters)
        return cursor.fetchone()
