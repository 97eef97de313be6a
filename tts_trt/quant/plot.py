"""A bar chart as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

ROW, LABEL, WIDTH, MARGIN = 16, 420, 360, 24  # pixels


def bars(values: Sequence[tuple[str, float]], limit: float = 1.0) -> str:
    """One bar per (label, value >= 0), the longest fills the width; a line where ``limit`` is. Values above it are drawn
    in another colour."""
    largest = max([limit, *(value for _, value in values)])
    height = MARGIN * 2 + ROW * len(values)
    at = LABEL + WIDTH * limit / largest
    rows = []
    for i, (label, value) in enumerate(values):
        y, colour = MARGIN + ROW * i, "#b3423a" if value > limit else "#3a6ea5"
        rows.append(
            f'<text x="{LABEL - 6}" y="{y + 12}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{LABEL}" y="{y + 2}" width="{WIDTH * value / largest:.1f}" height="{ROW - 4}" fill="{colour}"/>'
            f'<text x="{LABEL + WIDTH * value / largest + 4:.1f}" y="{y + 12}">{value:.2g}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + WIDTH + 80}" height="{height}" '
        'font-family="sans-serif" font-size="11">'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{MARGIN - 6}" y2="{height - MARGIN}" stroke="#888"/>'
        f'<text x="{at:.1f}" y="{MARGIN - 10}" text-anchor="middle">budget</text>'
        + "".join(rows)
        + "</svg>\n"
    )
