"""docs/conformance.md says which test proves which rule, and is right."""

from tests.conformance import PAGE, ROW, page_with_tests, rules_with_tests

LAST_RULE = {"E": 12, "T": 7, "R": 12, "X": 9, "S": 4}
RULES = [f"{part}{number}" for part, last in LAST_RULE.items() for number in range(1, last + 1)]


def test_every_rule_has_a_row_and_a_test() -> None:
    rows = [match["rule"] for match in ROW.finditer(PAGE.read_text())]
    assert rows == [*RULES, "B1", "B2", "B3", "B4", "B5", "B6", "B7"]
    tests = rules_with_tests()
    assert [rule for rule in rows if not tests.get(rule)] == []


def test_the_table_names_the_tests_that_there_are() -> None:
    """``python -m tests.conformance`` writes it anew."""
    page = PAGE.read_text()
    assert page == page_with_tests(page)
