"""How far two renderings of the same codes and noise lie apart: scores and states step by step, mel and wave, and what each
part of the candidate does alone.

M codes, V codes in the vocabulary, D model width, m mel bins, T mel frames, S samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.catalogue import Rendering, of_pair, of_wave
from tts_trt.quality.distance import log_spectral_distance_db, mel_distance_db
from tts_trt.quality.forced import Pass
from tts_trt.quality.frames import SHORTEST_S, Floats
from tts_trt.quality.grain import grain
from tts_trt.quality.mels import by_position, mel_gap
from tts_trt.quality.numerics import best_two, log_softmax
from tts_trt.report.listening import finite

FIFTHS, POINTS = 5, 20
SURE = 0.2
"""Lead in probability of the best code over the second from which a flip is no near tie."""

COMPARED = ("grain_flatness", "grain_share_db", "grain_flutter_db", "noise_floor_dbfs", "loudness_lufs")
"""Measures of one wave whose change over the same codes says something."""


@dataclass(frozen=True)
class Rendered:
    mel_mT: NDArray[np.float32]
    wave_S: NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """``parts``: the baseline's codes through the baseline with one part of the candidate in it."""

    audio: AudioDims
    baseline: Pass
    candidate: Pass
    parts: Mapping[str, Rendered]


def measure(pair: Pair) -> dict[str, Any]:
    """Ready for JSON: ``values`` by metric, ``baseline`` and ``candidate`` of measures of one wave, values by ``position`` in
    the utterance, and distances of the ``parts``."""
    audio, rate = pair.audio, pair.audio.sample_rate
    if len(pair.baseline.wave_S) < SHORTEST_S * rate:
        return {"skipped": f"{len(pair.baseline.wave_S)} samples hold no speech"}
    a, b = (Rendering.of(p.mel_mT, p.wave_S, rate) for p in (pair.baseline, pair.candidate))
    found, one, other = (
        of_pair(a, b, audio),
        of_wave(a.wave_S, rate, a.pitch_F),
        of_wave(b.wave_S, rate, b.pitch_F),
    )
    scores = steps(pair.baseline, pair.candidate)
    noise_M, signal_M = states(pair.baseline, pair.candidate)
    noise, signal = float(noise_M.mean()), float(signal_M.mean())
    curves = scores | {
        "noise": noise_M,
        "signal": signal_M,
        "mel": mel_gap(a.mel_mT, b.mel_mT, audio).mean(0),
    }
    return {
        "values": {
            **finite(found.values),
            **{name: float(values.mean()) for name, values in scores.items()},
            "latent_sqnr_db": 10 * float(np.log10(signal / noise)) if noise > 0 and signal > 0 else None,
        },
        "baseline": {name: finite(one.values)[name] for name in COMPARED},
        "candidate": {name: finite(other.values)[name] for name in COMPARED},
        "reasons": found.reasons | other.reasons,
        "steps": len(noise_M),
        "fifths": {name: _parts(values, FIFTHS) for name, values in curves.items()},
        "points": {name: _parts(values, POINTS) for name, values in curves.items()},
        "parts": {
            "whole": apart(a, Rendered(b.mel_mT, b.wave_S), audio),
            **{name: apart(a, part, audio) for name, part in pair.parts.items()},
        },
    }


def steps(baseline: Pass, candidate: Pass) -> dict[str, Floats]:
    """Per step, the one after the last code included: KL divergence in nats, whether the best code differs, and whether it
    does where the baseline's led by ``SURE``."""
    p_MV, q_MV = log_softmax(baseline.logits_MV), log_softmax(candidate.logits_MV)
    flip_M = p_MV.argmax(1) != q_MV.argmax(1)
    best_M2 = np.exp(best_two(p_MV))
    sure_M = best_M2[:, 1] - best_M2[:, 0] >= SURE
    return {
        "kl": np.maximum((np.exp(p_MV) * (p_MV - q_MV)).sum(1), 0.0),
        "flips": flip_M.astype(np.float64),
        "sure_flips": (flip_M & sure_M).astype(np.float64),
    }


def states(baseline: Pass, candidate: Pass) -> tuple[Floats, Floats]:
    """Mean square of the latents' difference and of the baseline's latents, per code, (M) each."""
    base_MD = baseline.latents_MD.astype(np.float64)
    noise_M: Floats = ((candidate.latents_MD - base_MD) ** 2).mean(1)
    signal_M: Floats = (base_MD**2).mean(1)
    return noise_M, signal_M


def apart(baseline: Rendering, other: Rendered, audio: AudioDims) -> dict[str, float | None]:
    """Distances of one rendering from the baseline's, and how much more grain it has; None where there is no voice, or at a
    rate without such a band."""
    rate, voiced_F = audio.sample_rate, baseline.pitch_F > 0
    try:
        rough = [grain(wave_S, rate, voiced_F) for wave_S in (baseline.wave_S, other.wave_S)]
    except UsageError:
        rough = [None, None]
    return {
        "mel_l1_db": mel_distance_db(baseline.mel_mT, other.mel_mT, audio),
        "lsd_db": log_spectral_distance_db(baseline.wave_S, other.wave_S, rate),
        "grain_flatness": rough[1].flatness - rough[0].flatness if rough[0] and rough[1] else None,
    }


def _parts(values_T: Floats, parts: int) -> list[float] | None:
    """None for an utterance too short to be told apart so finely."""
    return [float(x) for x in by_position(values_T, parts)] if len(values_T) >= parts else None
