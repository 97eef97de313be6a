"""The short form: one answer per candidate, one table of verdicts."""

from __future__ import annotations

from tts_trt.report.schema import CandidateReport, MetricEntry, Report, VerdictRow

SECTIONS = {"same codes": "The same codes and noise", "free": "Free running", "cost": "Cost"}


def markdown(made: Report) -> str:
    candidates = made.candidates
    parts = [f"# {title_of(made)}", ""]
    parts += [f"- {escaped(c.answer)}" for c in candidates]
    if made.gate:
        failed = [row for row in made.gate if not row.passed]
        parts += ["", f"Gate: {len(made.gate) - len(failed)} of {len(made.gate)} thresholds kept."]
        parts += [f"- {row.candidate}: {row.rule}, found {row.found}" for row in failed]
    parts += ["", f"{made.criterion} K = {made.judged}."]
    for section, title in SECTIONS.items():
        rows = [
            table_row(made, name, entry) for name, entry in made.metrics.items() if entry.section == section
        ]
        if kept := [row for row in rows if row]:
            head = (
                f"| {title} | no difference within | "
                + " | ".join(escaped(c.name) for c in candidates)
                + " |"
            )
            parts += ["", head, "| --- | --- |" + " --- |" * len(candidates), *kept]
    parts += ["", f"    {made.command}", ""]
    return "\n".join(parts)


def title_of(made: Report) -> str:
    names = [c.name for c in made.candidates if not c.again] or ["the bundle itself"]
    return f"{', '.join(names)} against {made.bundles[0].name}"


def table_row(made: Report, name: str, entry: MetricEntry) -> str:
    found = [find(c, name) for c in made.candidates]
    if not any(found):
        return ""
    unit = f", {entry.unit}" if entry.unit else ""
    cells = (cell(row) if row else "" for row in found)
    return f"| {escaped(entry.title + unit)} | {margin(entry)} | " + " | ".join(cells) + " |"


def margin(entry: MetricEntry) -> str:
    if entry.margin is None:
        return "not judged"
    return f"{entry.margin:g}" if not entry.ratio else f"{entry.margin:.0%}"


def find(candidate: CandidateReport, metric: str) -> VerdictRow | None:
    return next((row for row in candidate.verdicts if row.metric == metric), None)


def cell(row: VerdictRow) -> str:
    bounds = (
        f" ({number(row.low)} to {number(row.high)})" if row.low is not None and row.high is not None else ""
    )
    word = {"worse": "**worse**", "better": "**better**", None: ""}.get(row.verdict, row.verdict or "")
    return f"{number(row.change)}{bounds} {word}".strip()


def number(value: float) -> str:
    """Three significant digits, without an exponent where there is room."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
