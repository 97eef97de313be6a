"""Plots as SVG text. Colours are CSS classes of the page: c0 the baseline, c1, c2, ... the candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from tts_trt.report.schema import Point

Named = Mapping[str, Sequence[Point]]
WIDTH, HEIGHT = 330, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 26, 30
COLOURS = 5
LOG_SPAN = 20.0
"""Values that differ by more than this factor are drawn on a logarithmic axis."""


def colour(index: int) -> str:
    return f"c{1 + index % COLOURS}"


def frame(width: float, height: float, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'style="max-width:{width:g}px">{body}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def by_position(title: str, series: Named) -> str:
    """Means by part of the utterance with their intervals, one line a candidate."""
    values = [v for points in series.values() for p in points for v in (p.low, p.mean, p.high)]
    scale = Scale.of(values, HEIGHT - BOTTOM, TOP)
    parts = max(len(points) for points in series.values())
    xs = np.linspace(LEFT + 24, WIDTH - RIGHT - 24, parts)
    body = [text(LEFT - 40, 14, title, kind="title")]
    for value in scale.ticks():
        y = scale(value)
        body.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        body.append(text(LEFT - 6, y + 4, f"{value:g}", "end"))
    for k, x in enumerate(xs):
        body.append(text(x, HEIGHT - 12, f"{k + 1}", "middle"))
    body.append(text(WIDTH - RIGHT, HEIGHT - 1, "fifth of the sentence", "end", "quiet"))
    for index, points in enumerate(series.values()):
        shift = 4 * (index - (len(series) - 1) / 2)
        places = [(x + shift, scale(p.mean)) for x, p in zip(xs, points, strict=False)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<polyline points="{line}" class="line {colour(index)}"/>')
        for (x, y), p in zip(places, points, strict=True):
            body.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{scale(p.low):.1f}" y2="{scale(p.high):.1f}" '
                f'class="bar {colour(index)}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="dot {colour(index)}"/>'
            )
    return frame(WIDTH, HEIGHT, title, "".join(body))


class Scale:
    """Values to pixels, linear from 0 or logarithmic."""

    def __init__(self, low: float, high: float, at_low: float, at_high: float, log: bool) -> None:
        self.low, self.high, self.log = low, high, log
        self._from, self._to = at_low, at_high

    @classmethod
    def of(cls, values: Sequence[float], at_low: float, at_high: float) -> Scale:
        above = [value for value in values if value > 0]
        if len(above) == len(values) and above and max(above) > LOG_SPAN * min(above):
            decades = np.floor(np.log10(min(above))), np.ceil(np.log10(max(above)))
            return cls(float(10 ** decades[0]), float(10 ** decades[1]), at_low, at_high, True)
        low, high = min([0.0, *values]), max([0.0, *values])
        return cls(low, high if high > low else low + 1, at_low, at_high, False)

    def __call__(self, value: float) -> float:
        if self.log:
            share = np.log(max(value, self.low) / self.low) / np.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return float(self._from + (self._to - self._from) * np.clip(share, 0, 1))

    def ticks(self) -> list[float]:
        if self.log:
            first, last = round(np.log10(self.low)), round(np.log10(self.high))
            step = max(1, (last - first) // 4)
            return [10.0**k for k in range(first, last + 1, step)]
        raw = (self.high - self.low) / 4
        power = 10 ** np.floor(np.log10(raw))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw)
        first = int(np.ceil(self.low / step))
        return [float(step * k) for k in range(first, int(np.floor(self.high / step)) + 1)]


ROW, NAMES, FIELD, EDGE = 22, 300, 460, 3.0


def intervals(rows: Sequence[tuple[str, Sequence[tuple[int, float, float, float]]]]) -> str:
    """A row per metric, (candidate, change, low, high) each in margins towards worse: between the lines is equal. What lies
    beyond three margins is drawn at the edge, as an arrow."""
    height, width = 54 + ROW * len(rows), NAMES + FIELD + 30

    def at(value: float) -> float:
        return NAMES + FIELD * (min(max(value, -EDGE), EDGE) + EDGE) / (2 * EDGE)

    body = [
        f'<rect x="{at(-1):.1f}" y="26" width="{at(1) - at(-1):.1f}" height="{ROW * len(rows) + 4}" class="band"/>',
        f'<line x1="{at(0):.1f}" x2="{at(0):.1f}" y1="26" y2="{30 + ROW * len(rows)}" class="axis"/>',
        text(at(0), 18, "no difference", "middle", "quiet"),
        text(at(2), 18, "worse", "middle", "quiet"),
        text(at(-2), 18, "better", "middle", "quiet"),
    ]
    for n, (title, found) in enumerate(rows):
        middle = 28 + ROW * (n + 0.5)
        body.append(text(NAMES - 12, middle + 4, title, "end"))
        for index, change, low, high in found:
            y = middle + 5 * (index - (len(found) - 1) / 2)
            body.append(
                f'<line x1="{at(low):.1f}" x2="{at(high):.1f}" y1="{y:.1f}" y2="{y:.1f}" class="bar {colour(index)}"/>'
            )
            body.append(_mark(at(change), y, change, index))
    for value in range(-3, 4):
        body.append(text(at(value), height - 8, f"{value:+d}" if value else "0", "middle"))
    return frame(width, height, "changes in units of their margins", "".join(body))


def _mark(x: float, y: float, value: float, index: int) -> str:
    if abs(value) <= EDGE:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" class="dot {colour(index)}"/>'
    way = 1 if value > 0 else -1
    points = f"{x - 3 * way:.1f},{y - 4:.1f} {x + 4 * way:.1f},{y:.1f} {x - 3 * way:.1f},{y + 4:.1f}"
    return f'<polygon points="{points}" class="dot {colour(index)}"/>'


def scatter(title: str, axes: tuple[str, str], points: Sequence[tuple[str, float, float, float, str]]) -> str:
    """(name, x, y, share of bytes, colour class): a dot a bundle, its area the bytes."""
    width, height = 460, 260
    across = Scale.of([0.0, *(p[1] for p in points)], LEFT + 130, width - 40)
    up = Scale.of([0.0, *(1.25 * p[2] for p in points)], height - 56, TOP + 20)
    body = [text(LEFT - 40, 14, title, kind="title"), text(LEFT - 40, 30, axes[1], kind="quiet")]
    for value in up.ticks():
        body.append(
            f'<line x1="{LEFT}" x2="{width - 20}" y1="{up(value):.1f}" y2="{up(value):.1f}" class="grid"/>'
        )
        body.append(text(LEFT - 6, up(value) + 4, f"{value:g}", "end"))
    for value in across.ticks():
        body.append(text(across(value), height - 26, f"{value:g}", "middle"))
    body.append(text(width - 20, height - 8, axes[0], "end", "quiet"))
    for name, x, y, share, kind in points:
        radius = 11 * float(np.sqrt(max(share, 0.02)))
        body.append(
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="{radius:.1f}" class="dot soft {kind}"/>'
        )
        body.append(text(across(x) - radius - 5, up(y) + 4, name, "end"))
    return frame(width, height, title, "".join(body))


def picture(title: str, source: str) -> str:
    """A heat map, time to the right and frequency upwards; the picture's own pixels are frames and bands."""
    width, height = 640, 190
    body = (
        text(0, 14, title, kind="title")
        + f'<image href="{source}" x="30" y="24" width="{width - 34}" height="{height - 46}" preserveAspectRatio="none" '
        'class="pixels"/>'
        + text(30, height - 6, "start")
        + text(width - 4, height - 6, "end", "end")
        + text(26, height - 24, "low", "end", "quiet")
        + text(26, 34, "high", "end", "quiet")
    )
    return frame(width, height, title, body)
