"""What sections of the page are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from html import escape

from tts_trt.report import svg
from tts_trt.report.schema import Report


def section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def table(head: Iterable[str], rows: Iterable[str], words: Collection[int] = (0,)) -> str:
    """Columns ``words`` are set to the left, the others as numbers."""
    cells = "".join(
        f'<th class="{"" if k in words else "n"}">{escape(name)}</th>' for k, name in enumerate(head)
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def key(made: Report) -> str:
    items = (
        f'<span><span class="swatch {svg.colour(k)}"></span>{escape(c.name)}</span>'
        for k, c in enumerate(made.candidates)
    )
    return f'<div class="key">{"".join(items)}</div>'
