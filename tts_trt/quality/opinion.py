"""What listening tests would say, predicted: PESQ and STOI against a baseline, and a MOS predictor of one's own.

None of them was made for synthetic speech: PESQ was fitted to telephone codecs, STOI to noisy and processed speech.
Compare differences between engines, not values with other papers'. S samples.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.quality.frames import Wave, checked, checked_pair, decibels
from tts_trt.quality.levels import SILENT_DBFS
from tts_trt.quality.speech import INSTALL, resampled

PESQ_RATE = 16_000  # Hz, of the wideband mode
PESQ_SHORTEST_S = 0.3
Predict = Callable[[NDArray[np.float32], int], float]
"""Samples (S) float32 in [-1, 1] and their rate in Hz -> mean opinion score, 1 to 5."""


@dataclass(frozen=True)
class Opinion:
    """A score, or None with the reason why there is none."""

    value: float | None
    reason: str = ""


def pesq(baseline_S: Wave, candidate_S: Wave, rate: int) -> Opinion:
    """Wideband PESQ as MOS-LQO, 1.04 (bad) to 4.64 (no difference) (ITU-T P.862.2), at 16 kHz.

    Levels are evened out by the measure itself. No value without the package, and where either wave is silent or holds
    no utterance. UsageError as ``checked_pair``, below 0.3 s too.
    """
    waves = checked_pair(baseline_S, candidate_S, rate, PESQ_SHORTEST_S)
    if reason := _silent(*waves):
        return Opinion(None, reason)
    try:
        import pesq as package
    except ImportError:
        return Opinion(None, "pesq is not installed: pip install pesq (it needs a C compiler)")
    reference, degraded = (resampled(x.astype(np.float32), rate, PESQ_RATE) for x in waves)
    try:
        return Opinion(float(package.pesq(PESQ_RATE, reference, degraded, "wb")))
    except package.NoUtterancesError:
        return Opinion(None, "no utterance was found")


def stoi(baseline_S: Wave, candidate_S: Wave, rate: int, *, extended: bool = False) -> Opinion:
    """Short-time objective intelligibility, 0 to 1 (no difference) (Taal et al. 2011), at 10 kHz: it hears nothing above
    5 kHz. ``extended``: ESTOI (Jensen and Taal 2016).

    No value without the package, and where the baseline has less than about 0.4 s within 40 dB of its loudest frame.
    UsageError as ``checked_pair``.
    """
    waves = checked_pair(baseline_S, candidate_S, rate)
    if reason := _silent(*waves):
        return Opinion(None, reason)
    try:
        import pystoi
    except ImportError:
        return Opinion(None, f"pystoi is not installed: {INSTALL}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return Opinion(float(pystoi.stoi(*waves, rate, extended=extended)))
        except RuntimeWarning:
            return Opinion(None, "less than 0.4 s of the baseline is loud enough")


@dataclass(frozen=True)
class Predictor:
    """A MOS predictor that needs no baseline, by name."""

    name: str
    predict: Predict

    @classmethod
    def named(cls, name: str) -> Predictor:
        """``module:function``, a ``Predict``. UsageError for another form, a module that cannot be imported, or what is
        not callable."""
        module, _, attribute = name.partition(":")
        hint = "name module:function, with a module that Python finds"
        if not module or not attribute:
            raise UsageError(f"no MOS predictor {name!r}", hint=hint)
        try:
            found: Any = getattr(importlib.import_module(module), attribute, None)
        except ImportError as error:
            raise UsageError(f"the MOS predictor {name!r} cannot be imported: {error}", hint=hint) from error
        if not callable(found):
            raise UsageError(f"{module} has no function {attribute!r} to predict opinions with", hint=hint)
        return cls(name, found)

    def __call__(self, wave_S: Wave, rate: int) -> Opinion:
        """No value for silence, or where the predictor gives no number from 1 to 5. UsageError as ``checked``."""
        samples_S = checked(wave_S, rate)
        if reason := _silent(samples_S):
            return Opinion(None, reason)
        score = float(self.predict(samples_S.astype(np.float32), rate))
        if not (math.isfinite(score) and 1 <= score <= 5):
            return Opinion(None, f"{self.name} gave {score:g}, expected 1 to 5")
        return Opinion(score)


def _silent(*waves: NDArray[np.float64]) -> str:
    """Why there can be no opinion, or nothing."""
    quietest = min(decibels(float(wave.var())) for wave in waves)
    return f"silence: {quietest:.0f} dBFS" if quietest < SILENT_DBFS else ""
