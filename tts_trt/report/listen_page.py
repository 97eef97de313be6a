"""Players side by side: the worst lines and some as they come."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from tts_trt.report import svg
from tts_trt.report.picture import BRIGHTEST_DB
from tts_trt.report.schema import Example, Report

BIGGEST = 4_000_000
"""Bytes of one sound or picture; larger ones would make the page unwieldy and are left in the work folder."""


def listening(made: Report, work: Path) -> str:
    same = [_take(made, e, work) for e in made.examples if e.same_codes]
    free = [_take(made, e, work) for e in made.examples if not e.same_codes]
    parts = []
    if same:
        parts.append("<h3>The same codes and noise: the arithmetic alone</h3>" + "".join(same))
    if free:
        parts.append("<h3>Everybody on their own</h3>" + "".join(free))
    return "".join(parts)


def embedded(path: Path, kind: str) -> str | None:
    """As a data address; None for a file that is gone or too big."""
    try:
        body = path.read_bytes()
    except OSError:
        return None
    return f"data:{kind};base64,{base64.b64encode(body).decode()}" if len(body) <= BIGGEST else None


def _take(made: Report, example: Example, work: Path) -> str:
    line = made.lines[example.line]
    about = f"{line.voice}, {line.emotion}, rate {line.rate:g}, seed {line.seed}; {example.why}"
    players = []
    for bundle in made.bundles:
        if not (name := example.waves.get(bundle.name)):
            continue
        source = embedded(work / "waves" / name, "audio/flac")
        sound = (
            f'<audio controls preload="none" src="{source}"></audio>' if source else "<small>not kept</small>"
        )
        players.append(
            f"<div>{_swatch(made, bundle.name)}{escape(bundle.name)}{_heard(made, example, bundle.name)}{sound}</div>"
        )
    pictures = [
        svg.picture(f"{name}: mel difference, dark 0, light {BRIGHTEST_DB:g} dB", source)
        for name, file in example.pictures.items()
        if (source := embedded(work / "mels" / file, "image/png"))
    ]
    return (
        f'<div class="take"><div class="said">{escape(line.text)}</div><small>{escape(about)}</small>'
        f'<div class="voices">{"".join(players)}</div><div class="voices">{"".join(pictures)}</div></div>'
    )


def _heard(made: Report, example: Example, bundle: str) -> str:
    spoken = made.lines[example.line].spoken.get(bundle)
    if example.same_codes or spoken is None or spoken.heard is None:
        return ""
    return f"<br><small>heard: {escape(spoken.heard) or 'nothing'}</small>"


def _swatch(made: Report, bundle: str) -> str:
    at = next((k for k, c in enumerate(made.candidates) if c.name == bundle), None)
    return f'<span class="swatch {svg.colour(at) if at is not None else "c0"}"></span>'
