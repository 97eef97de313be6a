"""Distances between renderings: known answers, and what they must not depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tts_trt.dims import AudioDims
from tts_trt.quality.distance import log_spectral_distance_db, mel_distance_db

RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal(16000).astype(np.float32) * 0.1


def test_a_gain_is_its_decibels() -> None:
    assert log_spectral_distance_db(NOISE, NOISE * np.float32(0.5), 16000) == pytest.approx(6.02, abs=0.1)
    assert log_spectral_distance_db(NOISE, NOISE, 16000) == 0


def test_what_lies_below_the_floor_does_not_count() -> None:
    quiet = NOISE.copy()
    quiet[8000:] = 0
    hiss = quiet + RNG.standard_normal(16000).astype(np.float32) * 1e-8
    assert log_spectral_distance_db(quiet, hiss, 16000) < 0.01
    assert log_spectral_distance_db(quiet, quiet + NOISE * np.float32(0.01), 16000) > 5


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_mel_distance_undoes_the_models_scale(scale: float) -> None:
    a = RNG.standard_normal((80, 30)).astype(np.float32)
    louder = a + np.float32(np.log(2) / scale)  # twice the amplitude, in the model's units
    audio = replace(AudioDims(), mel_scale=scale)
    assert mel_distance_db(a, louder, audio) == pytest.approx(6.02, abs=0.01)
