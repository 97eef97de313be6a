"""Time and memory side by side, and what they buy."""

from __future__ import annotations

from html import escape
from typing import Any

from tts_trt.report import svg
from tts_trt.report.blocks import table
from tts_trt.report.markdown import find
from tts_trt.report.schema import Report


def cost_section(made: Report) -> str:
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
    note = f"<p class='quiet'>{escape(cost['sentence'])} Medians of {len(bundles[0]['runs'])} runs in turn, threads: {cost['machine']['threads']}. Manifests do not say how long a build took.</p>"
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
