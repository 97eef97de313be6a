"""How far two renderings of the same codes and noise are apart, in decibels. They are aligned frame by frame as they are:
same length, no warping.

m mel bins, T mel frames, S samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import AudioDims
from tts_trt.quality.frames import Wave, checked_pair

FloatArray = NDArray[np.float32]

DB_PER_NEPER = 20 / np.log(10)
WINDOW_SECONDS, HOP_SECONDS = 0.032, 0.008
FLOOR_DB = -80.0
"""Below the louder of both waves' peaks: quieter than that nobody hears a difference."""
HIGHEST_SNR_DB = 120.0


def mel_distance_db(a_mT: FloatArray, b_mT: FloatArray, audio: AudioDims) -> float:
    """Mean absolute difference of two log-mel spectrograms. The model's mels are (log amplitude - shift) / scale."""
    gap = np.abs(a_mT.astype(np.float64) - b_mT.astype(np.float64))
    return float(gap.mean() * audio.mel_scale * DB_PER_NEPER)


def log_spectral_distance_db(a_S: FloatArray, b_S: FloatArray, sample_rate: int) -> float:
    """Root mean square over bins of the difference of power spectra in dB, averaged over frames (Gray and Markel 1976),
    both floored at 80 dB below the louder peak. 0 for silence in both. UsageError as ``checked_pair``."""
    a, b = (_spectrum_db(x, sample_rate) for x in checked_pair(a_S, b_S, sample_rate))
    floor = max(a.max(), b.max()) + FLOOR_DB
    gap = np.maximum(a, floor) - np.maximum(b, floor)
    return float(np.sqrt(np.mean(gap**2, axis=0)).mean())


def signal_to_noise_db(baseline_S: Wave, candidate_S: Wave, sample_rate: int) -> float | None:
    """10 log10 of the baseline's energy over that of candidate - baseline, not above 120 dB, which equal waves have.

    A shift by one sample ruins it: it says whether two engines compute alike, not whether they sound alike. None for a
    silent baseline. UsageError as ``checked_pair``.
    """
    baseline, candidate = checked_pair(baseline_S, candidate_S, sample_rate)
    signal, noise = (float(x @ x) for x in (baseline, candidate - baseline))
    if not signal:
        return None
    return float(10 * np.log10(signal / max(noise, signal * 10 ** (-HIGHEST_SNR_DB / 10))))


def _spectrum_db(wave_S: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Hann-windowed power in dB, (bins, frames)."""
    window, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    padded = np.pad(wave_S, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop] * np.hanning(window)
    spectrum: NDArray[np.float64] = 20 * np.log10(np.maximum(np.abs(np.fft.rfft(frames)), 1e-12))
    return spectrum.T
