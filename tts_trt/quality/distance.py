"""How far two renderings of the same codes and noise are apart, in decibels. They are aligned frame by frame as they are:
same length, no warping.

m mel bins, T mel frames, S samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import AudioDims

FloatArray = NDArray[np.float32]

DB_PER_NEPER = 20 / np.log(10)
WINDOW_SECONDS, HOP_SECONDS = 0.032, 0.008
FLOOR_DB = -80.0
"""Below the louder of both waves' peaks: quieter than that nobody hears a difference."""


def mel_distance_db(a_mT: FloatArray, b_mT: FloatArray, audio: AudioDims) -> float:
    """Mean absolute difference of two log-mel spectrograms. The model's mels are (log amplitude - shift) / scale."""
    gap = np.abs(a_mT.astype(np.float64) - b_mT.astype(np.float64))
    return float(gap.mean() * audio.mel_scale * DB_PER_NEPER)


def log_spectral_distance_db(a_S: FloatArray, b_S: FloatArray, sample_rate: int) -> float:
    """Root mean square over bins of the difference of power spectra in dB, averaged over frames (Gray and Markel 1976),
    both floored at 80 dB below the louder peak."""
    a, b = (_spectrum_db(x, sample_rate) for x in (a_S, b_S))
    floor = max(a.max(), b.max()) + FLOOR_DB
    gap = np.maximum(a, floor) - np.maximum(b, floor)
    return float(np.sqrt(np.mean(gap**2, axis=0)).mean())


def _spectrum_db(wave_S: FloatArray, sample_rate: int) -> NDArray[np.float64]:
    """Hann-windowed power in dB, (bins, frames)."""
    window, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    padded = np.pad(wave_S.astype(np.float64), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    spectrum: NDArray[np.float64] = 20 * np.log10(np.maximum(np.abs(np.fft.rfft(frames)), 1e-12))
    return spectrum.T
