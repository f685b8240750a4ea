"""Requests of programs, rather than of browsers."""

from typing import Any

import requests

TIMEOUT_SECONDS = 30


def send(method: str, url: str, **request: Any) -> requests.Response:
    """Send a request without cookies."""
    with requests.Session() as session:
        # A proxy from the environment could not reach this machine's loopback.
        session.trust_env = False
        return session.request(method, url, timeout=TIMEOUT_SECONDS, **request)


def get_json(url: str) -> dict[str, Any]:
    """Return the JSON object at that URL; raise ``requests.HTTPError`` where it is not there."""
    return json_of(send("GET", url))


def json_of(answer: requests.Response) -> dict[str, Any]:
    """Return the answer's JSON object; raise ``requests.HTTPError`` when it is no success."""
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
