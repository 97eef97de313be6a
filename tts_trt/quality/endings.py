"""How an utterance ends: does its last voice fade, is it cut off, is silence left after it.

S samples, F frames of 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.quality.frames import FRAME_S, Wave, checked, decibels, frame_power, frames_of, power_spectra
from tts_trt.quality.levels import active

LAST_VOICE_S = 0.25  # one or two syllables
CUT_S = 0.01
LOWEST_DB = -100.0


@dataclass(frozen=True)
class Ending:
    """Levels are in dB relative to the utterance's own, so that its loudness does not matter."""

    last_voice_db: (
        float | None
    )  # last quarter second of voice over all of it; None where little or nothing is voiced
    cut_db: float  # last 10 ms over the frames with speech: about 0 is cut off in mid-sound, -100 is digital silence
    tail_s: float  # from the last speech to the end, to within 15 ms
    fall_s: float  # from the last frame at half the speech's amplitude (-6 dB) to the end of speech


def ending(wave_S: Wave, rate: int, voiced_F: NDArray[np.bool_]) -> Ending | None:
    """``voiced_F``: ``pitch_track(wave_S, rate) > 0``.

    last_voice_db = 10 log10 (p / q), p the mean square of the last 0.25 s of voiced frames, wherever pauses lie
    between them, q that of all voiced frames; None for less than 0.5 s of voice, where the end is most of the whole.
    cut_db = 10 log10 (c / s), c the mean square of the last 10 ms, s that of all frames with speech. None for silence.
    UsageError as ``checked``.
    """
    samples_S = checked(wave_S, rate)
    power_F = frame_power(power_spectra(wave_S, rate))
    active_F = active(power_F)
    if not active_F.any():
        return None
    speech = power_F[active_F].mean()
    last = int(np.flatnonzero(active_F)[-1])
    loud = int(np.flatnonzero(power_F >= speech / 4)[-1])
    cut = samples_S[-round(CUT_S * rate) :] - samples_S.mean()
    voice_F = power_F[active_F & frames_of(voiced_F, len(active_F))]
    count = round(LAST_VOICE_S / FRAME_S)
    enough = len(voice_F) >= 2 * count
    return Ending(
        last_voice_db=decibels(voice_F[-count:].mean() / voice_F.mean()) if enough else None,
        cut_db=max(decibels(float(np.mean(cut**2)) / speech), LOWEST_DB),
        tail_s=max(len(samples_S) / rate - last * FRAME_S, 0.0),
        fall_s=(last - loud) * FRAME_S,
    )
