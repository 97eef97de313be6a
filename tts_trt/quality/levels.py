"""Levels and gaps of one wave: loudness, peak, clipping, constant offset, noise floor and pauses.

Full scale is 1: a mean square of 1 is 0 dBFS, a full sine -3.01 dBFS. Levels stop at -120 dBFS, which digital silence has.
S samples, F frames of 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.quality.frames import FRAME_S, Floats, Wave, checked, decibels, frame_power, power_spectra
from tts_trt.quality.prosody import speaking
from tts_trt.quality.speech import INSTALL

SILENT_DBFS = -60.0  # frames none of which is louder hold no speech
QUIETEST = 0.1  # share of frames whose level is the noise floor
CLIPPED = 1 - 2**-15  # full scale of 16 bits, which is what is written
BLOCK_S = 0.4  # of gating, BS.1770


@dataclass(frozen=True)
class Levels:
    """Of one wave; silence has levels of -120 dBFS and an offset of its own."""

    seconds: float
    peak: float  # largest |x|; above 1 it will be clipped
    clipped: float  # share of samples at full scale or beyond
    offset: float  # mean, its sign kept
    rms_dbfs: float  # without the offset
    noise_floor_dbfs: float  # of the quietest tenth of the frames


@dataclass(frozen=True)
class Pauses:
    """Where a wave is silent. All silent: ``silence`` 1, ``lead`` its length, the others 0."""

    silence: float  # share of frames without speech
    longest: float  # seconds of the longest pause between speech
    lead: float  # seconds before speech
    tail: float  # seconds after speech; edges of speech are found to within 15 ms


def active(power_F: Floats) -> NDArray[np.bool_]:
    """Frames with speech, (F), as ``prosody.speaking`` finds them; none where even the loud ones are below -60 dBFS."""
    if np.quantile(power_F, 0.95) < 10 ** (SILENT_DBFS / 10):
        return np.zeros(len(power_F), bool)
    return speaking(power_F)


def levels(wave_S: Wave, rate: int) -> Levels:
    """Any wave of at least 60 ms, silence included. UsageError as ``checked``."""
    samples_S = checked(wave_S, rate)
    quiet_F = np.sort(frame_power(power_spectra(wave_S, rate)))
    return Levels(
        seconds=len(samples_S) / rate,
        peak=float(np.abs(samples_S).max()),
        clipped=float(np.mean(np.abs(samples_S) >= CLIPPED)),
        offset=float(samples_S.mean()),
        rms_dbfs=decibels(samples_S.var()),
        noise_floor_dbfs=decibels(quiet_F[: max(1, round(QUIETEST * len(quiet_F)))].mean()),
    )


def pauses(wave_S: Wave, rate: int) -> Pauses:
    """Silence is what lies 30 dB or more below the loud frames for more than 120 ms, or at the edges; shorter gaps are
    stop consonants. UsageError as ``checked``."""
    active_F = active(frame_power(power_spectra(wave_S, rate)))
    seconds = len(wave_S) / rate
    spoken = np.flatnonzero(active_F)
    if not len(spoken):
        return Pauses(silence=1.0, longest=0.0, lead=seconds, tail=0.0)
    gaps = [after - before for before, after in pairwise(spoken) if after - before > 1]
    return Pauses(
        silence=float(1 - active_F.mean()),
        longest=float(max(gaps, default=0) * FRAME_S),
        lead=float(spoken[0] * FRAME_S),
        tail=float(max(seconds - spoken[-1] * FRAME_S, 0.0)),
    )


def loudness_lufs(wave_S: Wave, rate: int) -> float | None:
    """Integrated loudness in LUFS: K-weighted, gated at -70 LUFS and 10 LU below the mean (ITU-R BS.1770-4), as
    pyloudnorm computes it, whose filters are made for any rate.

    None where every block is gated: silence. UsageError without pyloudnorm, for less than one block of 0.4 s, or as
    ``checked``.
    """
    samples_S = checked(wave_S, rate, BLOCK_S)
    lufs = float(_pyloudnorm().Meter(rate, block_size=BLOCK_S).integrated_loudness(samples_S))
    return lufs if np.isfinite(lufs) else None


def _pyloudnorm() -> Any:
    try:
        import pyloudnorm
    except ImportError as error:
        raise UsageError("loudness needs pyloudnorm", hint=INSTALL) from error
    return pyloudnorm
