"""The documentation's links lead somewhere for who reads it on GitHub; Sphinx tries its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
# These hold one line for Sphinx, which puts the file of that name there.
FOR_SPHINX = {ROOT / "docs" / "index.md", ROOT / "docs" / "changelog.md"}


def prose(page: Path) -> str:
    """Return the page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return where GitHub lets a link into that page lead: its headings, in GitHub's spelling."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def leads_nowhere(page: Path) -> Iterator[str]:
    """Yield the page's links to files or headings that there are not."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if re.match(r"[a-z]+:", link):
            continue
        if (
            not target.exists()
            or target in FOR_SPHINX
            or (anchor and anchor not in anchors(target))
        ):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(leads_nowhere(page)) == []
