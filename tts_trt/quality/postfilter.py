"""A light de-hiss of the high band. Off unless somebody asks for it: whether it helps a bundle is to be measured first
(``scripts/postfilter_effect.py``).

The Wiener gain comes from Ephraim and Malah's decision-directed estimate of the signal-to-noise ratio (1984), the noise
from the faintest frames of each bin. Windows form a tight frame and no gain is above 1, so that the energy of the result
is never above that of the wave. What is filtered is the difference: samples that no reduced bin touches come out as they
are, bit for bit.

S samples, T frames, K bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError

FloatArray = NDArray[np.float32]
Floats = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

WINDOW_SECONDS = 0.02  # two hops
FAINT_SHARE = 0.05  # of the frames: a tenth of the noise alone where speech fills half
FAINT_TO_MEAN = 3.0  # mean of noise power over the level that a tenth of its three-frame means lies under
DECISION = 0.98  # weight of the frame before in the estimate
TINY = 1e-20


@dataclass(frozen=True)
class PostFilter:
    """``reduction_db``: the most a bin is turned down. ``audible_db``: noise fainter than this relative to the loudest
    bin stays. ``smoothing``: 0 to 1, how far peaks of one frame above the median of five are turned down as well."""

    above_hz: float = 4000.0
    reduction_db: float = 12.0
    audible_db: float = -70.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        fits = {
            "above_hz": self.above_hz >= 0,
            "reduction_db": 0 <= self.reduction_db <= 60,
            "audible_db": -200 <= self.audible_db <= 0,
            "smoothing": 0 <= self.smoothing <= 1,
        }
        if wrong := [name for name, fit in fits.items() if not fit]:
            raise UsageError(f"the post-filter's {wrong[0]} is {getattr(self, wrong[0])}, out of its range")

    def latency_seconds(self) -> float:
        """How far a frame looks ahead once the noise is known; estimating it takes the whole segment."""
        return WINDOW_SECONDS

    def __call__(self, wave_S: FloatArray, sample_rate: int) -> FloatArray:
        """(S) float32 of the same length. UsageError for what is not finite mono samples."""
        if wave_S.ndim != 1 or not np.isfinite(wave_S).all():
            raise UsageError(f"a wave of shape {wave_S.shape}, expected (S) finite mono samples")
        hop = round(WINDOW_SECONDS * sample_rate / 2)
        first = int(np.ceil(self.above_hz * 2 * hop / sample_rate))
        if first > hop or not len(wave_S):
            return wave_S
        spectrum_TK = _analysed(wave_S, hop)
        loudest = float((np.abs(spectrum_TK) ** 2).max())
        gain_TK = np.ones(spectrum_TK.shape)
        gain_TK[:, first:] = self._gains(np.abs(spectrum_TK[:, first:]) ** 2, loudest)
        if np.all(gain_TK == 1):
            return wave_S
        change_S = _synthesised(spectrum_TK * (gain_TK - 1), hop, len(wave_S))
        filtered: FloatArray = (wave_S.astype(np.float64) + change_S).astype(np.float32)
        return filtered

    def _gains(self, power_TK: Floats, loudest: float) -> Floats:
        noise_K = noise_power(power_TK)
        noisy_K = noise_K > loudest * 10 ** (self.audible_db / 10)
        floor = 10 ** (-self.reduction_db / 20)
        gain_TK = np.ones(power_TK.shape)
        gain_TK[:, noisy_K] = np.maximum(_wiener(power_TK[:, noisy_K], noise_K[noisy_K]), floor)
        if self.smoothing:
            gain_TK *= np.maximum(_calmed(power_TK) ** self.smoothing, floor)
        return gain_TK


def noise_power(power_TK: Floats) -> Floats:
    """Power of the stationary noise of each bin (K): from its faintest frames, so that speech does not count."""
    padded = np.pad(power_TK, ((1, 1), (0, 0)), mode="edge")
    smooth_TK = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    faint_K: Floats = np.quantile(smooth_TK, FAINT_SHARE, axis=0) * FAINT_TO_MEAN
    return faint_K


def _wiener(power_TK: Floats, noise_K: Floats) -> Floats:
    """Gain by the decision-directed signal-to-noise ratio, frame by frame (T,K)."""
    gain_TK = np.empty(power_TK.shape)
    before_K = np.zeros(power_TK.shape[1])
    for t, power_K in enumerate(power_TK):
        excess_K = np.maximum(power_K / noise_K - 1, 0)
        ratio_K = DECISION * before_K + (1 - DECISION) * excess_K
        gain_TK[t] = ratio_K / (1 + ratio_K)
        before_K = gain_TK[t] ** 2 * power_K / noise_K
    return gain_TK


def _calmed(power_TK: Floats) -> Floats:
    """Gain that takes each bin down to the median of five frames around it, never up (T,K)."""
    padded = np.pad(power_TK, ((2, 2), (0, 0)), mode="edge")
    around_TK5 = np.lib.stride_tricks.sliding_window_view(padded, 5, axis=0)
    calmed_TK: Floats = np.sqrt(np.minimum(np.median(around_TK5, axis=2) / (power_TK + TINY), 1))
    return calmed_TK


def _window(hop: int) -> Floats:
    """Sine window of two hops: its square and that of the next frame add up to 1."""
    return np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop))


def _analysed(wave_S: FloatArray, hop: int) -> Spectrum:
    padded = np.pad(wave_S.astype(np.float64), (hop, 2 * hop))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    spectrum_TK: Spectrum = np.fft.rfft(frames * _window(hop))
    return spectrum_TK


def _synthesised(spectrum_TK: Spectrum, hop: int, samples: int) -> Floats:
    frames = np.fft.irfft(spectrum_TK, 2 * hop) * _window(hop)
    first_TH, second_TH = frames[:, :hop], frames[:, hop:]
    total = np.zeros((len(frames) + 1, hop))
    total[:-1] += first_TH
    total[1:] += second_TH
    return total.reshape(-1)[hop : hop + samples]
