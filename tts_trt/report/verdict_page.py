"""Verdicts as a table, and every change against its margin as a plot."""

from __future__ import annotations

from html import escape

from tts_trt.report import svg
from tts_trt.report.blocks import key, table
from tts_trt.report.markdown import SECTIONS, find, margin, number
from tts_trt.report.metrics import METRICS
from tts_trt.report.schema import MetricEntry, Report, VerdictRow


def verdicts(made: Report) -> str:
    rows = []
    for section, title in SECTIONS.items():
        named = [(name, m) for name, m in made.metrics.items() if m.section == section]
        kept = [(m, [find(c, name) for c in made.candidates]) for name, m in named]
        if not any(any(found) for _, found in kept):
            continue
        rows.append(f'<tr class="section"><th colspan="{2 + len(made.candidates)}">{escape(title)}</th></tr>')
        rows += [_verdict_row(m, found) for m, found in kept if any(found)]
    note = (
        "<p class='quiet'>The change from the baseline with its 95 % interval. Of values that are distances the baseline "
        "has the ideal one. An undecidable row says how many sentences it would take to show that nothing differs.</p>"
    )
    return note + table(["", "no difference within", *(c.name for c in made.candidates)], rows)


def _verdict_row(entry: MetricEntry, found: list[VerdictRow | None]) -> str:
    unit = f" <small>{escape(entry.unit)}</small>" if entry.unit else ""
    cells = "".join(f'<td class="n">{_cell(row)}</td>' for row in found)
    return f'<tr><td>{escape(entry.title)}{unit}</td><td class="n">{margin(entry)}</td>{cells}</tr>'


def _cell(row: VerdictRow | None) -> str:
    if row is None:
        return '<span class="quiet">not measured</span>'
    notes = []
    if row.low is not None and row.high is not None:
        notes.append(f"{number(row.low)} to {number(row.high)}")
    if row.needed and row.needed > row.sentences:
        notes.append(f"needs {row.needed}")
    if row.missing:
        notes.append(f"({row.missing} lines missing)")
    word = f'<span class="v {row.verdict or ""}">{row.verdict or ""}</span>'
    return f"{number(row.change)} {word}<small class='bounds'>{' '.join(notes)}</small>"


def intervals(made: Report) -> str:
    rows = []
    for name, entry in made.metrics.items():
        found = [(k, row) for k, c in enumerate(made.candidates) if (row := find(c, name)) and row.verdict]
        if entry.margin and found:
            rows.append((entry.title, [(k, *_in_margins(name, row)) for k, row in found]))
    if not rows:
        return ""
    return key(made) + svg.intervals(rows)


def _in_margins(name: str, row: VerdictRow) -> tuple[float, float, float]:
    """Change and interval in margins, positive towards worse."""
    metric = METRICS[name]
    nothing, sign = (1.0 if metric.ratio else 0.0), (-1 if metric.worse == "lower" else 1)
    low = row.change if row.low is None else row.low
    high = row.change if row.high is None else row.high
    at = [sign * (x - nothing) / (metric.margin or 1.0) for x in (row.change, low, high)]
    return at[0], min(at[1:]), max(at[1:])
