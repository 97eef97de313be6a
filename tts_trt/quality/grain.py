"""The grain of a voice: what sounds above 4 kHz while it speaks, and how noise-like and restless that is.

S samples, F frames of 10 ms, K FFT bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.quality.frames import Wave, frame_power, frames_of, power_spectra, window_samples
from tts_trt.quality.levels import active

SPLIT_HZ = 4000.0
LEAST_BANDWIDTH_HZ = 1000.0
LEAST_POWER = 1e-12  # of a bin, -120 dBFS: the flatness of rounding errors says nothing


@dataclass(frozen=True)
class Grain:
    """Of one wave; hiss and roughness raise all three."""

    flatness: (
        float  # 0 one tone, 0.56 white noise (its periodogram is exponentially distributed: exp(-0.577))
    )
    share_db: float  # power above 4 kHz over the whole's
    flutter_db: float | None  # mean change of the level above 4 kHz from one frame to the next
    frames: int  # judged


def grain(wave_S: Wave, rate: int, voiced_F: NDArray[np.bool_] | None = None) -> Grain | None:
    """Judged over frames with speech, or, given ``voiced_F``, those of them that are voiced: there a clean voice has
    little noise, while fricatives are noise whatever the arithmetic.

    flatness: geometric over arithmetic mean of the bins above 4 kHz, averaged over frames (Gray and Markel 1974,
    Johnston 1988). share_db: 10 log10 of summed power above 4 kHz over summed power. flutter_db: mean
    |10 log10 h(f+1) / h(f)| over neighbouring frames, h the power above 4 kHz; None without neighbours. No result
    depends on level, down to -120 dBFS a bin. None where no frame speaks (or none that does is voiced): silence.
    UsageError for a rate below 10 kHz, which has no such band, or as ``power_spectra``.
    """
    if rate / 2 < SPLIT_HZ + LEAST_BANDWIDTH_HZ:
        raise UsageError(
            f"at {rate} Hz nothing sounds above {SPLIT_HZ:g} Hz, "
            f"expected a rate of at least {2 * (SPLIT_HZ + LEAST_BANDWIDTH_HZ):g} Hz"
        )
    power_FK = power_spectra(wave_S, rate)
    heard_F = active(frame_power(power_FK))
    if voiced_F is not None:
        heard_F &= frames_of(voiced_F, len(heard_F))
    if not heard_F.any():
        return None
    split = int(np.ceil(SPLIT_HZ / rate * window_samples(rate)))
    high_FK = np.maximum(power_FK[:, split:-1], LEAST_POWER)  # the bin at Nyquist is no pair of bins
    high_F = high_FK.sum(1)
    flatness_F = np.exp(np.log(high_FK[heard_F]).mean(1)) / high_FK[heard_F].mean(1)
    steps_F = np.abs(np.diff(10 * np.log10(high_F)))[heard_F[1:] & heard_F[:-1]]
    return Grain(
        flatness=float(flatness_F.mean()),
        share_db=float(10 * np.log10(high_F[heard_F].sum() / power_FK[heard_F, 1:].sum())),
        flutter_db=float(steps_F.mean()) if len(steps_F) else None,
        frames=int(heard_F.sum()),
    )
