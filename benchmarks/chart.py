"""The picture of the ratios: bars, readable on light and on dark pages."""

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.race import Result
from tests.real.gunicorn import PROJECT

FILE = PROJECT / "docs" / "images" / "performance.svg"
WIDTH, LABELS, BARS, ROW = 900, 430, 400, 24
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.ours { fill: #0969da; } .peer { fill: #8c959f; } .anchor { fill: #57606a; }
.line { stroke: #57606a; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ours { fill: #4493f8; } .peer { fill: #6e7681; } .anchor { fill: #9198a1; }
  .line { stroke: #9198a1; }
}
"""


def write(results: Sequence[Result]) -> None:
    """Draw the ratios, the smallest on top; the first of the results is the anchor."""
    FILE.write_text("\n".join(lines(results)) + "\n")


def lines(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the picture."""
    rows = sorted(results, key=lambda one: one.ratio)
    scale = BARS / max(one.ratio for one in rows)
    height = ROW * len(rows) + 40
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    yield "<title>CPU time of an answer, as a multiple of the anchor's</title>"
    yield f"<style>{STYLE}</style>"
    for number, one in enumerate(rows):
        yield from _bar(one, 10 + ROW * number, scale, is_anchor=one is results[0])
    x = LABELS + scale
    yield f'<line class="line" x1="{x:.0f}" x2="{x:.0f}" y1="4" y2="{height - 26}"/>'
    yield f'<text x="{x:.0f}" y="{height - 8}" text-anchor="middle">the anchor</text>'
    yield "</svg>"


def _bar(one: Result, y: int, scale: float, *, is_anchor: bool) -> Iterator[str]:
    name = one.contestant.name
    is_ours = name.startswith(("bff-token", "fast path"))
    kind = "anchor" if is_anchor else "ours" if is_ours else "peer"
    width = one.ratio * scale
    label = escape(name.replace("`", ""))
    yield f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{label}</text>'
    yield (
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{width:.1f}" height="{ROW - 7}" rx="2"/>'
    )
    yield f'<text x="{LABELS + width + 6:.0f}" y="{y + 13}">{one.ratio:.2f}</text>'
