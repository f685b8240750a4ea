"""What an answer of bff-token must look like."""

import json

import requests
from django.http import HttpResponse

from tests.faults.server import FaultyServer
from tests.faults.sign_in import STORED_TOKEN
from tests.faults.table import NEW, STORED

Answer = HttpResponse | requests.Response


def check_answer(answer: Answer, expected: str, server: FaultyServer) -> None:
    """Check that the page gets what the table says: a token, or an error of that name."""
    if expected == STORED:
        check_token(answer, STORED_TOKEN)
    elif expected == NEW:
        check_token(answer, server.newest)
    else:
        check_error(answer, expected)


def check_token(answer: Answer, token: str) -> None:
    """Check that this is the token, and that nothing else is there but what belongs to it."""
    _check_headers(answer)
    data = json.loads(answer.content)
    assert (answer.status_code, data.pop("access_token", None)) == (200, token)
    assert all(type(origin) is str for origin in data.pop("origins", []))
    assert data.keys() <= {"token_type", "expires_in", "scope"}
    assert {type(value) for name, value in data.items() if name != "expires_in"} <= {str}
    assert type(data.get("expires_in", 0)) is int


def check_error(answer: Answer, error: str) -> None:
    """Check that this is the error, said in JSON, without any secret."""
    _check_headers(answer)
    data = json.loads(answer.content)
    assert (answer.status_code, data["error"]) == (400, error)
    assert data.keys() <= {"error", "error_description", "login_url"}
    assert "canary" not in answer.content.decode()


def _check_headers(answer: Answer) -> None:
    assert {"no-store", "private"} <= set(answer.headers["Cache-Control"].split(", "))
    assert answer.headers["Content-Type"] == "application/json"
