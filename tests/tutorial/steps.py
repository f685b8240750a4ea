"""The tutorial as steps: what its reader does, and what there is to see then.

Of a page in Markdown these are steps: every fenced block, every item of a numbered list (something
to do in the browser), and every picture. All else is for reading.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_FENCE = "```"
_ITEM = re.compile(r"\d+\. ")
_PICTURE = re.compile(r"!\[[^]]*\]\((?P<path>[^)]+)\)")


class TutorialError(Exception):
    """What the tutorial says is not what happens, or cannot be followed."""


@dataclass(frozen=True)
class Step:
    """One step: ``kind`` is a fence's language, ``item`` or ``picture``.

    ``said``: the paragraph before it. ``line``: where it is in the page.
    """

    kind: str
    text: str
    said: str
    line: int


def read(page: str) -> list[Step]:
    """Return the steps of the page, in order; raises ``TutorialError`` for an open fence."""
    return list(_steps(page.splitlines()))


def _steps(lines: Sequence[str]) -> Iterator[Step]:
    said = ""
    number = 0
    while number < len(lines):
        start, paragraph = number, _paragraph(lines, number)
        number += len(paragraph) or 1
        text = " ".join(line.strip() for line in paragraph)
        if text.startswith(_FENCE):
            yield Step(text.split()[0][3:], _code(paragraph, start), said, start + 1)
        elif picture := _PICTURE.fullmatch(text):
            yield Step("picture", picture["path"], said, start + 1)
        elif _ITEM.match(text):
            yield Step("item", _ITEM.sub("", text, count=1), said, start + 1)
        if text:
            said = text if text[0] not in "`!" else ""


def _paragraph(lines: Sequence[str], start: int) -> Sequence[str]:
    """Return the lines that belong together: of a fence, an item, or a paragraph."""
    is_fence = lines[start].startswith(_FENCE)
    end = start + 1
    while end < len(lines):
        if is_fence and lines[end] == _FENCE:
            return lines[start : end + 1]
        if not is_fence and (not lines[end].strip() or _begins_another(lines[end])):
            break
        end += 1
    return lines[start:end] if lines[start].strip() else []


def _begins_another(line: str) -> bool:
    return bool(line.startswith(_FENCE) or _ITEM.match(line))


def _code(fence: Sequence[str], start: int) -> str:
    if fence[-1] != _FENCE:
        raise TutorialError(f"line {start + 1}: the block does not end")
    return "".join(f"{line}\n" for line in fence[1:-1])


def matches(expected: str, printed: str) -> bool:
    """Return whether that was printed; ``…`` is any part of a line, alone any number of lines."""
    lines = (line.rstrip() for line in expected.strip("\n").splitlines())
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r" *\n"
        for line in lines
    )
    return re.fullmatch(pattern, printed.strip("\n") + "\n") is not None
