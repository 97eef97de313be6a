"""Endings: faded, cut and trailing sounds are told apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quality.sounds import RATE, buzz, joined, noise, silence
from tts_trt.errors import UsageError
from tts_trt.quality.endings import Ending, ending


def voiced_of(wave: np.ndarray, *spans: tuple[float, float]) -> np.ndarray:
    times = np.arange(round(len(wave) / RATE * 100) + 1) / 100
    return np.any([(times >= a) & (times < b) for a, b in spans], axis=0)


def found(wave: np.ndarray, *spans: tuple[float, float]) -> Ending:
    made = ending(wave, RATE, voiced_of(wave, *(spans or ((0.0, len(wave) / RATE),))))
    assert made is not None
    return made


def test_a_cut_end_is_abrupt_and_a_faded_one_is_not() -> None:
    whole = buzz(1.5)
    fade = np.ones(len(whole), np.float32)
    fade[-RATE // 5 :] = np.linspace(1, 0, RATE // 5) ** 2
    cut, faded = found(whole), found(whole * fade)
    assert cut.cut_db == pytest.approx(0, abs=2) and cut.tail_s == 0
    assert faded.cut_db < -40


def test_a_tail_is_as_long_as_it_is() -> None:
    made = found(joined(buzz(1.0), silence(0.4)), (0.0, 1.0))
    assert made.tail_s == pytest.approx(0.4, abs=0.02) and made.cut_db == -100
    hissing = found(joined(buzz(1.0), silence(0.4)) + noise(1.4, 1e-3), (0.0, 1.0))
    assert hissing.cut_db == pytest.approx(-40, abs=2) and hissing.tail_s == pytest.approx(0.4, abs=0.02)


def test_a_constant_offset_is_no_cut() -> None:
    wave = joined(buzz(1.0), silence(0.4)) - np.float32(0.05)
    assert found(wave, (0.0, 1.0)).cut_db < -80


@pytest.mark.parametrize("db", [0.0, -6.0, -12.0])
def test_the_last_voice_has_its_level(db: float) -> None:
    wave = joined(buzz(2.75), buzz(0.25) * np.float32(10 ** (db / 20)), silence(0.2))
    power = 10 ** (db / 10)
    expected = 10 * np.log10(power / ((2.75 + 0.25 * power) / 3))
    assert found(wave, (0.0, 3.0)).last_voice_db == pytest.approx(expected, abs=1.3)


def test_a_pause_or_a_fricative_before_the_last_voice_does_not_count() -> None:
    whole = joined(buzz(1.0), silence(0.5), noise(0.3, 0.3), buzz(0.1), silence(0.2))
    made = found(whole, (0.0, 1.0), (1.8, 1.9))
    assert made.last_voice_db == pytest.approx(0, abs=1.0)


def test_a_slow_fall_is_longer() -> None:
    wave = buzz(2.0)
    for seconds in (0.2, 0.6):
        fading = np.ones(len(wave), np.float32)
        n = round(seconds * RATE)
        fading[-n:] = 10 ** (np.linspace(0, -60, n) / 20)
        # from -6 dB to -30 dB of a 60 dB slope, the loudest frames being a little above the mean
        assert found(wave * fading).fall_s == pytest.approx(0.4 * seconds, abs=0.04)
    assert found(wave).fall_s < 0.02


def test_little_voice_has_no_last_part_of_it() -> None:
    assert found(buzz(1.0), (0.2, 0.6)).last_voice_db is None
    assert found(buzz(1.0), (0.2, 0.75)).last_voice_db is not None
    assert found(noise(1.0), (0.0, 0.0)).last_voice_db is None


def test_silence_has_no_ending() -> None:
    assert ending(silence(1.0), RATE, np.zeros(101, bool)) is None
    with pytest.raises(UsageError, match="samples"):
        ending(silence(0.05), RATE, np.zeros(6, bool))


@settings(max_examples=10, deadline=None)
@given(st.floats(-15, 15))
def test_endings_do_not_depend_on_level(db: float) -> None:
    wave = joined(buzz(0.7), buzz(0.2, level=0.03)).astype(np.float64)
    a, b = found(wave), found(wave * 10 ** (db / 20))
    assert (a.last_voice_db, a.cut_db) == pytest.approx((b.last_voice_db, b.cut_db), abs=1e-6)
    assert (a.tail_s, a.fall_s) == (b.tail_s, b.fall_s)
