"""docs/when-something-is-down.md says what the tests here prove."""

import re

from tests.faults.page import PAGE, TABLE, page_with_tables

MONITORING = PAGE.with_name("monitoring.md")
LOG_LINE = re.compile(r"`((?:token set|provider|the cache|the database) [^`]*)`")


def test_the_tables_are_those_that_the_tests_prove() -> None:
    """``python -m tests.faults`` writes them anew."""
    page = PAGE.read_text()
    assert len(TABLE.findall(page)) == 2
    assert page == page_with_tables(page)


def test_its_log_lines_are_those_of_the_page_on_monitoring() -> None:
    """Which are those of the code."""
    named = set(LOG_LINE.findall(PAGE.read_text()))
    assert "the database fails" in named
    known = [_pattern(line) for line in LOG_LINE.findall(MONITORING.read_text())]
    assert [line for line in named if not any(one.fullmatch(line) for one in known)] == []


def _pattern(line: str) -> re.Pattern[str]:
    """Return what matches the line, also where one of its … is spelt out."""
    return re.compile(".+".join(map(re.escape, line.split("…"))))
