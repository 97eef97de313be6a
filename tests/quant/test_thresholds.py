from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from tts_trt.errors import QuantError, UsageError
from tts_trt.quant.histogram import Histogram
from tts_trt.quant.thresholds import METHODS, divergences, rebinned, squared_errors, threshold


def histogram(values: NDArray[np.float64]) -> Histogram:
    found = Histogram()
    found.add(values)
    return found


def rounding_error(values: NDArray[np.float64], limit: float) -> float:
    scale = limit / 127
    return float(np.mean((values - np.clip(np.rint(values / scale), -127, 127) * scale) ** 2))


RNG = np.random.default_rng(5)
SHAPES = {
    "normal": RNG.normal(size=100_000),
    "laplace": RNG.laplace(size=100_000),
    "uniform": RNG.uniform(-3, 3, size=100_000),
    "heavy": RNG.standard_t(3, size=100_000),
    "rectified": np.maximum(RNG.normal(size=100_000), 0),
    "tiny": 1e-30 * RNG.normal(size=100_000),
    "huge": 1e37 * RNG.normal(size=100_000),
}
SHAPES = {name: values.astype(np.float32).astype(np.float64) for name, values in SHAPES.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_stays_within_the_range(shape: str) -> None:
    values = SHAPES[shape]
    largest = np.abs(values).max()
    found = {method: threshold(histogram(values), method) for method in METHODS}
    assert found["max"] == largest
    assert all(largest / 20 < limit <= largest for limit in found.values())


@pytest.mark.parametrize("percentile", [50, 99, 99.99])
@pytest.mark.parametrize("shape", SHAPES)
def test_percentile_is_that_of_the_values_to_one_bin(shape: str, percentile: float) -> None:
    magnitudes, found = np.sort(np.abs(SHAPES[shape])), histogram(SHAPES[shape])
    exact = magnitudes[int(np.ceil(percentile / 100 * len(magnitudes))) - 1]
    assert exact <= threshold(found, "percentile", percentile) <= exact + found.width


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_is_as_good_as_the_best_threshold_found_by_quantising_the_values(shape: str) -> None:
    values = SHAPES[shape]
    best = min(rounding_error(values, limit) for limit in np.abs(values).max() * np.linspace(0.05, 1, 191))
    assert rounding_error(values, threshold(histogram(values), "mse")) <= 1.01 * best


def test_the_expected_error_is_the_error_of_the_values() -> None:
    values = SHAPES["heavy"]
    found, limits = histogram(values), np.abs(values).max() * np.array([0.02, 0.1, 0.3, 1])
    expected = squared_errors(found, limits) * found.width**2 / len(values)
    assert expected == pytest.approx([rounding_error(values, limit) for limit in limits], rel=0.02)


def test_entropy_ignores_how_many_values_are_zero() -> None:
    values = SHAPES["laplace"]
    assert threshold(histogram(np.append(values, np.zeros(10**6))), "entropy") == threshold(
        histogram(values), "entropy"
    )


def test_entropy_clips_a_lone_outlier_as_far_as_it_can() -> None:
    found = threshold(histogram(np.append(SHAPES["normal"], 1000)), "entropy")
    assert found == 1000 / 16


@pytest.mark.parametrize("method", METHODS)
def test_one_repeated_magnitude_is_its_own_threshold(method: str) -> None:
    for magnitude in (1.0, 0.7, 1e-30, 1e-45, 3e38):
        expected = float(np.float32(magnitude))
        assert threshold(histogram(np.full(50, -magnitude)), method) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_have_no_threshold_and_no_values_are_an_error(method: str) -> None:
    assert threshold(histogram(np.zeros(3)), method) == 0
    with pytest.raises(QuantError, match="no values"):
        threshold(Histogram(), method)


def test_unknown_methods_and_percentiles_are_refused() -> None:
    with pytest.raises(UsageError, match="max, percentile, mse, entropy"):
        threshold(histogram(np.ones(1)), "median")
    for percentile in (0, 100.1, float("nan")):
        with pytest.raises(UsageError, match="percentile"):
            threshold(histogram(np.ones(1)), "percentile", percentile)


@pytest.mark.parametrize("largest", [2048.0, 2048.5, 3000.25, 4095.75])
def test_rebinning_keeps_every_value_that_is_not_zero(largest: float) -> None:
    found = histogram(np.append(np.arange(0, 2000, 0.5), largest))
    counts = rebinned(found, 2048)
    assert counts.sum() == found.total - 1
    assert counts.min() >= 0
    assert counts[-1] > 0


def test_all_methods_take_seconds_for_all_tensors_of_a_model() -> None:
    found = histogram(SHAPES["laplace"])
    begin = time.perf_counter()
    for method in METHODS * 5:
        threshold(found, method)
    assert (time.perf_counter() - begin) / 5 * 150 < 15


ORT_FLAWS = frozenset({"one side longer", "remainder", "whole counts", "empty bins"})


def slow_divergences(hist: NDArray[np.int64], levels: int, flaws: frozenset[str]) -> list[float]:
    """The procedure of ``divergences``, bin by bin, on a histogram of both signs with ``levels`` in all; with all
    ORT_FLAWS it is ONNX Runtime's."""
    centre, found = len(hist) // 2, []
    for i in range(levels // 2, centre + 1):
        start, stop = centre - i, min(centre + i + ("one side longer" in flaws), len(hist))
        inner = hist[start:stop]
        p = inner.astype(np.float64)
        p[0] += hist[:start].sum()
        p[-1] += hist[stop:].sum()
        if "remainder" in flaws:
            bounds = np.arange(levels + 1) * (len(inner) // levels)
        else:
            half = np.arange(levels // 2 + 1) * i // (levels // 2)
            bounds = np.concatenate([i - half[:0:-1], i + half])
        q = np.zeros(len(p))
        for a, b in pairwise(bounds):
            mass, filled = inner[a:b].sum(), p[a:b] > 0
            if b == bounds[-1]:
                mass += inner[b:].sum()
            share = mass / filled.sum() if filled.any() else 0
            q[a:b] = int(share) if "whole counts" in flaws else share
            if "empty bins" not in flaws:
                q[a:b][~filled] = 0
        found.append(divergence(p, q, smooth="empty bins" in flaws))
    return found


def divergence(p: NDArray[np.float64], q: NDArray[np.float64], smooth: bool) -> float:
    if not q.any():
        return np.inf
    if smooth:
        for x in (p, q):
            empty = x == 0
            x[~empty] -= 1e-4 * empty.sum() / (~empty).sum()
            x[empty] = 1e-4
    else:
        q[(p > 0) & (q == 0)] = 1e-4
        p, q = p[p > 0], q[p > 0]
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def magnitudes(shape: str, bins: int) -> NDArray[np.int64]:
    values = np.abs(SHAPES[shape][:20_000])
    return np.histogram(values, bins, range=(0, values.max()))[0]


@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform", "heavy", "rectified"])
def test_divergences_are_those_of_the_slow_procedure(shape: str) -> None:
    counts = magnitudes(shape, 300)
    slow = slow_divergences(np.concatenate([counts[::-1], counts]), 128, frozenset())
    assert divergences(counts.astype(np.float64), 64) == pytest.approx(slow, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform", "heavy", "rectified"])
def test_the_slow_procedure_with_their_flaws_is_that_of_onnx_runtime(shape: str) -> None:
    from onnxruntime.quantization.calibrate import HistogramCollector

    counts = magnitudes(shape, 300)
    hist = np.concatenate([counts[::-1], counts])
    edges = np.linspace(-300, 300, 601, dtype=np.float32)
    collector = HistogramCollector("entropy", True, len(hist), 128, 99.99, "same")
    low, _ = collector.get_entropy_threshold((hist, edges, edges[0], edges[-1]), 128)
    assert 64 + int(np.argmin(slow_divergences(hist, 128, ORT_FLAWS))) == -low


def test_onnx_runtime_measures_the_remainder_that_it_leaves_out() -> None:
    """Hence theirs is not the reference: it clips a uniform distribution, of which every bin counts alike."""
    hist = np.full(600, 1000)
    sound, theirs = (slow_divergences(hist, 128, flaws) for flaws in (frozenset(), ORT_FLAWS))
    assert 64 + int(np.argmin(sound)) == 300
    assert sound[-1] == pytest.approx(0)
    assert 64 + int(np.argmin(theirs)) == 256
    assert min(theirs) > 1
    without = slow_divergences(hist, 128, ORT_FLAWS - {"remainder"})
    assert 64 + int(np.argmin(without)) == 300
