"""Rendered segments to one wave: where each stands, how loud it is made, where chapters start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from tts_trt.policy import Loudness
from tts_trt.quality.qc import SpeechSegment, Thresholds, check_neighbours
from tts_trt.render.audiobook import Rendered, Segment
from tts_trt.render.book import Book
from tts_trt.render.gains import gains_db
from tts_trt.render.sound import Mark
from tts_trt.render.timeline import Part


@dataclass(frozen=True)
class Placed:
    segment: Segment
    rendered: Rendered
    start: int  # sample
    gain_db: float

    @property
    def end(self) -> int:
        return self.start + self.rendered.samples

    def load(self) -> NDArray[np.float32]:
        return self.rendered.load() * np.float32(10 ** (self.gain_db / 20))

    @property
    def part(self) -> Part:
        return Part(self.start, self.rendered.samples, self.load)


def place(
    segments: Sequence[Segment], rendered: Sequence[Rendered], wanted: Loudness, rate: int
) -> list[Placed]:
    """In order, each after the pause of the one before."""
    pairs = list(zip(segments, rendered, strict=True))
    gains = [
        gain
        for _, chapter in groupby(pairs, key=lambda pair: pair[0].chapter)
        for gain in gains_db([one.heard for _, one in chapter], wanted)
    ]
    made, at = [], 0
    for (segment, one), gain in zip(pairs, gains, strict=True):
        made.append(Placed(segment, one, at, gain))
        at = made[-1].end + round(segment.pause * rate)
    return made


def length(placed: Sequence[Placed], rate: int) -> int:
    """Samples, the last pause included."""
    return placed[-1].end + round(placed[-1].segment.pause * rate)


def marks(book: Book, placed: Sequence[Placed]) -> list[Mark]:
    """Where each chapter starts."""
    firsts = {number: next(group) for number, group in groupby(placed, key=lambda one: one.segment.chapter)}
    return [
        Mark(firsts[number].start, chapter.title or f"Chapter {number + 1}")
        for number, chapter in enumerate(book.chapters)
    ]


def jumps(placed: Sequence[Placed], rate: int, limits: Thresholds | None) -> dict[int, list[str]]:
    """Index of a segment -> how it differs from the one before it in the same chapter beyond what is usual."""
    found: dict[int, list[str]] = {}
    if limits is None:
        return found
    for i, (before, after) in enumerate(pairwise(placed), 1):
        if before.segment.chapter != after.segment.chapter:
            continue
        pair = [SpeechSegment(one.load(), rate, one.segment.text) for one in (before, after)]
        if findings := check_neighbours(pair, limits):
            found[i] = [str(one) for one in findings]
    return found
