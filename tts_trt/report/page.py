"""The report as one HTML page that loads nothing: style, plots and sounds are inside it."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from tts_trt.report import svg
from tts_trt.report.blocks import key, section, table
from tts_trt.report.cost_page import cost_section
from tts_trt.report.listen_page import listening
from tts_trt.report.markdown import margin, number, title_of
from tts_trt.report.positions import TITLES
from tts_trt.report.schema import CandidateReport, Report
from tts_trt.report.verdict_page import intervals, verdicts

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"


def page(made: Report, work: Path) -> str:
    """``work``: folder of the waves and pictures to embed; one that is gone is left out."""
    title = title_of(made)
    sections = (
        _head(made, title),
        section("Verdicts", verdicts(made)),
        section("Changes against their margins", intervals(made)),
        section("Where in the sentence", _positions(made)),
        section("Which part", _parts(made)),
        section("Listen", listening(made, work)),
        section("Cost", cost_section(made)),
        section("Thresholds", _gate(made)),
        section("Every line", _lines(made)),
        section("How it was decided", _method(made)),
        section("Environment", _environment(made)),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text()}</style></head><body>\n"
        + "\n".join(part for part in sections if part)
        + "\n</body></html>\n"
    )


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
        if not candidate.parts or candidate.again:  # its parts are the baseline's own
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
