"""Quality control of synthesised segments: what is wrong with the sound, where, and whether it may leave.

    limits = shipped_thresholds("nano")
    verdict = check_segment(SpeechSegment(wave, 16_000, text, codes, expected_seconds, "slt/calm"), limits)

Milliseconds a segment: levels, spectra and codes, no recogniser. One may be plugged in with ``WordCheck``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tts_trt.errors import UsageError
from tts_trt.quality.qc_checks import CHECKS, NEIGHBOURS, Check, Finding, broken, measure
from tts_trt.quality.qc_signal import FloatArray, Measured, Signal, SpeechSegment
from tts_trt.quality.qc_sound import BLOCK_SECONDS, click_at, standing_out
from tts_trt.quality.qc_thresholds import Limit, Thresholds, load_thresholds, shipped_thresholds
from tts_trt.quality.speech import Hear, word_errors

__all__ = [
    "Finding",
    "SpeechSegment",
    "Thresholds",
    "Verdict",
    "WordCheck",
    "check_joins",
    "check_neighbours",
    "check_segment",
    "load_thresholds",
    "shipped_thresholds",
]

JOIN_SECONDS = 0.005  # either side of a join


@dataclass(frozen=True)
class Verdict:
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Nothing found but what merely deserves a look."""
        return all(finding.severity != "fail" for finding in self.findings)


@dataclass(frozen=True)
class WordCheck:
    """A recogniser that listens, and the word error rate above which a segment fails. Takes as long as it takes."""

    hear: Hear
    limit: float = 0.5

    def findings(self, segment: SpeechSegment) -> list[Finding]:
        heard = self.hear(segment.wave_S, segment.sample_rate)
        rate = word_errors(segment.text, heard).rate
        return (
            [Finding("words", rate, self.limit, 0.0, segment.seconds, unit="WER")]
            if rate > self.limit
            else []
        )


def check_segment(segment: SpeechSegment, limits: Thresholds, words: WordCheck | None = None) -> Verdict:
    """UsageError for a wave that is not mono; every other fault is a finding."""
    if faults := broken(segment):
        return Verdict(tuple(faults))
    values = measure(Signal(segment.wave_S, segment.sample_rate), segment)
    found = [
        _judge(name, CHECKS[name], value, limits.limits[name], segment.voice)
        for name, value in values.items()
    ]
    heard = words.findings(segment) if words else []
    return Verdict((*(finding for finding in found if finding is not None), *heard))


def check_neighbours(segments: Sequence[SpeechSegment], limits: Thresholds) -> list[Finding]:
    """Jumps of level and of brightness from each segment of a performance to the next, found in the later one.

    Segments without sound have no neighbours; ``check_segment`` finds them.
    """
    sound = [(i, s, Signal(s.wave_S, s.sample_rate)) for i, s in enumerate(segments) if not broken(s)]
    found = []
    for (i, before, quiet), (j, after, loud) in pairwise(sound):
        for name, check in NEIGHBOURS.items():
            values = (check.measure(quiet, before), check.measure(loud, after))
            limit = limits.neighbours[name]
            if j != i + 1 or limit is None or values[0] is None or values[1] is None:
                continue
            jump = abs(values[1].value - values[0].value)
            if jump > limit.limit:
                found.append(
                    Finding(
                        name, jump, limit.limit, 0.0, after.seconds, check.severity, check.unit, segment=j
                    )
                )
    return found


def check_joins(
    wave_S: FloatArray, sample_rate: int, joins: Sequence[int], limits: Thresholds
) -> list[Finding]:
    """Clicks where parts meet. ``joins`` are first samples of a part; times of findings are those of the whole wave.

    UsageError for joins outside the wave or a wave with samples that are not numbers.
    """
    limit = limits.limits["click"]
    if odd := [join for join in joins if not 0 < join < len(wave_S)]:
        raise UsageError(f"joins at {odd} in a wave of {len(wave_S)} samples, expected them inside")
    if not np.isfinite(wave_S).all():
        raise UsageError("the wave has samples that are not numbers", hint="check its segments first")
    if limit is None or not joins:
        return []
    signal = Signal(wave_S, sample_rate)
    ratio_N = standing_out(signal)
    size, reach = round(BLOCK_SECONDS * sample_rate), round(JOIN_SECONDS / BLOCK_SECONDS)
    found = []
    for i, join in enumerate(joins):
        first = max(min(join // size, len(ratio_N) - 1) - reach, 0)
        block = first + int(ratio_N[first : first + 2 * reach + 1].argmax())
        finding = _judge("click", CHECKS["click"], click_at(signal, ratio_N, block), limit, "")
        if finding is not None:
            found.append(replace(finding, segment=i + 1))
    return found


def _judge(name: str, check: Check, found: Measured, limit: Limit | None, voice: str) -> Finding | None:
    if limit is None:
        return None
    edge = limit.of(voice)
    if check.sign * (found.value - edge) <= 0:
        return None
    return Finding(name, found.value, edge, found.start, found.end, check.severity, check.unit)
