"""The admin with a million token sets on PostgreSQL: ``python -m tests.bench.admin``.

Writes the figures into docs/admin.md.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
from django.db import connections
from django.test.utils import override_settings

from tests.bench.figures import replaced
from tests.real.postgresql import PostgreSQL

PAGE = Path(__file__).resolve().parents[2] / "docs" / "admin.md"
LIST = "/admin/django_tmibff/tokenset/"
ROUNDS = 11
ROWS_OF_A_USER = 5

USERS = """
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff,
  is_active, date_joined)
SELECT '!', false, 'user-' || n, '', '', 'user-' || n || '@example.test', false, true, now()
FROM generate_series(1, %(users)s) AS n
"""
# Of a hundred 75 are active, 5 fail, 10 have ended, and 10 expired and wait for the purge.
TOKEN_SETS = """
INSERT INTO django_tmibff_tokenset (handle, user_id, provider, issuer, subject, sid, scope,
  created_at, refreshed_at, access_expires_at, expires_at, ended_at, end_reason, refresh_count,
  last_error, last_error_at, revoke_at, revoke_count, version, lease_owner, lease_until, sealed)
SELECT md5(n::text), (SELECT min(id) FROM auth_user) + n %% %(users)s,
  CASE WHEN n %% 1000 = 0 THEN 'partner' ELSE 'default' END,
  CASE WHEN n %% 1000 = 0 THEN 'https://partner.example' ELSE 'https://op.example' END,
  'subject-' || n %% %(users)s, 'sid-' || n, 'openid email profile',
  at, at + interval '1 hour', at + interval '2 hours',
  CASE WHEN part >= 90 THEN at + interval '1 hour' ELSE now() + n * interval '1 second' END,
  CASE WHEN part BETWEEN 80 AND 89 THEN at + interval '1 hour' END,
  CASE WHEN part BETWEEN 80 AND 89 THEN 'logout' ELSE '' END,
  n %% 50,
  CASE WHEN part BETWEEN 75 AND 79
    THEN (ARRAY['temporarily_unavailable', 'invalid_grant', 'invalid_client'])[1 + n %% 3]
    ELSE '' END,
  CASE WHEN part BETWEEN 75 AND 79 THEN at + interval '1 hour' END,
  CASE WHEN n %% 1000 = 85 THEN now() END,
  0, 1, '', CASE WHEN n %% 100000 = 1 THEN 1e13 ELSE 0 END, %(sealed)s
FROM (SELECT n, n %% 100 AS part, now() - (%(rows)s - n) * interval '2.6 seconds' AS at
  FROM generate_series(1, %(rows)s) AS n) AS numbers
"""


def main() -> None:
    """Fill a database, measure, and write the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.admin", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dry-run", action="store_true", help="leave docs/admin.md as it is")
    options = parser.parse_args()
    with PostgreSQL() as server, override_settings(DEBUG=False):
        server.create_database("bench")
        connections.settings["default"].update(server.settings("bench"))
        del connections["default"]  # The next one is made of these.
        token_set = fill(options.rows)
        table = "\n".join(lines(options.rows, measured(token_set)))
    sys.stdout.write(table)
    if not options.dry_run:
        PAGE.write_text(replaced(PAGE.read_text(), "bench-admin", table))


def fill(rows: int) -> Any:
    """Make the tables and that many token sets; return one that has tokens."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection

    from tests.page import Page

    call_command("migrate", verbosity=0)
    page = Page()
    page.sign_in(get_user_model().objects.create_user("alice"))
    token_set = page.store({"id_token": "e" * 1000}, claims={"iss": "https://op.example"})
    parameters = {"rows": rows, "users": max(1, rows // ROWS_OF_A_USER), "sealed": token_set.sealed}
    with connection.cursor() as cursor:
        cursor.execute(USERS, parameters)
        cursor.execute(TOKEN_SETS, parameters)
        cursor.execute("VACUUM ANALYZE")
    return token_set


def pages(token_set: Any) -> Mapping[str, str]:
    """Return what is measured: names, and paths."""
    from django.utils import timezone

    from django_tmibff.admin.states import State

    yesterday = timezone.now() - timedelta(days=1)
    return {
        "the list": LIST,
        "its 40th page": f"{LIST}?p=40",
        **{f"state: {state.label}": f"{LIST}?state={state}" for state in State},
        "provider: the usual one": f"{LIST}?provider=default",
        "provider: one in a thousand": f"{LIST}?provider=partner",
        "issuer: the usual one": f"{LIST}?issuer=https://op.example",
        "issuer: one in a thousand": f"{LIST}?issuer=https://partner.example",
        "last error": f"{LIST}?last_error=invalid_grant",
        "signed in: today": f"{LIST}?created_at__gte={yesterday:%Y-%m-%dT%H:%M:%SZ}",
        "search: subject": f"{LIST}?q=subject-77",
        "search: session at the provider": f"{LIST}?q=sid-77",
        "search: user name": f"{LIST}?q=user-77",
        "search: e-mail address": f"{LIST}?q=user-77@example.test",
        "search: nobody": f"{LIST}?q=nobody",
        "the page of one": f"{LIST}{token_set.pk}/change/",
    }


def measured(token_set: Any) -> Iterator[tuple[str, float, int]]:
    """Return the names of the pages, the least of their times in ms, and how many queries."""
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from tests.page import Page

    browser = Page()
    browser.sign_in(get_user_model().objects.create_superuser("operator"))
    for name, path in pages(token_set).items():
        with CaptureQueriesContext(connection) as queries:
            browser.get(path, headers={"host": "localhost"})
            asked = len(queries)
        yield name, min(_seconds(browser, path) for _ in range(ROUNDS)) * 1000, asked


def _seconds(browser: Any, path: str) -> float:
    started = time.perf_counter()
    answer = browser.get(path, headers={"host": "localhost"})
    seconds = time.perf_counter() - started
    if answer.status_code != 200:
        raise RuntimeError(f"{path} answered {answer.status_code}")
    return seconds


def lines(rows: int, figures: Iterator[tuple[str, float, int]]) -> Iterator[str]:
    """Return the lines of the page's part."""
    yield "| page | server time | queries |"
    yield "|---|---|---|"
    for name, milliseconds, queries in figures:
        yield f"| {name} | {milliseconds:.0f} ms | {queries} |"
    yield ""
    yield (
        f"{rows:,} token sets of {rows // ROWS_OF_A_USER:,} users; the best of {ROUNDS} times, with"
        f" Django {django.get_version()}, Python {platform.python_version()}, and PostgreSQL on the"
        f" same {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
