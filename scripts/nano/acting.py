"""Acted emotions for the flite voices: pitch, pitch range, tempo, level and brightness.

``rms`` ignores flite's pitch features, so its pitch is scaled by WORLD analysis and synthesis; the others are
asked to speak that way. Calm is the neutral voice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from scripts.nano.flite import SAMPLE_RATE, Flite, Spoken

MIN_RATE, MAX_RATE = 0.7, 1.4
WORLD_FRAME_MS = 10.0


@dataclass(frozen=True)
class Act:
    pitch: float  # factor on the voice's mean F0
    pitch_range: float  # factor on the spread around that mean
    tempo: float  # factor on the speaking rate
    gain_db: float
    tilt: float  # first-order emphasis: above 0 brighter, below 0 duller


@dataclass(frozen=True)
class VoiceTraits:
    mean_f0_hz: float
    f0_std_hz: float  # the int_f0_target_stddev that sounds like the voice without the feature
    level: float  # factor that brings the voice to an RMS of 0.07


EMOTIONS = {
    "happy": Act(pitch=1.22, pitch_range=1.6, tempo=1.08, gain_db=2.0, tilt=0.10),
    "angry": Act(pitch=1.08, pitch_range=1.3, tempo=1.15, gain_db=4.0, tilt=0.35),
    "sad": Act(pitch=0.84, pitch_range=0.45, tempo=0.85, gain_db=-5.0, tilt=-0.35),
    "calm": Act(pitch=1.0, pitch_range=1.0, tempo=1.0, gain_db=0.0, tilt=0.0),
}
TRAITS = {
    "slt": VoiceTraits(mean_f0_hz=170.0, f0_std_hz=25.0, level=0.38),
    "rms": VoiceTraits(mean_f0_hz=101.0, f0_std_hz=12.5, level=0.72),
    "awb": VoiceTraits(mean_f0_hz=130.0, f0_std_hz=24.0, level=0.62),
    "kal16": VoiceTraits(mean_f0_hz=88.0, f0_std_hz=10.0, level=1.5),
}


def perform(flite: Flite, text: str, voice: str, emotion: str, rate: float) -> tuple[Spoken, float]:
    """Speak one sentence; also give the total rate (asked rate times the emotion's tempo, clipped)."""
    act, traits = EMOTIONS[emotion], TRAITS[voice]
    total = float(np.clip(rate * act.tempo, MIN_RATE, MAX_RATE))
    features = {"duration_stretch": 1.0 / total}
    if voice != "rms" and emotion != "calm":
        features |= {"f0_shift": act.pitch, "int_f0_target_stddev": act.pitch_range * traits.f0_std_hz}
    spoken = flite.speak(text.lower(), voice, **features)
    wave = spoken.audio / 32768.0
    if voice == "rms" and emotion != "calm":
        wave = _scale_pitch(wave, traits.mean_f0_hz, act)
    return Spoken(_colour(wave, act, traits.level), spoken.segments, spoken.words), total


def _scale_pitch(wave: np.ndarray, mean_hz: float, act: Act) -> np.ndarray:
    """WORLD resynthesis (S,) float64 with log-F0 shifted by ``pitch`` and spread by ``pitch_range``."""
    import pyworld

    f0, times = pyworld.dio(wave, SAMPLE_RATE, f0_floor=60.0, f0_ceil=250.0, frame_period=WORLD_FRAME_MS)
    f0 = pyworld.stonemask(wave, f0, times, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(wave, f0, times, SAMPLE_RATE)
    noise = pyworld.d4c(wave, f0, times, SAMPLE_RATE)
    voiced = f0 > 0
    f0[voiced] = mean_hz * act.pitch * (f0[voiced] / mean_hz) ** act.pitch_range
    scaled = pyworld.synthesize(f0, envelope, noise, SAMPLE_RATE, WORLD_FRAME_MS)
    return np.resize(np.pad(scaled, (0, max(0, len(wave) - len(scaled)))), len(wave))


def _colour(wave: np.ndarray, act: Act, level: float) -> np.ndarray:
    """Brightness at equal energy, then level: (S,) float64 to int16."""
    tilted = lfilter([1.0, -act.tilt], [1.0], wave)
    energy = np.sqrt(np.mean(wave**2) / max(np.mean(tilted**2), 1e-12))
    scaled = tilted * energy * level * 10 ** (act.gain_db / 20)
    return np.clip(np.round(scaled * 32768.0), -32768, 32767).astype(np.int16)
