"""Sounds with what matters in speech: syllables of a moving pitch and formants, fricatives, closures, a noise floor."""

from __future__ import annotations

import numpy as np

from tts_trt.quality.qc_signal import FloatArray, SpeechSegment

RATE = 16_000
CODES_PER_SECOND = 25
NOISE = 2e-4
SYLLABLES = 9


def speech(seed: int = 0, syllables: int = SYLLABLES, *, rate: int = RATE, level: float = 0.1) -> FloatArray:
    """(S) mono, about 0.26 s a syllable, silence of 0.08 s around it."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros(round(0.08 * rate))]
    for n in range(syllables):
        parts += [
            _fricative(rng, rate) if rng.random() < 0.4 else np.zeros(round(rng.uniform(0.03, 0.05) * rate))
        ]
        parts += [_vowel(rng, rate, 1 - 0.03 * n)]
    wave = np.concatenate([*parts, np.zeros(round(0.08 * rate))])
    wave *= level / np.sqrt(np.mean(wave**2))
    return (wave + NOISE * rng.standard_normal(len(wave))).astype(np.float32)


def _vowel(rng: np.random.Generator, rate: int, gain: float) -> np.ndarray:
    time = np.arange(round(rng.uniform(0.16, 0.24) * rate)) / rate
    pitch = rng.uniform(95, 140) * (1 + rng.uniform(-0.15, 0.15) * time / time[-1])
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    start, end = rng.uniform([250, 800, 2300], [800, 2200, 3200], (2, 3))
    formants = start + (end - start) * (time / time[-1])[:, None]
    wave = np.zeros(len(time))
    for k in range(1, int(0.45 * rate / pitch.max())):
        shape = sum(
            g / (1 + ((k * pitch - formants[:, i]) / 120) ** 2) for i, g in enumerate((1.0, 0.5, 0.25))
        )
        wave += (shape + 0.002) * np.cos(k * phase)
    return gain * wave * _swell(len(time), rate, 0.03)


def _fricative(rng: np.random.Generator, rate: int) -> np.ndarray:
    noise = rng.standard_normal(round(rng.uniform(0.06, 0.1) * rate))
    return 0.15 * np.diff(noise, prepend=0.0) * _swell(len(noise), rate, 0.02)


def _swell(samples: int, rate: int, seconds: float) -> np.ndarray:
    edge = np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (seconds * rate)
    return np.sin(np.pi / 2 * np.minimum(edge, 1)) ** 2


def segment(seed: int = 0, voice: str = "anna", text: str = "", *, rate: int = RATE) -> SpeechSegment:
    """With codes that differ and an expected length that fits."""
    wave = speech(seed, rate=rate)
    codes = np.random.default_rng(seed).integers(0, 500, round(len(wave) / rate * CODES_PER_SECOND))
    expected = len(wave) / rate - 0.2
    return SpeechSegment(wave, rate, text or f"words that differ in number {seed}", codes, expected, voice)
