"""Levels and pauses of sounds made to have them."""

from __future__ import annotations

import builtins
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quality.sounds import RATE, buzz, joined, noise, silence, sine
from tts_trt.errors import UsageError
from tts_trt.quality.levels import Pauses, active, levels, loudness_lufs, pauses


def test_a_sine_has_its_levels() -> None:
    found = levels(sine(1.0, 1000.0), RATE)
    assert found.seconds == 1.0 and found.peak == pytest.approx(0.5, abs=1e-3)
    assert found.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert found.clipped == 0 and found.offset == pytest.approx(0, abs=1e-6)


def test_a_clipped_sine_has_the_share_of_its_flat_tops() -> None:
    clipped = np.clip(sine(1.0, 100.0, 2.0), -1, 1)
    expected = 1 - 2 / np.pi * np.arcsin(0.5)  # of the time |2 sin| is above 1
    assert levels(clipped, RATE).clipped == pytest.approx(expected, abs=0.005)
    assert levels(clipped * np.float32(0.9), RATE).clipped == 0
    assert levels(-clipped, RATE).clipped == pytest.approx(expected, abs=0.005)


def test_an_offset_is_told_with_its_sign_and_is_no_level() -> None:
    plain, shifted = sine(1.0, 1000.0), sine(1.0, 1000.0) - np.float32(0.1)
    assert levels(shifted, RATE).offset == pytest.approx(-0.1, abs=1e-4)
    assert levels(shifted, RATE).rms_dbfs == pytest.approx(levels(plain, RATE).rms_dbfs, abs=0.01)


@pytest.mark.parametrize("floor", [-40.0, -60.0, -80.0])
def test_hiss_in_the_pauses_is_the_noise_floor(floor: float) -> None:
    wave = joined(buzz(1.0), silence(1.0)) + noise(2.0, 10 ** (floor / 20))
    assert levels(wave, RATE).noise_floor_dbfs == pytest.approx(floor, abs=1.5)


def test_silence_has_the_lowest_levels() -> None:
    found = levels(silence(1.0), RATE)
    assert (found.rms_dbfs, found.noise_floor_dbfs, found.peak, found.clipped) == (-120, -120, 0, 0)


def test_pauses_are_found_where_they_are() -> None:
    wave = joined(silence(0.3), buzz(0.5), silence(0.25), buzz(0.5), silence(0.6), buzz(0.5), silence(0.35))
    found = pauses(wave, RATE)
    assert found.lead == pytest.approx(0.3, abs=0.02) and found.tail == pytest.approx(0.35, abs=0.02)
    assert found.longest == pytest.approx(0.6, abs=0.03)
    assert found.silence == pytest.approx(1.5 / 3.0, abs=0.03)


def test_stop_consonants_are_no_pauses() -> None:
    found = pauses(joined(buzz(0.5), silence(0.08), buzz(0.5)), RATE)
    assert found.longest == 0 and found.silence == 0


def test_silence_is_all_lead() -> None:
    for wave in (silence(1.0), noise(1.0, 1e-4), silence(1.0) + np.float32(0.2)):
        assert pauses(wave, RATE) == Pauses(silence=1.0, longest=0.0, lead=1.0, tail=0.0)


def test_frames_below_sixty_decibels_hold_no_speech() -> None:
    assert not active(np.full(10, 0.9e-6)).any() and active(np.full(10, 1.1e-6)).all()


@settings(max_examples=10, deadline=None)
@given(st.floats(-15, 15))
def test_pauses_do_not_depend_on_level(db: float) -> None:
    wave = joined(buzz(0.3), silence(0.3), buzz(0.3)).astype(np.float64)
    assert pauses(wave * 10 ** (db / 20), RATE) == pauses(wave, RATE)


def test_loudness_of_the_reference_tone() -> None:
    # BS.1770: a full 997 Hz sine in one channel is -3.01 LUFS; pyloudnorm's filters are within 0.1 of it
    pytest.importorskip("pyloudnorm")
    for rate in (16_000, 22_050, 48_000):
        tone = np.sin(2 * np.pi * 997 * np.arange(2 * rate) / rate)
        assert loudness_lufs(tone, rate) == pytest.approx(-3.01, abs=0.15)
        assert loudness_lufs(tone * 0.1, rate) == pytest.approx(-23.01, abs=0.15)


def test_pauses_are_gated_out_of_loudness() -> None:
    pytest.importorskip("pyloudnorm")
    whole = loudness_lufs(buzz(2.0), RATE)
    assert loudness_lufs(joined(buzz(2.0), silence(4.0)), RATE) == pytest.approx(whole, abs=0.6)


def test_silence_has_no_loudness_and_warns_of_nothing() -> None:
    pytest.importorskip("pyloudnorm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loudness_lufs(silence(1.0), RATE) is None
        assert loudness_lufs(noise(1.0, 1e-5), RATE) is None
        assert loudness_lufs(sine(1.0, 25.0, 1e-3), RATE) is None  # heard by the meter, not by the ear


def test_less_than_a_block_has_no_loudness() -> None:
    with pytest.raises(UsageError, match="expected at least 6400"):
        loudness_lufs(buzz(0.39), RATE)


def test_without_the_package_loudness_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pyloudnorm":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pyloudnorm") as caught:
        loudness_lufs(buzz(1.0), RATE)
    assert "quality" in (caught.value.hint or "")
