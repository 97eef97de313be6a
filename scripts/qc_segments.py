"""Clean speech to judge by: held-out sentences through an FP32 bundle, two and two in one voice, emotion and rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from tts_trt.errors import SynthesisError, UsageError
from tts_trt.frontend.text import normalise
from tts_trt.quality.forced import Pass, Teacher
from tts_trt.quality.qc import SpeechSegment
from tts_trt.report.lines import RATES, Line, read_texts
from tts_trt.runtime.bundle import OpenBundle

HALVES = ("thresholds", "rates")
"""Sentences are shared out: what limits are derived from is not what they are tried on."""


@dataclass(frozen=True)
class Spoken:
    line: Line
    made: Pass
    segment: SpeechSegment


def lines(
    texts: Sequence[str], voices: Sequence[str], emotions: Sequence[str], seed: int
) -> Iterator[list[Line]]:
    """Pairs of lines without end: all voices in turn, then all emotions; texts in seeded orders, one after the other."""
    if len(texts) < 2:
        raise UsageError(f"{len(texts)} sentences, expected at least 2")
    generator = np.random.default_rng(seed)
    queue: list[str] = []
    for n in count():
        voice, emotion = voices[n % len(voices)], emotions[n // len(voices) % len(emotions)]
        rate = round(float(generator.uniform(*RATES)), 4)
        if len(queue) < 2:
            queue += [texts[i] for i in generator.permutation(len(texts))]
        yield [Line(queue.pop(0), voice, emotion, rate, seed + 2 * n + k) for k in (0, 1)]


def half(texts: Sequence[str], which: str) -> list[str]:
    return list(texts[HALVES.index(which) :: 2])


def spoken_segment(bundle: OpenBundle, line: Line, made: Pass, text: str = "") -> SpeechSegment:
    """``text``: what the segment was to say, where that is not the line's."""
    return SpeechSegment(
        made.wave_S,
        bundle.dims.audio.sample_rate,
        text or line.text,
        made.codes_M,
        bundle.tokenizer.natural_seconds(normalise(text or line.text)) / line.rate,
        f"{line.voice}/{line.emotion}",
    )


def speak(
    bundle: OpenBundle, teacher: Teacher, texts: Path, which: str, wanted: int, seed: int
) -> Iterator[list[Spoken]]:
    """Pairs of segments, ``wanted`` segments or one more. Sentences that could not be spoken are left out."""
    made = 0
    shared = half(read_texts(texts), which)
    for pair in lines(shared, list(bundle.voices), bundle.dims.acted, seed):
        spoken = []
        for line in pair:
            try:
                found = teacher.free(line.request(bundle.dims))
            except SynthesisError:
                continue
            spoken.append(Spoken(line, found, spoken_segment(bundle, line, found)))
        made += len(spoken)
        yield spoken
        if made >= wanted:
            return
