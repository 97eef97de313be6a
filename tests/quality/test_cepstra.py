"""Mel cepstral distortion against numbers worked out by hand, and alignment against every path there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.dims import AudioDims
from tts_trt.errors import UsageError
from tts_trt.quality.cepstra import mcd_aligned_db, mcd_curve, mcd_db, mel_cepstra, warping_path

AUDIO = AudioDims()
RNG = np.random.default_rng(0)
MEL = RNG.standard_normal((80, 30))


def ripple(k: int, height: float) -> np.ndarray:
    """One cosine over the mel bands, (80,1), whose log power has c_k = height."""
    return (height * np.cos(np.pi * k * (np.arange(80) + 0.5) / 80))[:, None]


@pytest.mark.parametrize("k", [1, 5, 24])
def test_a_ripple_in_log_power_has_one_coefficient(k: int) -> None:
    cepstra_TC = mel_cepstra(MEL + ripple(k, 0.3), AUDIO) - mel_cepstra(MEL, AUDIO)
    expected = np.zeros(24)
    expected[k - 1] = 0.3  # ln P = 2 ln A = 2 * 0.3 cos(...) = 2 c_k cos(...)
    assert cepstra_TC.shape == (30, 24)
    assert cepstra_TC == pytest.approx(np.tile(expected, (30, 1)), abs=1e-12)


def test_the_distortion_of_known_coefficients() -> None:
    other = MEL + ripple(3, 0.3) + ripple(10, 0.4)
    assert mcd_db(MEL, other, AUDIO) == pytest.approx(6.141851463713754 * 0.5, rel=1e-12)


def test_itself_level_and_what_lies_above_the_order_are_no_distortion() -> None:
    assert mcd_db(MEL, MEL, AUDIO) == 0
    assert mcd_db(MEL, MEL + 2.0, AUDIO) == pytest.approx(0, abs=1e-12)
    assert mcd_db(MEL, MEL + ripple(25, 1.0), AUDIO) == pytest.approx(0, abs=1e-12)
    assert mcd_db(MEL, MEL + ripple(25, 1.0), AUDIO, order=25) == pytest.approx(6.14185, rel=1e-5)


def test_the_models_scale_is_undone() -> None:
    scaled = replace(AUDIO, mel_scale=2.5, mel_shift=-5.0)
    natural = MEL + ripple(3, 0.5)
    a, b = ((mel + 5.0) / 2.5 for mel in (MEL, natural))
    assert mcd_db(a, b, scaled) == pytest.approx(mcd_db(MEL, natural, AUDIO), rel=1e-9)


def test_with_all_coefficients_it_is_the_spread_of_the_difference_in_decibels() -> None:
    # Parseval; the last coefficient of an even number of bands counts twice in the formula
    gap = RNG.standard_normal((80, 30))
    curve_T = mcd_curve(MEL, MEL + gap, AUDIO, order=79)
    assert curve_T == pytest.approx((gap * 20 / np.log(10)).std(0), rel=1e-9)


def test_the_curve_shows_where() -> None:
    other = MEL.copy()
    other[:, 7:8] += ripple(2, 1.0)
    assert np.flatnonzero(mcd_curve(MEL, other, AUDIO) > 1e-9).tolist() == [7]


def test_unequal_lengths_and_orders_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="30 and 29 mel frames"):
        mcd_db(MEL, MEL[:, 1:], AUDIO)
    with pytest.raises(UsageError, match="with T"):
        mcd_aligned_db(MEL, MEL[1:], AUDIO)
    for order in (0, 80):
        with pytest.raises(UsageError, match="expected 1 to 79"):
            mcd_db(MEL, MEL, AUDIO, order)


def test_a_slower_reading_is_aligned() -> None:
    slow = np.repeat(MEL, [1 + t % 3 for t in range(30)], axis=1)
    assert mcd_aligned_db(MEL, slow, AUDIO) == pytest.approx(0, abs=1e-6)
    assert mcd_aligned_db(MEL, np.roll(MEL, 2, axis=1), AUDIO) < 0.5 * mcd_db(
        MEL, np.roll(MEL, 2, axis=1), AUDIO
    )


def test_a_difference_that_is_no_matter_of_time_stays() -> None:
    steady = np.zeros((80, 12))
    found = mcd_aligned_db(steady, np.zeros((80, 20)) + ripple(4, 0.5), AUDIO)
    assert found == pytest.approx(6.14185 * 0.5, rel=1e-5)


def paths(t: int, u: int) -> Iterator[list[tuple[int, int]]]:
    """Every path from (0, 0) to (t, u)."""
    if (t, u) == (0, 0):
        yield [(0, 0)]
        return
    for before in ((t - 1, u), (t, u - 1), (t - 1, u - 1)):
        if min(before) >= 0:
            for path in paths(*before):
                yield [*path, (t, u)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_the_path_is_the_cheapest_of_all(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).random((rows, columns))
    found = [(int(t), int(u)) for t, u in warping_path(cost)]
    everything = list(paths(rows - 1, columns - 1))
    assert found in everything
    assert sum(cost[c] for c in found) == pytest.approx(min(sum(cost[c] for c in p) for p in everything))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_both_ways_round_it_is_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((80, 9)), rng.standard_normal((80, 9))
    assert mcd_db(a, b, AUDIO) == pytest.approx(mcd_db(b, a, AUDIO))
    assert mcd_aligned_db(a, b, AUDIO) == pytest.approx(mcd_aligned_db(b, a, AUDIO))
