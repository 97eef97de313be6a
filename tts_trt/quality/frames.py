"""A wave as measures take it: checked, and cut into short-time power spectra.

Common to all measures of this folder: input that is no wave, holds what is no number, is shorter than a frame or unlike
what it is paired with is refused (UsageError). A sound wave without the thing measured, silence for one, is an answer:
None where a measure says nothing else.

S samples, F frames every 10 ms, K FFT bins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError

Floats = NDArray[np.float64]
Wave = NDArray[np.floating[Any]]

FRAME_S = 0.01  # between the centres of frames
WINDOW_FRAMES = 3  # length of a window
SHORTEST_S = 2 * WINDOW_FRAMES * FRAME_S
FLOOR_DBFS = -120.0  # of any level: below the least step of 16 bits (-96 dB), and finite for digital silence


def checked(wave_S: Wave, rate: int, shortest_s: float = SHORTEST_S) -> Floats:
    """The wave (S) in float64. UsageError unless mono, finite and at least that many seconds long."""
    if wave_S.ndim != 1 or wave_S.dtype.kind != "f":
        raise UsageError(f"the wave is {wave_S.dtype} of shape {wave_S.shape}, expected (S) of floats")
    needed = round(shortest_s * rate)
    if len(wave_S) < needed:
        raise UsageError(f"{len(wave_S)} samples at {rate} Hz, expected at least {needed}")
    samples_S = np.asarray(wave_S, np.float64)
    if not np.isfinite(samples_S).all():
        bad = int(np.flatnonzero(~np.isfinite(samples_S))[0])
        raise UsageError(f"sample {bad} of {len(samples_S)} is {samples_S[bad]}, expected a finite number")
    return samples_S


def checked_pair(
    baseline_S: Wave, candidate_S: Wave, rate: int, shortest_s: float = SHORTEST_S
) -> tuple[Floats, Floats]:
    """Both ``checked``. UsageError for unequal lengths too: such waves do not come from the same codes and noise."""
    if baseline_S.shape != candidate_S.shape:
        raise UsageError(
            f"the waves have shapes {baseline_S.shape} and {candidate_S.shape}, expected the same",
            hint="pair waves of the same codes and the same noise",
        )
    return checked(baseline_S, rate, shortest_s), checked(candidate_S, rate, shortest_s)


def power_spectra(wave_S: Wave, rate: int) -> Floats:
    """Share of each bin in the mean square of a Hann window of 30 ms, (F,K); frame f is centred on f * 10 ms.

    A row's sum is the mean square of the wave there: with full scale 1, 0 dBFS is a mean square of 1 and a full sine has
    -3.01 dBFS. The wave's mean is taken off first, else a constant would leak into the lowest bins. Checked as
    ``checked``.
    """
    samples_S = checked(wave_S, rate)
    window = window_samples(rate)
    padded = np.pad(samples_S - samples_S.mean(), (window // 2, window - window // 2))
    centres_F = np.rint(np.arange(int(len(samples_S) / rate / FRAME_S + 1e-9) + 1) * FRAME_S * rate).astype(
        int
    )
    hann = np.hanning(window)
    spectra_FK = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, window)[centres_F] * hann)
    # only half of the spectrum is kept
    power_FK: Floats = (spectra_FK.real**2 + spectra_FK.imag**2) * (2 / (window * (hann @ hann)))
    return power_FK


def window_samples(rate: int) -> int:
    return WINDOW_FRAMES * round(FRAME_S * rate)


def frame_power(power_FK: Floats) -> Floats:
    """Mean square of each frame, (F), the constant part left out."""
    power_F: Floats = power_FK[:, 1:].sum(1)
    return power_F


def decibels(power: float) -> float:
    """10 log10 of a mean square, not below ``FLOOR_DBFS``."""
    return float(10 * np.log10(max(power, 10 ** (FLOOR_DBFS / 10))))


def frames_of(mask_F: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """A mask over 10 ms frames cut, or filled up with False, to ``count``: pitch trackers round lengths differently."""
    return np.pad(mask_F[:count], (0, max(count - len(mask_F), 0)))
