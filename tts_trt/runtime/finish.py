"""The last hand on a wave: fades, joins, level, and the checks it must pass before it leaves.

S samples, mono float32 in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import SynthesisError

FloatArray = NDArray[np.float32]

FADE_SECONDS = 0.005
PEAK = 0.99
SILENCE_DBFS = -60.0  # RMS


def fade(wave_S: FloatArray, sample_rate: int, *, start: bool = True, end: bool = True) -> FloatArray:
    """Raised-cosine fades of 5 ms, so that a join with silence never clicks."""
    length = min(round(FADE_SECONDS * sample_rate), len(wave_S) // 2)
    ramp = (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))).astype(np.float32)
    faded = wave_S.copy()
    if start:
        faded[:length] *= ramp
    if end:
        faded[len(faded) - length :] *= ramp[::-1]
    return faded


def join(waves: Sequence[FloatArray], silence: int) -> FloatArray:
    """Segments with ``silence`` samples between them, none after the last."""
    gap = np.zeros(silence, np.float32)
    parts = [part for wave in waves for part in (gap, wave)]
    return np.concatenate(parts[1:])


def cross_fade(old_S: FloatArray, new_S: FloatArray) -> FloatArray:
    """``new_S`` with its beginning blended in over ``old_S``, which is at most as long. Linear: two takes of the
    same sound are correlated, so the level holds and a sum of samples within [-1, 1] stays there."""
    weight = (np.arange(len(old_S), dtype=np.float32) + 0.5) / max(len(old_S), 1)
    blended = new_S.copy()
    blended[: len(old_S)] = old_S * (1 - weight) + new_S[: len(old_S)] * weight
    return blended


def levelled(wave_S: FloatArray) -> FloatArray:
    """Scaled down to a peak of 0.99 where it is above, untouched otherwise."""
    peak = float(np.abs(wave_S).max(initial=0.0))
    return wave_S * np.float32(PEAK / peak) if peak > PEAK else wave_S


def check(wave_S: FloatArray, what: str) -> None:
    """SynthesisError for a wave that is empty, not finite or silent."""
    heard = Heard(what)
    heard.add(wave_S, last=True)


class Heard:
    """The same check over a wave that comes in parts."""

    def __init__(self, what: str) -> None:
        self._what, self._samples, self._power = what, 0, 0.0

    @property
    def nothing(self) -> bool:
        return self._samples == 0

    def add(self, wave_S: FloatArray, *, last: bool) -> None:
        """SynthesisError for samples that are not numbers, and with the last part for a wave that was silent."""
        if not np.isfinite(wave_S).all():
            raise SynthesisError(
                f"{self._what}: {np.count_nonzero(~np.isfinite(wave_S))} samples are not numbers"
            )
        self._samples += len(wave_S)
        self._power += float(np.sum(np.square(wave_S, dtype=np.float64)))
        rms = (self._power / max(self._samples, 1)) ** 0.5
        if last and rms < 10 ** (SILENCE_DBFS / 20):
            raise SynthesisError(
                f"{self._what} is silent: RMS {rms:.1e} over {self._samples} samples", hint="try another seed"
            )
