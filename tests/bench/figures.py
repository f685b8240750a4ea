"""Where the documentation has figures: between two comments, of which one names the target."""

import re


def replaced(page: str, target: str, figures: str) -> str:
    """Return the page with these figures of ``make target`` in the place of the old ones."""
    begin, end = f"<!-- figures: make {target} -->\n", "\n<!-- end of figures -->"
    changed, found = re.subn(f"(?s){begin}.*?{end}", lambda _: f"{begin}{figures}{end}", page)
    assert found == 1
    return changed
