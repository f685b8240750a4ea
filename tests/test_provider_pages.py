"""docs/providers.md: what it says is what happens."""

import re
from pathlib import Path

from tests.named import named_tests

PAGE = Path(__file__).resolve().parents[1] / "docs" / "providers.md"


def section(page: str, title: str) -> str:
    """Return what is under that heading of the second level."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


class TestQuirks:
    """Each row of the table names the tests that prove it."""

    LINE = re.compile(r"^\|(?! what a server does|---).*$", re.MULTILINE)
    ROW = re.compile(r"^\| (?P<what>[^|]+) \|(?:[^|]+\|){3} (?P<tests>[^|]+) \|$")

    @classmethod
    def rows(cls) -> dict[str, list[str]]:
        lines = cls.LINE.findall(section(PAGE.read_text(), "Quirks"))
        found = [cls.ROW.fullmatch(line) for line in lines]
        return {row["what"]: re.findall(r"`([^`]+)`", row["tests"]) for row in found if row}

    def test_each_line_is_a_row_that_names_tests(self) -> None:
        rows = self.rows()
        assert len(rows) == len(self.LINE.findall(section(PAGE.read_text(), "Quirks"))) > 0
        assert [what for what, tests in rows.items() if not tests] == []

    def test_there_are_such_tests(self) -> None:
        there_are = named_tests()
        unknown = {what: set(tests) - there_are for what, tests in self.rows().items()}
        assert {what: tests for what, tests in unknown.items() if tests} == {}
