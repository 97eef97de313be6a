"""Every measure of a rendering by name, with its unit and the direction that is worse, and all of them at once.

S samples, m mel bins, T mel frames, F frames of 10 ms, M codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.cepstra import mcd_db
from tts_trt.quality.distance import log_spectral_distance_db, mel_distance_db, signal_to_noise_db
from tts_trt.quality.endings import ending
from tts_trt.quality.frames import Floats, Wave, checked, checked_pair
from tts_trt.quality.grain import grain
from tts_trt.quality.levels import levels, loudness_lufs, pauses
from tts_trt.quality.loops import Codes, longest_loop, longest_run, repeated_share
from tts_trt.quality.mels import mel_flicker, mel_gap, mel_jitter_ratio
from tts_trt.quality.opinion import Opinion, pesq, stoi
from tts_trt.quality.pitch import pitch_errors
from tts_trt.quality.prosody import pitch_track

Worse = Literal["higher", "lower", "either"]
"""``either``: away from the baseline's, or from what the text asks for."""


@dataclass(frozen=True)
class Measure:
    title: str
    unit: str  # empty: none
    worse: Worse


PAIRED: dict[str, Measure] = {
    "mel_l1_db": Measure("mel L1", "dB", "higher"),
    "mcd_db": Measure("mel cepstral distortion", "dB", "higher"),
    "lsd_db": Measure("log-spectral distance", "dB", "higher"),
    "mel_jitter_ratio": Measure("mel jitter over the baseline's", "", "higher"),
    "mel_flicker_db": Measure("flicker of the mel error", "dB a frame", "higher"),
    "f0_rmse_cents": Measure("F0 error, RMS", "cents", "higher"),
    "f0_median_cents": Measure("F0 error, median", "cents", "higher"),
    "f0_gross": Measure("F0 more than 20 % off", "share of voiced frames", "higher"),
    "voicing_error": Measure("voicing error", "share of frames", "higher"),
    "snr_db": Measure("signal to noise", "dB", "lower"),
    "pesq": Measure("PESQ, wideband", "MOS-LQO", "lower"),
    "stoi": Measure("STOI", "", "lower"),
}
"""Of a candidate against a baseline, over the same codes and noise."""

SINGLE: dict[str, Measure] = {
    "seconds": Measure("length", "s", "either"),
    "grain_flatness": Measure("spectral flatness above 4 kHz in voice", "", "higher"),
    "grain_share_db": Measure("power above 4 kHz in voice", "dB of the whole", "higher"),
    "grain_flutter_db": Measure("flutter above 4 kHz in voice", "dB a frame", "higher"),
    "noise_floor_dbfs": Measure("noise floor", "dBFS", "higher"),
    "silence": Measure("silence", "share of frames", "either"),
    "longest_pause": Measure("longest pause", "s", "higher"),
    "loudness_lufs": Measure("loudness", "LUFS", "either"),
    "peak": Measure("peak", "of full scale", "higher"),
    "clipped": Measure("clipped", "share of samples", "higher"),
    "offset": Measure("constant offset", "of full scale", "either"),
    "last_voice_db": Measure("level of the last voice", "dB of the whole", "lower"),
    "cut_db": Measure("level at the cut", "dB of the speech", "higher"),
    "tail": Measure("silence at the end", "s", "either"),
}
"""Of one wave."""

CODES: dict[str, Measure] = {
    "longest_run": Measure("longest run of one code", "codes", "higher"),
    "repeated_share": Measure("4-grams said before", "share", "higher"),
    "longest_loop": Measure("longest loop", "codes", "higher"),
}
"""Of one sequence of codes."""


@dataclass
class Found:
    """Values by name; None for one that could not be measured, and why if there is more to say than silence."""

    values: dict[str, float | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, measure: Callable[[], float | Opinion | None]) -> None:
        try:
            value = measure()
        except UsageError as error:  # too short for this one, or its package is not installed
            value = Opinion(None, str(error))
        opinion = value if isinstance(value, Opinion) else Opinion(value)
        self.values[name] = opinion.value
        if opinion.reason:
            self.reasons[name] = opinion.reason


@dataclass(frozen=True)
class Rendering:
    """What an utterance came to, with its pitch, which takes longest."""

    mel_mT: NDArray[np.float32]
    wave_S: NDArray[np.float32]
    pitch_F: Floats

    @classmethod
    def of(cls, mel_mT: NDArray[np.float32], wave_S: NDArray[np.float32], rate: int) -> Rendering:
        """UsageError as ``checked``, and without pyworld."""
        checked(wave_S, rate)
        return cls(mel_mT, wave_S, pitch_track(wave_S, rate))


def of_pair(baseline: Rendering, candidate: Rendering, audio: AudioDims) -> Found:
    """Every measure of ``PAIRED``. UsageError for waves or mels of unequal length."""
    a, b, rate = baseline, candidate, audio.sample_rate
    checked_pair(a.wave_S, b.wave_S, rate)
    mel_gap(a.mel_mT, b.mel_mT, audio)
    pitch = pitch_errors(a.pitch_F, b.pitch_F)
    found = Found()
    found.add("mel_l1_db", lambda: mel_distance_db(a.mel_mT, b.mel_mT, audio))
    found.add("mcd_db", lambda: mcd_db(a.mel_mT, b.mel_mT, audio))
    found.add("lsd_db", lambda: log_spectral_distance_db(a.wave_S, b.wave_S, rate))
    found.add("mel_jitter_ratio", lambda: mel_jitter_ratio(a.mel_mT, b.mel_mT))
    found.add("mel_flicker_db", lambda: float(mel_flicker(a.mel_mT, b.mel_mT, audio).mean()))
    found.add("f0_rmse_cents", lambda: pitch.rmse_cents)
    found.add("f0_median_cents", lambda: pitch.median_cents)
    found.add("f0_gross", lambda: pitch.gross)
    found.add("voicing_error", lambda: pitch.voicing)
    found.add("snr_db", lambda: signal_to_noise_db(a.wave_S, b.wave_S, rate))
    found.add("pesq", lambda: pesq(a.wave_S, b.wave_S, rate))
    found.add("stoi", lambda: stoi(a.wave_S, b.wave_S, rate))
    return found


def of_wave(wave_S: Wave, rate: int, pitch_F: Floats) -> Found:
    """Every measure of ``SINGLE``; ``pitch_F`` as ``pitch_track`` gives it. UsageError as ``checked``."""
    level, gaps, end = levels(wave_S, rate), pauses(wave_S, rate), ending(wave_S, rate, pitch_F > 0)
    found = Found()
    found.add("seconds", lambda: level.seconds)
    try:
        rough = grain(wave_S, rate, pitch_F > 0)
    except UsageError as error:  # a rate without such a band
        rough, found.reasons["grain_flatness"] = None, str(error)
    found.add("grain_flatness", lambda: rough.flatness if rough else None)
    found.add("grain_share_db", lambda: rough.share_db if rough else None)
    found.add("grain_flutter_db", lambda: rough.flutter_db if rough else None)
    found.add("noise_floor_dbfs", lambda: level.noise_floor_dbfs)
    found.add("silence", lambda: gaps.silence)
    found.add("longest_pause", lambda: gaps.longest)
    found.add("loudness_lufs", lambda: loudness_lufs(wave_S, rate))
    found.add("peak", lambda: level.peak)
    found.add("clipped", lambda: level.clipped)
    found.add("offset", lambda: level.offset)
    found.add("last_voice_db", lambda: end.last_voice_db if end else None)
    found.add("cut_db", lambda: end.cut_db if end else None)
    found.add("tail", lambda: end.tail_s if end else None)
    return found


def of_codes(codes_M: Codes) -> Found:
    """Every measure of ``CODES``; of no codes all are 0."""
    return Found(
        {
            "longest_run": float(longest_run(codes_M)),
            "repeated_share": repeated_share(codes_M),
            "longest_loop": float(longest_loop(codes_M).codes),
        }
    )
