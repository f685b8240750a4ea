"""Writes the table rule → test of docs/conformance.md: ``python -m tests.conformance``."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.named import TESTS, tests_in

PAGE = TESTS.parent / "docs" / "conformance.md"
IN_NAME = re.compile(r"(?<=_)[etrxsb]\d+(?=_)")
IN_DOCSTRING = re.compile(r"\b[ETRXSB]\d+\b")
ROW = re.compile(
    r"^\| (?P<rule>[ETRXSB]\d+) \| (?P<text>[^|]*) \|(?P<tests>[^|]*)\|$", re.MULTILINE
)


def rules_with_tests() -> dict[str, list[str]]:
    """Return the names of the tests that carry each rule's number, in name or docstring."""
    found: dict[str, dict[str, None]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        for name, rules in _rules_of_tests(path):
            for rule in rules:
                found.setdefault(rule, {})[f"{path.stem}: {name}"] = None
    return {rule: list(names) for rule, names in found.items()}


def page_with_tests(page: str) -> str:
    """Return the page with the tests of each row as they are now."""
    tests = rules_with_tests()

    def row(match: re.Match[str]) -> str:
        names = "<br>".join(f"`{name}`" for name in tests.get(match["rule"], []))
        return f"| {match['rule']} | {match['text']} | {names} |"

    return ROW.sub(row, page)


def _rules_of_tests(path: Path) -> Iterator[tuple[str, set[str]]]:
    for test in tests_in(path):
        named = {rule.upper() for rule in IN_NAME.findall(f"{test.name}_")}
        yield test.name, named | set(IN_DOCSTRING.findall(ast.get_docstring(test) or ""))


if __name__ == "__main__":
    PAGE.write_text(page_with_tests(PAGE.read_text()))
