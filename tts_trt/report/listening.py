"""What is found in one wave alone: the words heard, its levels, pauses, ending and codes.

S samples, M codes. These functions run in processes of their own and get everything by value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tts_trt.quality.catalogue import Found, of_codes, of_wave
from tts_trt.quality.frames import SHORTEST_S
from tts_trt.quality.opinion import Predictor
from tts_trt.quality.prosody import pitch_track
from tts_trt.quality.qc import SpeechSegment, Thresholds, check_segment
from tts_trt.quality.speech import Recogniser, word_errors, words_of
from tts_trt.report.journal import load_wave
from tts_trt.report.lines import Line


@dataclass(frozen=True)
class Ears:
    """Who listens: a recogniser and, where there is one, a predictor of opinions, by name."""

    recogniser: str
    opinion: str = ""


def listen(wave: Path, text: str, codes_M: list[int], ears: Ears) -> dict[str, Any]:
    """Everything about one wave, ready for JSON: words, and measures by their names in the catalogue."""
    wave_S, rate = load_wave(wave)
    heard = _recogniser(ears.recogniser).hear(wave_S, rate)
    errors = word_errors(text, heard)
    found = Found()
    if len(wave_S) >= SHORTEST_S * rate:
        found = of_wave(wave_S, rate, pitch_track(wave_S, rate))
    found.values |= of_codes(codes_M).values
    if ears.opinion:
        found.add("mos", lambda: _predictor(ears.opinion)(wave_S, rate))
    return {
        "text": heard,
        "errors": errors.errors,
        "words": errors.words,
        "last_word": words_of(text).split()[-1:] != words_of(heard).split()[-1:],
        "measures": finite(found.values),
        "reasons": found.reasons,
    }


def finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """What is no number was not measured."""
    return {name: None if x is None or not math.isfinite(x) else x for name, x in values.items()}


def findings(
    wave: Path, line: Line, codes_M: list[int], expected: float, limits: Thresholds
) -> list[dict[str, Any]]:
    """What quality control finds in one segment; ``expected``: its natural length in seconds at the rate asked for."""
    wave_S, rate = load_wave(wave)
    codes = np.array(codes_M, np.int64)
    segment = SpeechSegment(wave_S, rate, line.text, codes, expected, f"{line.voice}/{line.emotion}")
    return [
        {"check": f.check, "severity": f.severity, "words": str(f)}
        for f in check_segment(segment, limits).findings
    ]


@lru_cache(maxsize=2)
def _recogniser(name: str) -> Recogniser:
    return Recogniser.named(name)


@lru_cache(maxsize=2)
def _predictor(name: str) -> Predictor:
    return Predictor.named(name)
