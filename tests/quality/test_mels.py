"""Mels side by side: known differences and known restlessness, in dB whatever the model's scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.distance import mel_distance_db
from tts_trt.quality.mels import by_position, mel_flicker, mel_gap, mel_jitter, mel_jitter_ratio

RNG = np.random.default_rng(0)
MEL = RNG.standard_normal((80, 50)).astype(np.float32)
PLAIN = AudioDims()
SCALED = replace(PLAIN, mel_scale=2.5, mel_shift=-5.0)


@pytest.mark.parametrize("audio", [PLAIN, SCALED])
def test_twice_the_amplitude_is_six_decibels_everywhere(audio: AudioDims) -> None:
    gap_mT = mel_gap(MEL, MEL + np.float32(np.log(2) / audio.mel_scale), audio)
    assert gap_mT.shape == MEL.shape
    assert gap_mT == pytest.approx(6.0206, abs=1e-3)


def test_the_map_shows_where() -> None:
    other = MEL.copy()
    other[7, 11] -= 1
    gap_mT = mel_gap(MEL, other, PLAIN)
    assert np.argwhere(gap_mT).tolist() == [[7, 11]] and gap_mT[7, 11] == pytest.approx(8.686, abs=1e-3)
    assert gap_mT.mean() == pytest.approx(mel_distance_db(MEL, other, PLAIN), rel=1e-9)


def test_a_ramp_moves_by_its_slope() -> None:
    ramp = np.outer(np.arange(80), np.arange(30)).astype(np.float32) * 0.1
    jitter_m = mel_jitter(ramp, SCALED)
    assert jitter_m == pytest.approx(0.1 * np.arange(80) * 2.5 * 8.6859, rel=1e-4)


def test_alternation_added_to_a_steady_mel_is_twice_its_size() -> None:
    steady = np.zeros((80, 40), np.float32)
    flicker = 0.1 * (-1.0) ** np.arange(40)
    assert mel_jitter(steady + flicker, PLAIN) == pytest.approx(0.2 * 8.6859, rel=1e-4)
    assert not mel_jitter(steady, PLAIN).any()


def test_the_ratio_is_that_of_the_means() -> None:
    assert mel_jitter_ratio(MEL, MEL * np.float32(1.5)) == pytest.approx(1.5, rel=1e-5)
    assert mel_jitter_ratio(MEL, MEL + np.float32(3)) == pytest.approx(1, rel=1e-5)
    assert mel_jitter_ratio(np.zeros_like(MEL), MEL) is None


def test_flicker_tells_an_error_that_changes_from_one_that_stays() -> None:
    assert mel_flicker(MEL, MEL + np.float32(0.5), SCALED) == pytest.approx(0, abs=1e-4)
    error = 0.1 * np.random.default_rng(1).standard_normal((80, 2000))
    quiet = np.zeros((80, 2000), np.float32)
    flicker, gap = (measure(quiet, error, SCALED).mean() for measure in (mel_flicker, mel_gap))
    assert flicker / gap == pytest.approx(np.sqrt(2), rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(-5, 5))
def test_jitter_does_not_depend_on_level_or_direction(seed: int, level: float) -> None:
    mel = np.random.default_rng(seed).standard_normal((8, 12))
    expected = mel_jitter(mel, PLAIN)
    assert mel_jitter(mel + level, PLAIN) == pytest.approx(expected)
    assert mel_jitter(mel[:, ::-1], PLAIN) == pytest.approx(expected)


def test_mels_that_are_no_pair_are_refused() -> None:
    for wrong in (MEL[:, :-1], MEL[:-1], MEL[0], np.full_like(MEL, np.nan), MEL[:, :0]):
        with pytest.raises(UsageError):
            mel_gap(MEL, wrong, PLAIN)
        with pytest.raises(UsageError):
            mel_jitter_ratio(MEL, wrong)
        with pytest.raises(UsageError):
            mel_flicker(MEL, wrong, PLAIN)
    with pytest.raises(UsageError, match="at least 2"):
        mel_jitter(MEL[:, :1], PLAIN)


def test_positions_are_equal_parts_in_order() -> None:
    assert by_position(np.arange(10.0), 5).tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert by_position(np.array([1.0, 2.0, 3.0]), 3).tolist() == [1, 2, 3]
    uneven = by_position(np.arange(7.0), 3)
    assert uneven.tolist() == [0.5, 2.5, 5.0]
    with pytest.raises(UsageError, match="2 values"):
        by_position(np.ones(2), 3)
