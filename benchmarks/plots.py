"""Small pictures as SVG, readable on light and on dark pages."""

from collections.abc import Sequence
from html import escape

_WIDTH = 720
_LABEL = 250
_BAR = 22
_GAP = 8
_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#777}.b{fill:#8aa0b8}.o{fill:#d9822b}"
    ".l{fill:none;stroke:#d9822b;stroke-width:2}.g{stroke:#9995;stroke-width:1}</style>"
)


def bars(title: str, rows: Sequence[tuple[str, float, str]], marked: Sequence[str]) -> str:
    """Return horizontal bars.

    Args:
        title: For those who cannot see it.
        rows: Name, length, and what stands behind the bar.
        marked: Names to be seen at once.
    """
    longest = max(value for _, value, _ in rows)
    space = _WIDTH - _LABEL - 150
    drawn = []
    for number, (name, value, words) in enumerate(rows):
        y = number * (_BAR + _GAP)
        width = space * value / longest
        look = "o" if name in marked else "b"
        drawn.append(
            f'<text x="{_LABEL - 10}" y="{y + 16}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{look}" x="{_LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3"/>'
            f'<text x="{_LABEL + width + 8:.1f}" y="{y + 16}">{escape(words)}</text>'
        )
    return _svg(title, len(rows) * (_BAR + _GAP), drawn)


def line(
    title: str,
    points: Sequence[tuple[float, float]],
    across: str,
    up: str,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Return a line over time.

    Args:
        title: For those who cannot see it.
        points: In the order of the first number.
        across: What the first number is.
        up: What the second is.
        marks: Moments with a word about each.
    """
    left, top, width, height = 70, 24, _WIDTH - 90, 170
    end = max(x for x, _ in points) or 1.0
    highest = max(y for _, y in points) * 1.1 or 1.0
    bottom = top + height + 18
    path = " ".join(f"{left + width * x / end:.1f},{top + height * (1 - y / highest):.1f}" for x, y in points)
    drawn = [
        f'<line class="g" x1="{left}" y1="{top + height}" x2="{left + width}" y2="{top + height}"/>',
        f'<text x="{left - 8}" y="{top + 10}" text-anchor="end">{highest:,.0f}</text>',
        f'<text x="{left - 8}" y="{top + height}" text-anchor="end">0</text>',
        f'<text x="{left}" y="14">{escape(up)}</text>',
        f'<text x="{left + width}" y="{bottom}" text-anchor="end">{escape(across)}: {end:,.0f}</text>',
    ]
    for x, words in marks:
        at = left + width * x / end
        drawn.append(
            f'<line class="g" x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{top + height}"/>'
            f'<text x="{at + 4:.1f}" y="{top + 12}">{escape(words)}</text>'
        )
    drawn.append(f'<polyline class="l" points="{path}"/>')
    return _svg(title, top + height + 26, drawn)


def _svg(title: str, height: int, drawn: Sequence[str]) -> str:
    inside = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">\n'
        f"<title>{escape(title)}</title>\n{_STYLE}\n{inside}\n</svg>\n"
    )
