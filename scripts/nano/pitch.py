"""Pitch of recorded speech, as the sound heads learn it and melodies are compared by."""

from __future__ import annotations

import numpy as np

SAMPLE_RATE, HOP_MS = 16_000, 20.0
FLOOR_HZ, CEILING_HZ, UNIT_HZ = 55.0, 400.0, 100.0


def pitch_of(wave_S: np.ndarray) -> np.ndarray:
    """Samples (S,) int16 -> natural logarithm of F0 over 100 Hz, (T,) float32, one each 20 ms, NaN where unvoiced.
    DIO and StoneMask of WORLD (Morise et al. 2016)."""
    import pyworld

    wave = wave_S.astype(np.float64) / 32768
    f0, times = pyworld.dio(
        wave, SAMPLE_RATE, f0_floor=FLOOR_HZ, f0_ceil=CEILING_HZ, frame_period=HOP_MS, speed=4
    )
    f0 = pyworld.stonemask(wave, f0, times, SAMPLE_RATE)
    return np.log(np.where(f0 > 0, f0, np.nan) / UNIT_HZ).astype(np.float32)
