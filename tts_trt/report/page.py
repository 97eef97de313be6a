"""The report as one HTML page that loads nothing: style, plots and sounds are inside it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from html import escape
from pathlib import Path
from typing import Any

from tts_trt.report import svg
from tts_trt.report.listen_page import listening
from tts_trt.report.markdown import SECTIONS, find, margin, number
from tts_trt.report.metrics import METRICS
from tts_trt.report.positions import TITLES
from tts_trt.report.schema import CandidateReport, MetricEntry, Report, VerdictRow

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def page(made: Report, work: Path) -> str:
    """``work``: folder of the waves and pictures to embed; one that is gone is left out."""
    title = f"{', '.join(c.name for c in made.candidates)} against {made.bundles[0].name}"
    sections = (
        _head(made, title),
        _section("Verdicts", _verdicts(made)),
        _section("Changes against their margins", _intervals(made)),
        _section("Where in the sentence", _positions(made)),
        _section("Which part", _parts(made)),
        _section("Listen", listening(made, work)),
        _section("Cost", _cost(made)),
        _section("Thresholds", _gate(made)),
        _section("Every line", _lines(made)),
        _section("How it was decided", _method(made)),
        _section("Environment", _environment(made)),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text()}</style></head><body>\n"
        + "\n".join(part for part in sections if part)
        + "\n</body></html>\n"
    )


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


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _head(made: Report, title: str) -> str:
    s = made.settings
    answers = "".join(
        f'<li style="border-color:var(--c{1 + k % svg.COLOURS})">{escape(c.answer)}</li>'
        for k, c in enumerate(made.candidates)
    )
    about = (
        f"{made.created:%Y-%m-%d %H:%M} UTC, {s['sentences']} sentences, {s['lines']} lines a bundle, "
        f"{s['same_codes_lines']} of them over the same codes"
    )
    return f'<header><h1>{escape(title)}</h1><p class="quiet">{escape(about)}</p><ul class="answers">{answers}</ul></header>'


def _verdicts(made: Report) -> str:
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
        "has the ideal one.</p>"
    )
    return note + table(["", "no difference within", *(c.name for c in made.candidates)], rows)


def _verdict_row(entry: MetricEntry, found: list[VerdictRow | None]) -> str:
    unit = f" <small>{escape(entry.unit)}</small>" if entry.unit else ""
    cells = "".join(f'<td class="n">{_cell(row)}</td>' for row in found)
    return f'<tr><td>{escape(entry.title)}{unit}</td><td class="n">{margin(entry)}</td>{cells}</tr>'


def _cell(row: VerdictRow | None) -> str:
    if row is None:
        return '<span class="quiet">not measured</span>'
    bounds = ""
    if row.low is not None and row.high is not None:
        bounds = f" <small>{number(row.low)} to {number(row.high)}</small>"
    word = (
        f' <span class="v {row.verdict}">{row.verdict}</span>' if row.verdict else ' <span class="v"></span>'
    )
    return f"{number(row.change)}{bounds}{word}"


def _intervals(made: Report) -> str:
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


def _positions(made: Report) -> str:
    plots = []
    for name, title in TITLES.items():
        series = {c.name: c.positions[name].fifths for c in made.candidates if name in c.positions}
        if len(series) == len(made.candidates):
            plots.append(svg.by_position(title, series))
    if not plots:
        return ""
    rows = [
        f"<tr><td>{escape(title)}</td>"
        + "".join(f'<td class="n">{_growth(c, name)}</td>' for c in made.candidates)
        + "</tr>"
        for name, title in TITLES.items()
    ]
    grown = table(["last fifth over first", *(c.name for c in made.candidates)], rows)
    return key(made) + f'<div class="row">{"".join(plots)}</div><h3>Does the error grow?</h3>' + grown


def _growth(candidate: CandidateReport, name: str) -> str:
    found = candidate.positions.get(name)
    if found is None:
        return ""
    if found.growth is None:
        return '<span class="quiet">none in the first</span>'
    g = found.growth
    return f"{number(g.mean)} <small>{number(g.low)} to {number(g.high)}</small>"


def _parts(made: Report) -> str:
    blocks = []
    for k, candidate in enumerate(made.candidates):
        if not candidate.parts:
            continue
        rows = []
        for entry in candidate.parts:
            share = entry.share or 0.0
            bar = f'<span class="share" style="width:{8 * share:.2f}rem;background:var(--c{1 + k % svg.COLOURS})"></span>'
            grain = "" if entry.grain_flatness is None else f"{entry.grain_flatness:+.4f}"
            whole = "everything" if entry.part == "whole" else f"the {entry.part} alone"
            rows.append(
                f'<tr><td>{whole}</td><td class="n">{number(entry.mel_l1_db)}</td><td class="n">{number(entry.lsd_db)}</td>'
                f'<td class="n">{grain}</td><td>{bar if entry.share is not None else ""}'
                f"{f'{share:.0%}' if entry.share is not None else ''}</td></tr>"
            )
        head = ["", "mel L1, dB", "log-spectral distance, dB", "flatness above 4 kHz", "share"]
        blocks.append(f"<h3>{escape(candidate.name)}</h3>" + table(head, rows, (0, 4)))
    if not blocks:
        return ""
    note = "<p class='quiet'>The baseline's codes through the baseline with one part of the candidate in it. Shares are of squared log-spectral distances.</p>"
    return note + "".join(blocks)


def _cost(made: Report) -> str:
    cost: Any = made.cost
    if not cost:
        return ""
    bundles = cost["bundles"]
    stages = list(bundles[0]["stages"])
    figures: list[tuple[str, list[str]]] = [
        ("real-time factor", [f"{b['rtf']:.3f}" for b in bundles]),
        ("time to first audio, ms", [f"{1e3 * b['first_audio']:.0f}" for b in bundles]),
        *(
            (f"{stage}, ms", [f"{1e3 * b['stages'].get(stage, 0.0):.1f}" for b in bundles])
            for stage in stages
        ),
        *(
            (f"decode step at {p}, ms", [f"{b['step_ms'][p]:.2f}" for b in bundles])
            for p in bundles[0]["step_ms"]
        ),
        ("graphs, MiB", [f"{b['graph_mib']:.1f}" for b in bundles]),
        ("memory once loaded, MiB", [f"{b['resident_mib']:.0f}" for b in bundles]),
        ("loading and first run, s", [f"{b['load']:.2f}" for b in bundles]),
    ]
    rows = (
        f"<tr><td>{escape(title)}</td>" + "".join(f'<td class="n">{value}</td>' for value in values) + "</tr>"
        for title, values in figures
    )
    note = f"<p class='quiet'>{escape(cost['sentence'])} Medians of {len(bundles[0]['runs'])} runs in turn, {cost['machine']['threads']} threads.</p>"
    return note + table(["", *(b["bundle"] for b in bundles)], rows) + _cost_against_quality(made, bundles)


def _cost_against_quality(made: Report, bundles: list[Any]) -> str:
    names = [b.name for b in made.bundles if not b.again]
    size = bundles[0]["graph_mib"]
    points = []
    for name, bundle in zip(names, bundles, strict=True):
        at = next((k for k, c in enumerate(made.candidates) if c.name == name), None)
        lsd = find(made.candidates[at], "lsd_db") if at is not None else None
        if at is None or lsd:
            shown = svg.colour(at) if at is not None else "c0"
            points.append(
                (
                    name,
                    bundle["total"] / bundles[0]["total"],
                    lsd.change if lsd else 0.0,
                    bundle["graph_mib"] / size,
                    shown,
                )
            )
    axes = ("time to speak, of the baseline's", "log-spectral distance over the same codes, dB")
    return svg.scatter("Cost against quality; area: bytes", axes, points)


def _gate(made: Report) -> str:
    rows = (
        f"<tr><td>{escape(r.candidate)}</td><td><code>{escape(r.rule)}</code></td><td>{escape(r.found)}</td>"
        f'<td class="{"better" if r.passed else "worse"}">{"kept" if r.passed else "not kept"}</td></tr>'
        for r in made.gate
    )
    return table(["candidate", "threshold", "found", ""], rows, range(4)) if made.gate else ""


def _lines(made: Report) -> str:
    names = [b.name for b in made.bundles]
    rows = []
    for line in made.lines:
        cells = []
        for name in names:
            one = line.spoken[name]
            heard = escape(one.heard) if one.heard is not None else '<span class="worse">no sound</span>'
            note = f" {one.finish}" if one.finish != "stop" else ""
            found = f" {', '.join(one.findings)}" if one.findings else ""
            cells.append(
                f"<td>{heard}<br><small>{one.errors} of {one.words} wrong, {one.seconds:.2f} s{escape(note + found)}</small></td>"
            )
        about = f"{line.voice}, {line.emotion}, rate {line.rate:g}, seed {line.seed}"
        rows.append(
            f"<tr><td>{escape(line.text)}<br><small>{escape(about)}</small></td>{''.join(cells)}</tr>"
        )
    body = table(["what was asked for", *names], rows, range(1 + len(names)))
    return f"<details><summary>What was heard of {len(made.lines)} lines</summary>{body}</details>"


def _method(made: Report) -> str:
    rows = (
        f'<tr><td><code>{escape(name)}</code></td><td>{escape(m.title)}</td><td class="n">{margin(m)}</td><td>{escape(m.reason)}</td></tr>'
        for name, m in made.metrics.items()
    )
    absent = "".join(
        f"<li>{escape(c.name)}: {escape(made.metrics[name].title)}: {escape(why)}</li>"
        for c in made.candidates
        for name, why in c.absent.items()
    )
    left_out = (
        f"<details><summary>What was not measured</summary><ul>{absent}</ul></details>" if absent else ""
    )
    return (
        f"<p>{escape(made.criterion)} K = {made.judged}.</p><details><summary>Margins and their reasons</summary>"
        + table(["metric", "", "margin", "reason"], rows, (0, 1, 3))
        + f"</details>{left_out}"
    )


def _environment(made: Report) -> str:
    facts = {**made.environment, "tts-trt": made.tts_trt}
    rows = [
        f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in facts.items() if v is not None
    ]
    rows += [
        f"<tr><td>{escape(b.name)}</td><td>{escape(f'{b.precision}, {b.executor}, {b.graph_bytes / 1e6:.1f} MB')}<br>"
        f"<small>{escape(b.path)}, manifest {escape(b.manifest_sha256)}</small></td></tr>"
        for b in made.bundles
    ]
    settings = escape(json.dumps(made.settings))
    return f"<pre>{escape(made.command)}</pre>" + table(["", ""], rows, range(2)) + f"<pre>{settings}</pre>"
