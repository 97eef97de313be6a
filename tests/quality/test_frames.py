"""Frames of a wave: their power, their times, and what is no wave."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quality.sounds import RATE, joined, noise, silence, sine
from tts_trt.errors import UsageError
from tts_trt.quality.frames import (
    FLOOR_DBFS,
    checked,
    checked_pair,
    decibels,
    frame_power,
    frames_of,
    power_spectra,
)


def test_a_rows_sum_is_the_mean_square() -> None:
    power_F = frame_power(power_spectra(sine(1.0, 1000.0), RATE))
    assert power_F[2:-2] == pytest.approx(0.5**2 / 2, rel=1e-3)
    noisy_F = frame_power(power_spectra(noise(2.0), RATE))
    assert noisy_F.mean() == pytest.approx(0.1**2, rel=0.05)


def test_a_tone_is_in_its_bin() -> None:
    power_FK = power_spectra(sine(1.0, 1000.0), RATE)
    assert (power_FK[2:-2].argmax(1) * RATE / 480 == 1000).all()


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100])
def test_frames_are_ten_milliseconds_apart_at_any_rate(rate: int) -> None:
    wave = np.zeros(20 * rate)
    wave[15 * rate] = 1.0
    power_F = power_spectra(wave, rate).sum(1)
    assert len(power_F) == 2001
    assert power_F.argmax() == 1500


def test_a_constant_is_no_sound() -> None:
    offset = frame_power(power_spectra(silence(0.5) + np.float32(0.3), RATE))
    assert offset.max() < 1e-12
    tone = sine(0.5, 440.0)
    assert frame_power(power_spectra(tone + np.float32(0.3), RATE)) == pytest.approx(
        frame_power(power_spectra(tone, RATE)), abs=1e-6
    )


def test_a_slow_drift_is_mostly_left_out() -> None:
    drift_FK = power_spectra(sine(1.0, 1.0), RATE)
    assert frame_power(drift_FK).sum() < 0.5 * drift_FK.sum()


def test_what_is_no_wave_is_refused() -> None:
    for wrong, found in (
        (np.zeros((2, 1600), np.float32), r"shape \(2, 1600\)"),
        (np.zeros(1600, np.int16), "int16"),
        (np.zeros(959, np.float32), "959 samples at 16000 Hz, expected at least 960"),
        (joined(silence(1.0), np.array([np.nan], np.float32)), "sample 16000 of 16001 is nan"),
        (joined(np.array([np.inf], np.float32), silence(1.0)), "sample 0 of 16001 is inf"),
    ):
        with pytest.raises(UsageError, match=found):
            checked(wrong, RATE)
        with pytest.raises(UsageError):
            checked_pair(wrong, wrong, RATE)
    assert checked(silence(0.06), RATE).dtype == np.float64


def test_a_pair_has_one_length() -> None:
    with pytest.raises(UsageError, match="expected the same"):
        checked_pair(silence(1.0), silence(1.1), RATE)


def test_levels_stop_at_the_floor() -> None:
    assert decibels(0.0) == FLOOR_DBFS and decibels(1.0) == 0 and decibels(0.01) == pytest.approx(-20)


def test_masks_take_a_wanted_length() -> None:
    mask = np.array([True, False, True])
    assert frames_of(mask, 2).tolist() == [True, False]
    assert frames_of(mask, 5).tolist() == [True, False, True, False, False]
