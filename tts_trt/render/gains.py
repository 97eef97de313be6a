"""How loud every passage is made: chapters alike, passages within a chapter nearly so.

Loudness in LUFS (BS.1770); a passage is moved towards its chapter by a few dB at most, so that a whisper stays one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.policy import Loudness
from tts_trt.quality.levels import BLOCK_S, loudness_lufs

LOWEST_PEAK = 1e-6


@dataclass(frozen=True)
class Heard:
    """What the level of a passage is decided by."""

    seconds: float
    lufs: float | None  # None: too short, or too faint
    peak: float


def heard(wave_S: NDArray[np.float32], rate: int) -> Heard:
    seconds = len(wave_S) / rate
    lufs = loudness_lufs(wave_S, rate) if seconds > BLOCK_S else None
    return Heard(seconds, lufs, float(np.abs(wave_S).max(initial=0.0)))


def gains_db(chapter: Sequence[Heard], wanted: Loudness) -> list[float]:
    """Of each passage of a chapter: what brings the chapter to its loudness, what brings the passage near the chapter, less
    where its peak would be too high."""
    middle = loudness_of(chapter)
    made = []
    for one in chapter:
        own = 0.0
        if one.lufs is not None and middle is not None:
            own = min(max(middle - one.lufs, -wanted.segment_db), wanted.segment_db)
        gain = own + (wanted.target_lufs - middle if middle is not None else 0.0)
        room = wanted.peak_dbfs - 20 * math.log10(max(one.peak, LOWEST_PEAK))
        made.append(min(gain, room))
    return made


def loudness_of(chapter: Sequence[Heard]) -> float | None:
    """The mean power of the passages, which are all speech, so that none is gated. None where none has a loudness."""
    known = [(one.seconds, 10 ** (one.lufs / 10)) for one in chapter if one.lufs is not None]
    if not known:
        return None
    return 10 * math.log10(sum(s * power for s, power in known) / sum(s for s, _ in known))
