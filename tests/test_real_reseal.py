"""``manage.py reseal_tokens`` beside real processes that renew all the time."""

import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.real.gunicorn import PROJECT, Gunicorn, environment, migrate
from tests.real.processes import run
from tests.real.redis import Redis
from tests.real.session import databases, fetch_at_once, new_session
from tests.real.strict_server import StrictServer

pytestmark = pytest.mark.real

SESSIONS = 4
ROUNDS = 2
LIFETIME = 2.0


@pytest.mark.parametrize("store", ["db", "cached_db", "cache"])
def test_who_renews_meanwhile_loses_nothing(store: str, folder: Path) -> None:
    """The app's own newest key is the other one, so that there is always something to do."""
    keys = [Fernet.generate_key().decode() for _ in range(2)]
    with (
        StrictServer() as server,
        databases("postgresql", folder) as found,
        Redis(folder) as redis,
    ):
        settings = {
            **server.django_settings(),
            "DATABASES": found,
            "CACHES": redis.settings(),
            "TMIBFF_STORE": f"django_tmibff.stores.{store}",
            "TMIBFF_ENCRYPTION_KEYS": keys,
        }
        migrate(settings)
        cookies = [
            new_session(settings, server.new_family(LIFETIME), age_seconds=60)
            for _ in range(SESSIONS)
        ]
        with (
            Gunicorn(folder, settings, workers=2, threads=8) as app,
            ThreadPoolExecutor(1) as beside,
        ):
            for _ in range(ROUNDS):
                resealed = beside.submit(reseal, {**settings, "TMIBFF_ENCRYPTION_KEYS": keys[::-1]})
                while not resealed.done():
                    for cookie in cookies:
                        answers = fetch_at_once(app.origin, cookie, [{}] * 4)
                        assert {answer.status_code for answer in answers} == {200}
                assert "0 sealed anew" not in resealed.result()
    assert server.reuses == 0
    assert server.refreshes > SESSIONS


def reseal(settings: Mapping[str, Any]) -> str:
    """Run the command; return its last line."""
    command = [sys.executable, "manage.py", "reseal_tokens"]
    return run(command, cwd=PROJECT, env=environment(settings)).splitlines()[-1]
