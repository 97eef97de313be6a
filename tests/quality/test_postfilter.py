"""The post-filter takes hiss out of the high band and changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quality.synthetic import RATE, speech
from tts_trt.errors import UsageError
from tts_trt.quality.postfilter import PostFilter, _analysed, _synthesised, noise_power
from tts_trt.quality.qc_signal import FloatArray

HISS = 0.005


def high(wave_S: FloatArray, low: float = 4500.0, top: float = 8000.0) -> float:
    """Power in a band."""
    spectrum = np.abs(np.fft.rfft(wave_S.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(wave_S), 1 / RATE)
    return float(spectrum[(hertz >= low) & (hertz < top)].sum())


def hissing(seed: int = 0) -> FloatArray:
    noise = np.random.default_rng(seed).standard_normal(len(speech(seed))) * HISS
    return (speech(seed) + noise).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(0, 5000),
    seed=st.integers(0, 2**32 - 1),
    level=st.sampled_from([0.0, 1e-30, 1e-4, 0.3, 1.0]),
    reduction=st.floats(0, 60),
    smoothing=st.floats(0, 1),
    rate=st.sampled_from([8000, 16_000, 22_050, 44_100]),
)
def test_the_length_stays_and_there_is_no_gain(
    samples: int, seed: int, level: float, reduction: float, smoothing: float, rate: int
) -> None:
    wave = (np.random.default_rng(seed).standard_normal(samples) * level).astype(np.float32)
    kept = wave.copy()
    made = PostFilter(reduction_db=reduction, smoothing=smoothing)(wave, rate)
    assert made.shape == wave.shape and made.dtype == np.float32 and np.isfinite(made).all()
    assert np.array_equal(wave, kept)
    energy = np.sum(wave.astype(np.float64) ** 2)
    assert np.sum(made.astype(np.float64) ** 2) <= energy * (1 + 1e-6)


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 5000])
def test_what_is_analysed_comes_back_with_its_energy(samples: int) -> None:
    wave = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    spectrum = _analysed(wave, 160)
    assert np.allclose(_synthesised(spectrum, 160, samples), wave, atol=1e-6)
    weight = np.full(spectrum.shape[1], 2.0)
    weight[[0, -1]] = 1
    energy = np.sum(weight * np.abs(spectrum) ** 2) / 320
    assert energy == pytest.approx(np.sum(wave.astype(np.float64) ** 2), rel=1e-6)


def test_hiss_goes_and_speech_stays() -> None:
    wave = hissing()
    made = PostFilter()(wave, RATE)
    rest = slice(round(0.01 * RATE), round(0.07 * RATE))  # before the first syllable
    assert high(made[rest]) < 0.15 * high(wave[rest])
    below = [high(w, 100.0, 3800.0) for w in (wave, made)]
    assert below[1] == pytest.approx(below[0], rel=1e-4)
    assert np.corrcoef(made, speech())[0, 1] > 0.999


def test_it_comes_nearer_to_what_was_there_before_the_hiss() -> None:
    for seed in range(3):
        clean, wave = speech(seed), hissing(seed)
        made = PostFilter()(wave, RATE)
        assert high((made - clean).astype(np.float32)) < 0.6 * high(wave - clean)


def test_nothing_to_do_is_nothing_done() -> None:
    low = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE).astype(np.float32) * np.float32(0.3)
    assert PostFilter()(low, RATE) is low
    wave = hissing()
    assert PostFilter(audible_db=0.0)(wave, RATE) is wave
    assert PostFilter(reduction_db=0.0)(wave, RATE) is wave
    assert PostFilter(above_hz=9000.0)(wave, RATE) is wave
    assert PostFilter()(np.zeros(0, np.float32), RATE).shape == (0,)
    assert not np.array_equal(PostFilter()(wave, RATE), wave)


def test_samples_that_no_reduced_frame_covers_stay_bit_for_bit() -> None:
    wave = np.zeros(RATE, np.float32)
    wave[::40] = 0.25  # the same in every frame, so that there is nothing to calm
    wave[8000:8200] += (0.1 * np.sin(2 * np.pi * 6000 * np.arange(200) / RATE)).astype(np.float32)
    made = PostFilter(smoothing=1.0, audible_db=0.0, reduction_db=40)(wave, RATE)
    changed = np.flatnonzero(made[:-640] != wave[:-640])  # where the comb ends it is another one
    assert len(changed) and changed[0] >= 8000 - 640 and changed[-1] < 8200 + 640


def test_smoothing_takes_down_what_sticks_out_of_a_band_for_one_frame() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * np.float32(0.05)
    calm = PostFilter(audible_db=0.0, smoothing=1.0)(noise, RATE)
    half = PostFilter(audible_db=0.0, smoothing=0.5)(noise, RATE)
    assert high(calm) < 0.95 * high(half) < 0.95 * high(noise)


def test_noise_is_found_under_speech() -> None:
    rng = np.random.default_rng(0)
    power = rng.exponential(2.0, (400, 50))
    power[100:300] += 500.0
    assert np.median(noise_power(power)) == pytest.approx(2.0, rel=0.35)


@pytest.mark.parametrize(
    "wrong",
    [{"reduction_db": -1.0}, {"reduction_db": 61.0}, {"above_hz": -1.0}, {"smoothing": 1.1}, {"audible_db": 1.0},
     {"smoothing": float("nan")}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PostFilter(**wrong)


@pytest.mark.parametrize("wave", [np.zeros((2, 100), np.float32), np.full(100, np.nan, np.float32)])
def test_what_is_no_wave_is_refused(wave: FloatArray) -> None:
    with pytest.raises(UsageError, match="finite mono"):
        PostFilter()(wave, RATE)


def test_its_latency_is_one_window() -> None:
    assert PostFilter().latency_seconds() == 0.02
