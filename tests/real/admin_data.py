"""Token sets in all states for the admin's pictures: a program that runs as part of the app."""

import sys
from datetime import timedelta
from typing import Any

import django

from tests.real.processes import run

ORDERS = "https://api.example/orders"


def fill(environment: dict[str, str], folder: Any) -> None:
    """Run this program with the app's environment."""
    run([sys.executable, "-m", "tests.real.admin_data"], cwd=folder, env=environment)


def _fill() -> None:
    from django.utils import timezone

    now = timezone.now()
    minute, hour, day = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
    error = {"last_error_at": now - 2 * minute}
    _sign_in("amelia", created_at=now - 6 * day, ended_at=now - 5 * day, end_reason="logout")
    _sign_in("clara", created_at=now - 3 * day, expires_at=now - hour)
    _sign_in(
        "edward",
        created_at=now - 2 * day,
        ended_at=now - 20 * minute,
        end_reason="user deactivated",
        revoke_at=now + 8 * minute,
        revoke_count=4,
        refresh_count=9,
        refreshed_at=now - hour,
    )
    _sign_in("henry", created_at=now - day, refreshed_at=now - 11 * minute, refresh_count=77)
    failing = {"last_error": "temporarily_unavailable", **error}
    for name, hours in (("isabel", 9), ("jonas", 7)):
        _sign_in(
            name,
            created_at=now - hours * hour,
            refreshed_at=now - 17 * minute,
            refresh_count=hours * 4,
            **failing,
        )
    _sign_in("marta", created_at=now - 4 * hour, last_error="invalid_grant", **error)
    _sign_in("nadia", created_at=now - 2 * hour, refreshed_at=now - 4 * minute, refresh_count=8)
    _sign_in("oscar", created_at=now - 9 * minute)


def _sign_in(name: str, **columns: Any) -> None:
    """Keep the tokens of a sign-in, and put ``columns`` into its record."""
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest

    from django_tmibff import oauth, tokens
    from django_tmibff.models import TokenSet

    request = HttpRequest()
    request.session = SessionStore()
    request.user = get_user_model().objects.create_user(name, f"{name}@example.test")
    response = {
        "access_token": f"access-token-of-{name}",
        "refresh_token": f"refresh-token-of-{name}",
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "openid email profile",
    }
    claims = {"iss": "https://op.example", "sub": f"248289761{len(name)}", "sid": f"sid-{name}"}
    began_at = columns.get("refreshed_at", columns["created_at"])
    parsed = oauth.TokenResponse.parse(response, requested_at=began_at.timestamp())
    token_set = tokens.store(request, parsed, claims=claims)
    columns["access_expires_at"] = began_at + timedelta(minutes=15)
    TokenSet.objects.filter(pk=token_set.pk).update(**columns)


if __name__ == "__main__":
    django.setup()
    _fill()
