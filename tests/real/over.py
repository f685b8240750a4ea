"""Token sets that are over, in any number, put straight into a PostgreSQL database."""

import base64
import secrets
from collections.abc import Mapping
from typing import Any

import psycopg

# As large as a sealed part with two access tokens of a thousand characters.
SEALED_BYTES = 2500
_AT_ONCE = 50_000

_ADD = """
INSERT INTO django_tmibff_tokenset (
    handle, provider, issuer, subject, sid, scope, created_at, expires_at, ended_at, end_reason,
    refresh_count, last_error, revoke_count, version, lease_owner, lease_until, sealed
)
SELECT md5(%(seed)s || number), 'default', 'https://op.example', 'user-' || number, '', 'openid',
    now() - interval '30 days',
    now() - (CASE WHEN number %% %(one_in)s = 0 THEN 1 ELSE -1 END) * %(ago)s * interval '1 day',
    NULL, '',
    3, '', 0, 4, '', 0, %(sealed)s
FROM generate_series(1, %(number)s) AS number
"""


def connect(databases: Mapping[str, Any]) -> psycopg.Connection:
    """Connect to the database of Django's ``DATABASES``, beside Django."""
    found = databases["default"]
    return psycopg.connect(
        host=found["HOST"],
        port=found["PORT"],
        user=found["USER"],
        dbname=found["NAME"],
        autocommit=True,
    )


def add_expired(
    connection: psycopg.Connection, number: int, *, days: float = 30, one_in: int = 1
) -> None:
    """Add token sets that expired that long ago: after a week nothing is owed for them.

    Where not each of them but only ``one_in`` so many has, the others have as long to live.
    """
    sealed = base64.urlsafe_b64encode(secrets.token_bytes(SEALED_BYTES))[:SEALED_BYTES]
    for first in range(0, number, _AT_ONCE):
        more = min(_AT_ONCE, number - first)
        values = {"seed": secrets.token_hex(8), "ago": days, "sealed": sealed, "number": more}
        values["one_in"] = one_in
        connection.execute(_ADD, values)


def number_of(connection: psycopg.Connection, condition: str = "true") -> int:
    """Return how many token sets fulfil this SQL condition."""
    found = connection.execute(
        f"SELECT count(*) FROM django_tmibff_tokenset WHERE {condition}"  # noqa: S608  # the tests' own words
    ).fetchone()
    assert found is not None
    return int(found[0])
