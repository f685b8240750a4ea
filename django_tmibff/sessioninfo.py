"""The default content of bff-sessioninfo (PROTOCOL S2)."""

import math
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.contrib.sessions.backends.file import SessionStore as FileSession
from django.core.cache import caches
from django.http import HttpRequest
from django.utils import timezone

from . import dpop, tokens
from .conf import settings


def session_info(request: HttpRequest) -> dict[str, Any]:
    """Return who is signed in and until when; does not change the session (S4)."""
    description = tokens.describe(request)
    claims = dict(description.claims) if description is not None else {}
    info = _from_claims(claims) if "sub" in claims else _from_user(request.user)
    if (ends_at := _session_ends_at(request.session)) is not None:
        info["exp"] = ends_at
    return info


def for_proofs(request: HttpRequest) -> dict[str, Any]:
    """Return what this session's page needs to know to make DPoP proofs; nothing without DPoP."""
    if settings.dpop == "off" or tokens.handle_of(request) is None:
        return {}
    provider = settings.find_provider(tokens.provider_of(request))
    known = None if provider is None else dpop.info(provider)
    return {} if known is None else {"dpop": known}


def _from_claims(claims: dict[str, Any]) -> dict[str, Any]:
    listed = ("iss", "sub", "auth_time", *settings.session_info_claims)
    return {name: claims[name] for name in listed if name in claims}


def _from_user(user: Any) -> dict[str, Any]:
    """Return what Django's user model knows of a user who signed in without OpenID Connect."""
    email_field = get_user_model().get_email_field_name()
    info = {
        "sub": str(user.pk),
        "preferred_username": user.get_username(),
        "name": user.get_full_name() if hasattr(user, "get_full_name") else "",
        "email": getattr(user, email_field, ""),
    }
    return {name: value for name, value in info.items() if value}


def _session_ends_at(session: SessionBase) -> int | None:
    """Return the session's stored end in seconds since the epoch, where its engine knows it."""
    ends_at = _stored_end(session)
    return None if ends_at is None else math.floor(ends_at.timestamp())


def _stored_end(session: SessionBase) -> datetime | None:
    # get_expiry_date() is now + age unless the session itself was given a date to end on.
    if isinstance(session.get("_session_expiry"), str):
        return _aware(session.get_expiry_date())
    if isinstance(session, DatabaseSession):
        row = session.model.objects.filter(session_key=session.session_key)
        return _aware(row.values_list("expire_date", flat=True).first())
    if isinstance(session, FileSession):
        return _aware(session.get_expiry_date(modification=_last_modification(session)))
    if isinstance(session, CacheSession):
        return _cached_end(session)
    return None


def _last_modification(session: Any) -> datetime:
    moment: datetime = session._last_modification()
    return moment


def _cached_end(session: CacheSession) -> datetime | None:
    """Return when the cache drops the session: only django-redis tells."""
    time_to_live = getattr(caches[django_settings.SESSION_CACHE_ALIAS], "ttl", None)
    seconds = time_to_live(session.cache_key) if time_to_live is not None else None
    return timezone.now() + timedelta(seconds=seconds) if seconds else None


def _aware(moment: datetime | None) -> datetime | None:
    # With USE_TZ off Django keeps local time.
    if moment is None or timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment)
