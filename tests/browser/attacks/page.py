"""Writes the tables into docs/security/attacks.md."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from tests.browser.attacks.results import Means, Outcome, Results
from tests.browser.attacks.setups import (
    ANSWERS,
    BY_HAND,
    CROSS_SITE,
    DPOP,
    FILE,
    FRAMED,
    LAX,
    OPEN,
    OWN,
    PORT,
    REBOUND,
    SANDBOX,
    SIBLING,
    STRICT,
    WEAKENED,
    WORST,
    Origin,
    Setup,
)

PAGE = Path(__file__).parents[3] / "docs" / "security" / "attacks.md"
TABLE = re.compile(r"<!-- table: (?P<name>\w+) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL)

READS, ANSWERED, REFUSED = "**reads it**", "answered", "refused"
NO_COOKIE, ASKS_FIRST, NOT_SENT = "no cookie", "asks first", "—"
# Between the names of means in one line of a table.
BREAK = "<br>"

Row = tuple[str, str]  # group and name of a means
Column = tuple[str, Setup, Origin]
Cells = Mapping[tuple[Setup, Means], str]

COLUMNS: tuple[Column, ...] = (
    ("own page", WORST, OWN),
    ("own page, framed", WORST, FRAMED),
    ("cross-site", WORST, CROSS_SITE),
    ("with `Lax`", LAX, CROSS_SITE),
    ("with `Strict`", STRICT, CROSS_SITE),
    ("sandboxed frame", WORST, SANDBOX),
    ("sibling", WORST, SIBLING),
    ("another port", WORST, PORT),
    ("`file:`", WORST, FILE),
    ("DNS rebinding", WORST, REBOUND),
    ("no guard", WEAKENED, CROSS_SITE),
)
HAND_COLUMNS: tuple[Column, ...] = (("what comes of it", WORST, BY_HAND),)
OPEN_COLUMNS = tuple((name, OPEN, origin) for name, setup, origin in COLUMNS if setup == WORST)


def cells(results: Results) -> Cells:
    """Return in a word what came of each means from each origin."""
    by_means = results.by_means().items()
    return {(results.setup, means): _cell(found, results.session) for means, found in by_means}


def cells_in(page: str) -> Cells:
    """Return what the page says came of each means."""
    tables = {match["name"]: match["table"] for match in TABLE.finditer(page)}
    found = dict(_read(tables["means"], COLUMNS)) | dict(_read(tables["hand"], HAND_COLUMNS))
    as_worst = {(OPEN, means): word for (setup, means), word in found.items() if setup == WORST}
    found = found | as_worst | dict(_read(tables["open"], OPEN_COLUMNS))
    return found | {(DPOP, means): word for (setup, means), word in found.items() if setup == OPEN}


def page_with_tables(page: str, found: Cells) -> str:
    """Return the page with its tables as these cells are."""
    by_hand = {group for _setup, (group, _name, origin) in found if origin == BY_HAND}
    tables = {
        "answers": _table(("", "GET", "POST"), map(_answers, ANSWERS)),
        "means": _tables(found, COLUMNS, lambda row: row[0] not in by_hand),
        "hand": _tables(found, HAND_COLUMNS, lambda row: row[0] in by_hand),
        "open": _tables(found, OPEN_COLUMNS, lambda row: _differs(found, row)),
    }

    def written(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- table: {name} -->\n\n{tables[name]}\n<!-- end -->"

    return TABLE.sub(written, page)


def _cell(outcomes: list[Outcome], session: str) -> str:
    arrivals = [arrival for outcome in outcomes for arrival in outcome.arrivals]
    if any("canary-access" in text for outcome in outcomes for text in outcome.read):
        return READS
    if not arrivals:
        return NOT_SENT
    if all(arrival.method == "OPTIONS" for arrival in arrivals):
        return ASKS_FIRST
    if any(arrival.token_sets for arrival in arrivals if arrival.status == 200):
        return ANSWERED
    return REFUSED if any(arrival.session == session for arrival in arrivals) else NO_COOKIE


def _differs(found: Cells, row: Row) -> bool:
    """Return whether something else comes of it where a site is open to all."""
    origins = [origin for _name, _setup, origin in OPEN_COLUMNS if (OPEN, (*row, origin)) in found]
    return any(found[OPEN, (*row, one)] != found[WORST, (*row, one)] for one in origins)


def _answers(endpoint: str) -> Sequence[str]:
    by_method = ANSWERS[endpoint]
    return (f"`{endpoint}`", *(" or ".join(map(str, by_method[m])) for m in ("GET", "POST")))


def _tables(found: Cells, columns: Sequence[Column], is_in: Callable[[Row], bool]) -> str:
    """Return those rows as a table for each group, under its name."""
    by_group: dict[str, list[Row]] = defaultdict(list)
    rows = dict.fromkeys((group, name) for _setup, (group, name, _origin) in found)
    for row in filter(is_in, rows):
        by_group[row[0]].append(row)
    return "\n".join(
        f"### {group}\n\n{_table_of(found, columns, rows)}" for group, rows in by_group.items()
    )


def _table_of(found: Cells, columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """Return a table of what came of each means; those of which the same came share a line."""
    tried = [
        (title, setup, origin)
        for title, setup, origin in columns
        if any((setup, (*row, origin)) in found for row in rows)
    ]
    names = defaultdict(list)
    for row in rows:
        words = (found.get((setup, (*row, origin)), "") for _title, setup, origin in tried)
        names[tuple(words)].append(row[1])
    head = ("", *(title for title, _setup, _origin in tried))
    return _table(head, ((BREAK.join(alike), *words) for words, alike in names.items()))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _read(table: str, columns: Sequence[Column]) -> Iterator[tuple[tuple[Setup, Means], str]]:
    by_title = {title: (setup, origin) for title, setup, origin in columns}
    for section in table.split("### ")[1:]:
        group, *lines = section.splitlines()
        [_empty, *titles], _rule, *rows = [_words(line) for line in lines if line.startswith("|")]
        for names, *words in rows:
            for (title, word), name in product(zip(titles, words, strict=True), names.split(BREAK)):
                setup, origin = by_title[title]
                yield (setup, (group, name, origin)), word


def _words(line: str) -> Sequence[str]:
    return line.removeprefix("| ").removesuffix(" |").split(" | ")
