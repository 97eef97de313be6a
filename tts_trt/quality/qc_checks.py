"""The checks by name: what is measured, on which side of its limit it fails, and how far from clean speech the limit is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tts_trt.errors import UsageError
from tts_trt.quality import qc_levels, qc_repetition, qc_sound
from tts_trt.quality.qc_signal import Measured, Signal, SpeechSegment

Severity = Literal["fail", "warn"]
Measure = Callable[[Signal, SpeechSegment], Measured | None]


SHORTEST_SECONDS = 0.1
SILENT_DB = -60.0  # dBFS
FULL_SCALE = 1.0


@dataclass(frozen=True)
class Finding:
    """A check that failed, and where: seconds into the segment, or into the whole where joins were checked."""

    check: str
    value: float
    limit: float
    start: float
    end: float
    severity: Severity = "fail"
    unit: str = ""
    segment: int = 0  # in the performance

    def __str__(self) -> str:
        return (
            f"{self.check} {self.value:.3g} {self.unit}".rstrip()
            + f", limit {self.limit:.3g}, at {self.start:.2f} to {self.end:.2f} s"
        )


@dataclass(frozen=True)
class Check:
    """How far beyond the edge of clean speech its limit is: ``margin`` times the way from the middle to the edge, wide
    where faults are far from anything clean, and never less than ``least``, which nobody would hear."""

    measure: Measure
    fails: Literal["above", "below"]
    unit: str
    margin: float
    least: float
    own: bool = False  # compared with the middle of the same voice, where that is known
    severity: Severity = "fail"

    @property
    def sign(self) -> int:
        """1 where more is worse."""
        return 1 if self.fails == "above" else -1


CHECKS: dict[str, Check] = {
    "offset": Check(qc_sound.offset, "above", "of full scale", 1.0, 0.002),
    "clipping": Check(qc_sound.clipping, "above", "per mille", 3.0, 0.3),
    "click": Check(qc_sound.click, "above", "dB", 1.0, 1.0),
    "hiss": Check(qc_sound.hiss, "above", "dB", 1.5, 2.0, own=True),
    "grain": Check(qc_sound.grain, "above", "dB", 1.0, 2.0, own=True),
    "tilt": Check(qc_sound.tilt, "above", "dB", 0.5, 2.0, own=True, severity="warn"),
    "sudden_silence": Check(qc_levels.sudden_silence, "above", "dB in 10 ms", 0.4, 2.0),
    "sudden_onset": Check(qc_levels.sudden_onset, "above", "dB in 10 ms", 0.4, 2.0),
    "dropout": Check(qc_levels.dropout, "above", "dB in 10 ms", 0.5, 2.0),
    "dead_air": Check(qc_levels.dead_air, "below", "dBFS", 1.0, 3.0),
    "leading_silence": Check(qc_levels.leading_silence, "above", "s", 2.0, 0.05),
    "trailing_silence": Check(qc_levels.trailing_silence, "above", "s", 2.0, 0.05),
    "loud_end": Check(qc_levels.loud_end, "above", "dB", 0.45, 2.0),
    "pause": Check(qc_levels.pause, "above", "s", 0.8, 0.05),
    "unasked_pause": Check(qc_levels.unasked_pause, "above", "s", 0.7, 0.05),
    "too_quiet": Check(qc_levels.loudness, "below", "dBFS", 1.0, 1.5, own=True),
    "too_loud": Check(qc_levels.loudness, "above", "dBFS", 1.0, 1.5, own=True),
    "level_drop": Check(qc_levels.level_drop, "below", "dB", 0.5, 1.0, own=True),
    "fading_end": Check(qc_levels.fading_end, "below", "dB", 0.5, 1.0, own=True),
    "too_fast": Check(qc_repetition.tempo, "above", "log2", 1.0, 0.1, own=True),
    "too_slow": Check(qc_repetition.tempo, "below", "log2", 1.0, 0.1, own=True),
    "repeated_sound": Check(qc_repetition.repeated_sound, "below", "dB", 0.25, 0.05),
    "repeated_codes": Check(qc_repetition.repeated_codes, "above", "codes", 1.2, 1.5),
    "held_code": Check(qc_repetition.held_code, "above", "s", 1.0, 0.08),
}

NEIGHBOURS: dict[str, Check] = {
    "level_jump": Check(qc_levels.loudness, "above", "dB", 0.5, 2.0),
    "tilt_jump": Check(qc_sound.tilt, "above", "dB", 0.5, 2.0),
}
"""How far two segments that follow each other may be apart."""


def broken(segment: SpeechSegment) -> list[Finding]:
    """What leaves nothing to measure: no samples, samples that are not numbers or beyond full scale, no sound."""
    wave_S = segment.wave_S
    if wave_S.ndim != 1 or segment.sample_rate <= 0:
        raise UsageError(
            f"a wave of shape {wave_S.shape} at {segment.sample_rate} Hz, expected (S) mono samples and their rate"
        )
    seconds = segment.seconds
    if seconds < SHORTEST_SECONDS:
        return [Finding("empty", seconds, SHORTEST_SECONDS, 0.0, seconds, unit="s")]
    bad = np.flatnonzero(~np.isfinite(wave_S))
    if len(bad):
        start, end = bad[0] / segment.sample_rate, (bad[-1] + 1) / segment.sample_rate
        return [Finding("not_finite", len(bad), 0, start, end, unit="samples")]
    deviation = float(np.std(wave_S, dtype=np.float64))  # a constant is silence too
    level = 20 * np.log10(max(deviation, 1e-6))
    if level < SILENT_DB:
        return [Finding("silent", level, SILENT_DB, 0.0, seconds, unit="dBFS")]
    over = np.flatnonzero(np.abs(wave_S) > FULL_SCALE)
    if len(over):
        start, end = over[0] / segment.sample_rate, (over[-1] + 1) / segment.sample_rate
        return [Finding("overload", float(np.abs(wave_S).max()), FULL_SCALE, start, end)]
    return []


def measure(signal: Signal, segment: SpeechSegment) -> dict[str, Measured]:
    """Check name -> what it measures, where there is anything to measure."""
    known: dict[Measure, Measured | None] = {}
    for check in CHECKS.values():
        if check.measure not in known:
            known[check.measure] = check.measure(signal, segment)
    found = {name: known[check.measure] for name, check in CHECKS.items()}
    return {name: value for name, value in found.items() if value is not None}
