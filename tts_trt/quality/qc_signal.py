"""What every check of a segment looks at: its levels, its spectrum and where it speaks, computed once.

S samples, F level frames (10 ms every 2.5 ms), T spectrum frames (30 ms every 5 ms), K bins, M codes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tts_trt.frontend.features import slaney_filters

FloatArray = NDArray[np.float32]
Floats = NDArray[np.float64]

HOP_SECONDS, LEVEL_SECONDS = 0.0025, 0.01
STEP_SECONDS, WINDOW_SECONDS = 0.005, 0.03
BANDS = 40
HIGH_HZ = 4000.0
LOUD_SHARE = 0.95  # the level of speech is that of its loud frames
SPEAKING_DB = -26.0  # below it a frame is a consonant at most
LOWEST_DB = -120.0  # dBFS
POWER_FLOOR = 10 ** (LOWEST_DB / 10)


@dataclass(frozen=True)
class Measured:
    """A number and the seconds of the segment it was found in."""

    value: float
    start: float
    end: float


@dataclass(frozen=True)
class SpeechSegment:
    """One synthesised segment and what was asked for."""

    wave_S: FloatArray  # mono
    sample_rate: int  # Hz
    text: str
    codes_M: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    expected_seconds: float | None = None  # natural length of the text at the rate asked for
    voice: str = ""  # who speaks, and how: segments of one name are alike, such as "anna" or "anna/sad"

    @property
    def seconds(self) -> float:
        return len(self.wave_S) / self.sample_rate


class Signal:
    """Analysis of a finite wave that is long enough to hold speech. Levels in dB relative to full scale."""

    def __init__(self, wave_S: FloatArray, rate: int) -> None:
        self.wave_S: Floats = np.asarray(wave_S, np.float64)
        self.rate = rate
        self.hop, self.step = round(HOP_SECONDS * rate), round(STEP_SECONDS * rate)

    @cached_property
    def level_F(self) -> Floats:
        """Of the 10 ms around each frame."""
        size = round(LEVEL_SECONDS * self.rate)
        padded = np.pad(self.wave_S, (size // 2, size - size // 2))
        total = np.concatenate([[0.0], np.cumsum(padded**2)])
        power = (total[size :: self.hop] - total[: len(total) - size : self.hop]) / size
        level_F: Floats = 10 * np.log10(np.maximum(power[: 1 + len(self.wave_S) // self.hop], POWER_FLOOR))
        return level_F

    @cached_property
    def speech_db(self) -> float:
        return float(np.quantile(self.level_F, LOUD_SHARE))

    @cached_property
    def span(self) -> tuple[int, int]:
        """First and last speaking frame."""
        frames = np.flatnonzero(self.level_F > self.speech_db + SPEAKING_DB)
        return int(frames[0]), int(frames[-1])

    @cached_property
    def gaps(self) -> list[tuple[int, int]]:
        """Silent frames inside the speech, first and end of each stretch, in time order."""
        first, last = self.span
        quiet = np.concatenate([[False], self.level_F[first:last] < self.speech_db + SPEAKING_DB, [False]])
        edges = (np.flatnonzero(np.diff(quiet.astype(np.int8))) + first).reshape(-1, 2)
        return [(int(start), int(end)) for start, end in edges]

    @cached_property
    def power_KT(self) -> Floats:
        """Hann-windowed power spectrum."""
        size = round(WINDOW_SECONDS * self.rate)
        padded = np.pad(self.wave_S, (size // 2, size))
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: self.step]
        frames = frames[: 1 + len(self.wave_S) // self.step]
        spectrum = np.fft.rfft(frames * np.hanning(size))
        power_TK: Floats = (spectrum.real**2 + spectrum.imag**2) / (size**2 * 3 / 16)
        return power_TK.T

    @cached_property
    def mel_bT(self) -> Floats:
        """Level of mel bands, (BANDS,T)."""
        power_bT = _filters(self.rate, round(WINDOW_SECONDS * self.rate)) @ self.power_KT
        mel_bT: Floats = 10 * np.log10(power_bT + POWER_FLOOR)
        return mel_bT

    @cached_property
    def low_high_T(self) -> tuple[Floats, Floats]:
        """Power below and above 4 kHz."""
        split = round(HIGH_HZ * WINDOW_SECONDS)
        return self.power_KT[1:split].sum(0), self.power_KT[split:].sum(0)

    def time(self, frame: int) -> float:
        """Seconds of a level frame."""
        return frame * self.hop / self.rate

    def step_time(self, frame: int) -> float:
        """Seconds of a spectrum frame."""
        return frame * self.step / self.rate

    def whole(self, value: float) -> Measured:
        """Of the segment as a whole."""
        return Measured(value, 0.0, len(self.wave_S) / self.rate)


@lru_cache
def _filters(rate: int, size: int) -> Floats:
    filters = np.asarray(slaney_filters(rate, size, BANDS), np.float64)
    unit: Floats = filters / np.maximum(filters.sum(1, keepdims=True), 1e-12)
    return unit
