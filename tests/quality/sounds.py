"""Sounds with known properties, for measures to find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
Samples = NDArray[np.float32]


def clock(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * RATE)) / RATE


def sine(seconds: float, hertz: float, peak: float = 0.5) -> Samples:
    return (peak * np.sin(2 * np.pi * hertz * clock(seconds))).astype(np.float32)


def buzz(seconds: float, hertz: float = 120.0, level: float = 0.1) -> Samples:
    """Harmonics below 3 kHz falling by 6 dB an octave, at this RMS: a voice without anything above 4 kHz."""
    phase = 2 * np.pi * hertz * clock(seconds)
    wave = sum(np.sin(k * phase) / k for k in range(1, int(3000 / hertz)))
    return (level * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> Samples:
    """White, at this RMS."""
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.float32)


def joined(*waves: Samples) -> Samples:
    return np.concatenate(waves)
