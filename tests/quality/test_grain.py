"""Grain: hiss, band energy and flutter added by hand are found again, and level does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quality.sounds import RATE, buzz, clock, joined, noise, silence, sine
from tts_trt.errors import UsageError
from tts_trt.quality.grain import Grain, grain


def found(wave: np.ndarray, voiced: np.ndarray | None = None) -> Grain:
    made = grain(wave, RATE, voiced)
    assert made is not None
    return made


def test_white_noise_has_the_flatness_of_a_periodogram_and_half_the_power() -> None:
    white = found(noise(4.0))
    assert white.flatness == pytest.approx(np.exp(-0.5772), abs=0.01)
    assert white.share_db == pytest.approx(-3.01, abs=0.1)
    assert white.frames == 401


def test_a_tone_above_four_kilohertz_is_not_flat() -> None:
    tone = found(joined(sine(1.0, 300.0)) + sine(1.0, 6000.0, 0.05))
    assert tone.flatness < 0.01 and tone.share_db == pytest.approx(-20, abs=0.2)
    assert found(sine(1.0, 300.0) + sine(1.0, 3900.0)).share_db < -30


def test_hiss_raises_flatness_and_band_energy() -> None:
    voice = buzz(2.0) + sine(2.0, 5000.0, 0.001)
    clean, hissing, worse = found(voice), found(voice + noise(2.0, 0.002)), found(voice + noise(2.0, 0.02))
    assert clean.flatness < hissing.flatness < worse.flatness
    assert clean.share_db < hissing.share_db < worse.share_db
    assert worse.share_db == pytest.approx(20 * np.log10(0.02 / 0.1) - 3.01, abs=0.4)


def test_a_trembling_band_flutters() -> None:
    steady = sine(2.0, 300.0) + sine(2.0, 6000.0, 0.05)
    trembling = 1 + 0.5 * np.sin(2 * np.pi * 12.5 * clock(2.0))
    shaken = (sine(2.0, 300.0) + sine(2.0, 6000.0, 0.05) * trembling).astype(np.float32)
    assert found(steady).flutter_db < 0.3
    assert 1.0 < found(shaken).flutter_db < 4.0


def test_only_voiced_frames_count_where_they_are_given() -> None:
    wave = joined(buzz(1.0), noise(1.0))  # a vowel and a fricative
    voiced = np.arange(201) < 95
    assert found(wave).share_db > -10 and found(wave, voiced).share_db < -50
    assert found(wave, voiced).frames == 95
    hissing = joined(buzz(1.0) + noise(1.0, 0.01), noise(1.0, 0.3))
    assert found(hissing, voiced).share_db == pytest.approx(found(hissing[:RATE]).share_db, abs=0.3)


def test_pauses_do_not_count() -> None:
    wave = joined(buzz(1.0), noise(1.0, 1e-4), buzz(1.0))
    assert found(wave).frames == pytest.approx(202, abs=6)
    assert found(wave).share_db < -45


def test_silence_has_no_grain() -> None:
    assert grain(silence(1.0), RATE) is None
    assert grain(noise(1.0, 1e-5), RATE) is None
    assert grain(buzz(1.0), RATE, np.zeros(101, bool)) is None


def test_a_rate_without_the_band_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a rate of at least 10000 Hz"):
        grain(buzz(1.0), 8000)


def test_one_frame_has_no_flutter() -> None:
    voiced = np.zeros(101, bool)
    voiced[50] = True
    assert found(buzz(1.0), voiced).flutter_db is None


@settings(max_examples=10, deadline=None)
@given(st.floats(-20, 20))
def test_grain_does_not_depend_on_level(db: float) -> None:
    wave = (buzz(0.5) + noise(0.5, 0.01)).astype(np.float64)
    a, b = found(wave), found(wave * 10 ** (db / 20))
    assert (a.flatness, a.share_db, a.flutter_db) == pytest.approx(
        (b.flatness, b.share_db, b.flutter_db), rel=1e-3
    )


@pytest.mark.parametrize("rate", [22_050, 24_000, 44_100])
def test_the_band_begins_at_four_kilohertz_at_any_rate(rate: int) -> None:
    time = np.arange(rate) / rate
    for hertz, inside in ((3850.0, False), (4150.0, True)):
        made = grain(np.sin(2 * np.pi * hertz * time) * 0.1, rate)
        assert made is not None and (made.share_db > -1) is inside
