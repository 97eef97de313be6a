"""Spreads and histograms: plain numbers, missing values counted, nothing infinite let through."""

from __future__ import annotations

import numpy as np
import pytest

from tts_trt.errors import UsageError
from tts_trt.quality.distribution import MOST_BINS, histogram, spread


def test_a_spread_of_known_numbers() -> None:
    found = spread([*map(float, range(101)), None, None])
    assert found is not None
    assert (found.count, found.missing, found.mean, found.median) == (101, 2, 50, 50)
    assert (found.low, found.q05, found.q25, found.q75, found.q95, found.high) == (0, 5, 25, 75, 95, 100)
    assert found.deviation == pytest.approx(np.sqrt((101**2 - 1) / 12))


def test_nothing_measured_has_no_spread() -> None:
    assert spread([]) is None and spread([None, None]) is None
    assert histogram({}) is None and histogram({"a": [None], "b": []}) is None


def test_what_is_not_finite_is_refused() -> None:
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="1 of 2 values"):
            spread([1.0, wrong, None])
        with pytest.raises(UsageError, match="1 of 1 values"):
            histogram({"a": [1.0], "b": [wrong]})


def test_columns_share_their_edges_and_lose_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(200).tolist(), [*(rng.standard_normal(150) + 3).tolist(), None]
    found = histogram({"a": a, "b": b})
    assert found is not None
    assert (sum(found.counts["a"]), sum(found.counts["b"])) == (200, 150)
    assert len(found.counts["a"]) == len(found.counts["b"]) == len(found.edges) - 1 <= MOST_BINS
    assert found.edges[0] == min(a) and found.edges[-1] == max(x for x in b if x is not None)
    assert 5 < len(found.edges) < 30


def test_equal_values_are_one_bar_and_outliers_do_not_make_thousands() -> None:
    one = histogram({"a": [2.0] * 5})
    assert one is not None and one.counts == {"a": (5,)} and one.edges[0] <= 2 <= one.edges[1]
    far = histogram({"a": [*np.linspace(0, 1, 100).tolist(), 1e6]})
    assert far is not None and len(far.edges) - 1 == MOST_BINS
