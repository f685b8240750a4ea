"""Writes the tables into docs/when-something-is-down.md."""

import re
from collections.abc import Iterable
from pathlib import Path

from tests.faults.table import (
    AUTHORIZATION_SERVER,
    BESIDE,
    DUE,
    EXPIRED,
    NEW,
    STATES,
    STORED,
    Beside,
    Row,
)

PAGE = Path(__file__).parents[2] / "docs" / "when-something-is-down.md"
TABLE = re.compile(r"<!-- table: (?P<name>[\w ]+) -->\n.*?<!-- end -->", re.DOTALL)


def page_with_tables(page: str) -> str:
    """Return the page with its tables as they are now."""
    tables = {"authorization server": _authorization_server(), "beside": _beside()}

    def written(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- table: {name} -->\n\n{tables[name]}\n<!-- end -->"

    return TABLE.sub(written, page)


def _authorization_server() -> str:
    head = ("what it does", f"token {DUE}", f"token {EXPIRED}", "refresh token", "asked again")
    return _table(head, (_row(row) for row in AUTHORIZATION_SERVER))


def _row(row: Row) -> tuple[str, ...]:
    ends = ", the session ends" if row.then == "invalid_session" else ""
    then = "" if row.asked_again == "never" or row.then == NEW else f", then {_said(row.then)}"
    return (
        "; ".join(row.faults),
        _said(row.about_to_expire),
        ", ".join([_said(row.expired), *_advice(row)]),
        row.refresh_token + ends,
        row.asked_again + then,
    )


def _advice(row: Row) -> Iterable[str]:
    if row.slow:
        yield "after `TMIBFF_AS_TIMEOUT`"
    if row.retry_after is not None:
        yield f"`Retry-After: {row.retry_after}`"
    if row.login_url:
        yield "`login_url`"


def _beside() -> str:
    head = ("what", "store", *(f"token {state}" for state in STATES), "once it is back")
    return _table(head, (_beside_row(row) for row in BESIDE))


def _beside_row(row: Beside) -> tuple[str, ...]:
    stores = ", ".join(f"`{store}`" for store in row.stores)
    then = "people sign in again" if row.loses else "all goes on"
    return (row.what, stores, *(_said(answer) for answer in row.answers), then)


def _said(answer: str) -> str:
    return answer if answer in (STORED, NEW) else f"`{answer}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
