"""docs/tutorial.md holds, word for word; and whoever follows it notices where it does not."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.tutorial.follower import Follower, check
from tests.tutorial.run import TUTORIAL, follow_the_tutorial
from tests.tutorial.steps import TutorialError, matches, read
from tests.tutorial.terminals import environment
from tests.tutorial.windows import shown

SMALL = """
# A small tutorial

Open a first terminal:

```sh
mkdir site
cd site
export NAME=alice
```

Make the file `site/hello.py`:

```python
import os
```

Put this at the end of `site/hello.py`:

```python
print("Hello,", os.environ["NAME"])
print("It is late.")
```

Run it in the same terminal:

```sh
python3 hello.py
```

You see:

```text
Hello, alice
…
```
"""


@pytest.fixture
def follow(tmp_path: Path) -> Callable[[str], None]:
    """Follow a page in an empty folder, without a browser."""

    def no_browser() -> Browser:
        raise AssertionError

    python = Path(sys.base_prefix) / "bin" / "python3"
    return Follower(tmp_path, tmp_path, tmp_path, environment(python), no_browser).follow


def test_a_page_that_holds_is_followed_to_its_end(
    follow: Callable[[str], None], tmp_path: Path
) -> None:
    follow(SMALL)
    assert (tmp_path / "site" / "hello.py").read_text().count("\n") == 4


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("Hello, alice\n…", "Hello, bob\n…", "line 33: this is said to be printed:\nHello, bob"),
        ("Hello, alice\n…", "Hello, alice", "It is late."),
        ('print("Hello,"', 'print("Goodbye,"', "but it is:\nGoodbye, alice"),
        ("os.environ", "os.environment", "line 27: a command failed: .*AttributeError"),
        ("export NAME=alice\n", "", "KeyError: 'NAME'"),
        ("cd site\n", "", "No such file"),
        ("cd site\n", "cd nowhere\n", "line 6: a command failed"),
        ("the end of `site/", "the end of `other/", "line 20: there is no .*other/hello.py"),
        ("Make the file `site/hello.py`", "Of course", "line 14: which file is this for?"),
        ("```python\nimport", "```perl\nimport", "line 14: what is to be done with 'perl'?"),
        ("Run it", "1. Jump.\n\nRun it", "line 25: What is to be done in the browser?"),
        ("…\n```\n", "…\n", "line 33: the block does not end"),
    ],
)
def test_a_page_that_does_not_hold_is_refused_with_its_line(
    follow: Callable[[str], None], right: str, wrong: str, said: str
) -> None:
    assert SMALL.count(right) == 1
    with pytest.raises(TutorialError, match=f"(?s){said}"):
        follow(SMALL.replace(right, wrong))


@pytest.mark.parametrize(
    ("expected", "printed", "does"),
    [
        ("one\ntwo\n", "one\ntwo\n", True),
        ("…\ntwo\n", "zero\none\ntwo\n", True),
        ("one\n…\n", "one\n", True),
        ("on… …o\n", "one two\n", True),
        ("two\n", "one\ntwo\n", False),
        ("one\n", "one\ntwo\n", False),
        ("o…o\n", "one\ntwo\n", False),
        ("one.two\n", "one-two\n", False),
    ],
)
def test_dots_stand_for_a_part_of_a_line_or_for_lines(
    expected: str, printed: str, does: bool
) -> None:
    assert matches(expected, printed) is does


def test_the_console_shows_five_members() -> None:
    assert shown({"a": "b", "c": 1, "d": True}) == "{a: 'b', c: 1, d: true}"
    assert shown(dict.fromkeys("abcdef", 0)) == "{a: 0, b: 0, c: 0, d: 0, e: 0, …}"


def test_every_step_of_the_tutorial_is_understood() -> None:
    steps = read(TUTORIAL.read_text())
    for step in steps:
        check(step)
    kinds = {"sh", "text", "python", "html", "js", "item", "picture"}
    assert {step.kind for step in steps} == kinds


@pytest.mark.real
def test_the_tutorial_holds(tmp_path: Path) -> None:
    follow_the_tutorial(tmp_path)
