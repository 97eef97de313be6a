"""Distances between renderings: known answers, and what they must not depend on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.distance import (
    HIGHEST_SNR_DB,
    log_spectral_distance_db,
    mel_distance_db,
    signal_to_noise_db,
)

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


@pytest.mark.parametrize("db", [-3.0, 20.0, 60.0])
def test_noise_added_at_a_ratio_has_that_ratio(db: float) -> None:
    noise = RNG.standard_normal(16000)
    noise *= np.sqrt(np.sum(NOISE.astype(np.float64) ** 2) / np.sum(noise**2)) * 10 ** (-db / 20)
    assert signal_to_noise_db(NOISE.astype(np.float64), NOISE + noise, 16000) == pytest.approx(db, abs=1e-6)


def test_equal_waves_have_the_highest_ratio_and_silence_has_none() -> None:
    assert signal_to_noise_db(NOISE, NOISE, 16000) == HIGHEST_SNR_DB
    assert signal_to_noise_db(np.zeros_like(NOISE), NOISE, 16000) is None
    assert signal_to_noise_db(NOISE, np.zeros_like(NOISE), 16000) == pytest.approx(0)


def test_waves_of_unequal_length_are_no_pair() -> None:
    for measure in (signal_to_noise_db, log_spectral_distance_db):
        with pytest.raises(UsageError, match=r"\(16000,\) and \(15999,\)"):
            measure(NOISE, NOISE[1:], 16000)
