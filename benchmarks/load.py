"""Load on one server of this machine, by wrk."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.real.components import program
from tests.real.processes import run

SCRIPT = Path(__file__).with_name("count.lua")
CONNECTIONS = 4

# What a page's fetch() sends, through a proxy that has taken its https.
HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "en-GB,en;q=0.9",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Proto": "https",
}


def drive(
    url: str,
    cookies: Sequence[str],
    *,
    seconds: int,
    headers: Mapping[str, str] = HEADERS,
    connections: int = CONNECTIONS,
) -> int:
    """Ask again and again for that many seconds; return how many answers came.

    ``cookies``: the ``Cookie`` header of each session, in turn; a DPoP proof may follow behind a
    tab. Raises ``RuntimeError`` if any
    answer was not a success.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".cookies") as file:
        file.write("\n".join(cookies) + "\n")
        file.flush()
        sent = [f"-H{name}: {value}" for name, value in headers.items()]
        size = ("-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", f"-s{SCRIPT}")
        printed = run([program("wrk"), *size, *sent, url, "--", file.name])
    found = json.loads(printed.splitlines()[-1])
    if found["failed"] or not found["answers"]:
        raise RuntimeError(f"{url}: {printed}")
    return int(found["answers"])
