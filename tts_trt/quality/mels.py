"""Log-mel spectrograms side by side: where they differ, and how restless each is from frame to frame.

A model's mels are (log amplitude - shift) / scale; every result is in dB of amplitude, whatever the model's scale.
m mel bins, T mel frames. Mels are (m,T), as the acoustic model gives them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.distance import DB_PER_NEPER
from tts_trt.quality.frames import Floats

Mel = NDArray[np.floating]


def checked_mels(*mels_mT: Mel, frames: int = 1) -> list[Floats]:
    """In float64. UsageError unless all are (m,T) with the same m, finite, and ``frames`` frames long or longer."""
    for mel_mT in mels_mT:
        if mel_mT.ndim != 2 or len(mel_mT) != len(mels_mT[0]) or mel_mT.shape[1] < frames:
            shapes = " and ".join(str(mel.shape) for mel in mels_mT)
            raise UsageError(f"mels of shape {shapes}, expected (m,T) with T of at least {frames}")
        if not np.isfinite(mel_mT).all():
            raise UsageError(f"{(~np.isfinite(mel_mT)).sum()} values of a mel are not finite")
    return [np.asarray(mel_mT, np.float64) for mel_mT in mels_mT]


def mel_gap(baseline_mT: Mel, candidate_mT: Mel, audio: AudioDims) -> Floats:
    """|candidate - baseline| in dB, (m,T): a heat map. Mean over bins: the curve by position; mean of all: mel L1,
    the ``mel_distance_db`` of the pair. 0 for silence in both. UsageError unless of one shape."""
    baseline, candidate = checked_mels(baseline_mT, candidate_mT)
    if baseline.shape != candidate.shape:
        raise UsageError(
            f"the mels have shapes {baseline.shape} and {candidate.shape}, expected the same",
            hint="pair mels of the same codes",
        )
    gap_mT: Floats = np.abs(candidate - baseline) * audio.mel_scale * DB_PER_NEPER
    return gap_mT


def mel_jitter(mel_mT: Mel, audio: AudioDims) -> Floats:
    """Mean over frames of |x(t+1) - x(t)| in dB per frame, (m): how restless each bin is. 0 for a steady mel.

    Speech moves too, so a value means something only beside the baseline's (``mel_jitter_ratio``). UsageError for fewer
    than two frames.
    """
    (mel,) = checked_mels(mel_mT, frames=2)
    jitter_m: Floats = np.abs(np.diff(mel, axis=1)).mean(1) * audio.mel_scale * DB_PER_NEPER
    return jitter_m


def mel_jitter_ratio(baseline_mT: Mel, candidate_mT: Mel) -> float | None:
    """Mean jitter of the candidate over the baseline's: above 1 it is more restless. None where the baseline is steady.

    In a log-mel quiet frames move most: steady hiss that fills pauses lowers the ratio. ``mel_flicker`` has no such
    blind spot. UsageError as ``mel_gap``, and for fewer than two frames.
    """
    unscaled = AudioDims()
    mel_gap(baseline_mT, candidate_mT, unscaled)
    baseline, candidate = (mel_jitter(mel, unscaled).mean() for mel in (baseline_mT, candidate_mT))
    return float(candidate / baseline) if baseline > 0 else None


def mel_flicker(baseline_mT: Mel, candidate_mT: Mel, audio: AudioDims) -> Floats:
    """Jitter of the error candidate - baseline in dB per frame, (m): 0 for an error that stays, sqrt 2 times the mel L1
    for one that is new, and normal, in every frame. UsageError as ``mel_jitter_ratio``."""
    mel_gap(baseline_mT, candidate_mT, audio)
    return mel_jitter(np.asarray(candidate_mT, np.float64) - baseline_mT, audio)


def by_position(values_T: Floats, parts: int) -> Floats:
    """Means over equal parts of an utterance, first to last, (parts): utterances of any length can then be averaged.

    UsageError for fewer values than parts.
    """
    if len(values_T) < parts:
        raise UsageError(f"{len(values_T)} values, expected at least one for each of {parts} parts")
    edges = np.arange(parts + 1) * len(values_T) // parts
    means: Floats = np.add.reduceat(values_T.astype(np.float64), edges[:-1]) / np.diff(edges)
    return means
