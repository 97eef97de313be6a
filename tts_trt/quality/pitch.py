"""Two pitch tracks side by side: how far the pitch strays and how often the voice comes and goes.

F frames of 10 ms; a track is F0 in Hz, 0 where unvoiced, as ``prosody.pitch_track`` gives it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tts_trt.errors import UsageError
from tts_trt.quality.frames import Floats

GROSS = 0.2  # of the baseline's F0


@dataclass(frozen=True)
class PitchErrors:
    """Of one pair. Pitch errors are None where no frame is voiced in both."""

    rmse_cents: float | None  # over frames voiced in both; a few octave jumps dominate it
    median_cents: float | None  # of the absolute errors; octave jumps hardly move it
    gross: float | None  # share of frames voiced in both that are more than 20 % off
    voicing: float  # share of all frames that are voiced in one only
    voiced_frames: int  # in both


def pitch_errors(baseline_F: Floats, candidate_F: Floats) -> PitchErrors:
    """1200 log2(candidate / baseline) cents per frame; gross pitch error and voicing decision error as in Nakatani et
    al. 2008 and Chu and Alwan 2009. Silence in both is no error. UsageError for unequal lengths or no frames."""
    if baseline_F.shape != candidate_F.shape or baseline_F.ndim != 1 or not len(baseline_F):
        raise UsageError(
            f"pitch tracks of shapes {baseline_F.shape} and {candidate_F.shape}, expected (F) twice",
            hint="pair waves of the same codes",
        )
    voiced_F, also_F = baseline_F > 0, candidate_F > 0
    voicing, both_F = float(np.mean(voiced_F != also_F)), voiced_F & also_F
    if not both_F.any():
        return PitchErrors(None, None, None, voicing, 0)
    ratio = candidate_F[both_F] / baseline_F[both_F]
    cents = 1200 * np.log2(ratio)
    return PitchErrors(
        rmse_cents=float(np.sqrt(np.mean(cents**2))),
        median_cents=float(np.median(np.abs(cents))),
        gross=float(np.mean(np.abs(ratio - 1) > GROSS)),
        voicing=voicing,
        voiced_frames=int(both_F.sum()),
    )
