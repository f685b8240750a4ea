"""The tests by name, for the pages that say what proves them."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def tests_in(path: Path) -> Iterator[ast.FunctionDef]:
    """Yield the tests of a file, those of its classes too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


def named_tests() -> set[str]:
    """Return every test there is as pages name it: the file without its ending, and the name."""
    return {
        f"{path.relative_to(TESTS).with_suffix('').as_posix()}: {test.name}"
        for path in TESTS.glob("**/test_*.py")
        for test in tests_in(path)
    }
