"""What the site under attack is asked, what that costs it, and what it answers."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse

View = Callable[[HttpRequest], HttpResponse]

TOKEN_SETS = "django_tmibff_tokenset"


@dataclass
class Work:
    """The database queries of a request, and those among them that are about token sets."""

    queries: int = 0
    token_sets: int = 0

    def __call__(self, execute: Any, sql: str, *arguments: Any) -> Any:
        """Count a query, and let it be executed."""
        self.queries += 1
        self.token_sets += TOKEN_SETS in sql
        return execute(sql, *arguments)


def record(get_response: View) -> View:
    """Write a line for each request that carries an attack's number."""

    def middleware(request: HttpRequest) -> HttpResponse:
        work = Work()
        with ExitStack() as counting:
            for connection in connections.all():
                counting.enter_context(connection.execute_wrapper(work))
            response = get_response(request)
        numbers = parse_qs(request.META["QUERY_STRING"]).get("attack")
        if numbers:
            _write({"number": int(numbers[0]), **_seen(request, response), **asdict(work)})
        return response

    return middleware


def _seen(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    return {
        "method": request.method,
        "session": request.COOKIES.get(settings.SESSION_COOKIE_NAME),
        "status": response.status_code,
    }


def _write(line: dict[str, Any]) -> None:
    # Short lines are appended whole, whatever other processes append.
    file = os.open(settings.RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)
