"""Balanced deals: counts kept, pairs even, and the quick search for a swap agrees with trying them all."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from tts_trt.quant.balance import (
    IntArray,
    _levelled,
    _swap,
    _unevenness,
    apportion,
    deal,
    shuffled,
    spread,
    stream,
)


def test_weights_are_followed_to_the_nearest_utterance() -> None:
    assert apportion({"a": 1.0, "b": 2.0, "c": 1.0}, 9) == {"a": 2, "b": 5, "c": 2}
    assert apportion({"a": 0.1}, 5) == {"a": 5}
    assert sum(apportion({str(n): n + 0.3 for n in range(7)}, 1000).values()) == 1000


def test_values_come_one_from_each_part_of_the_range() -> None:
    values = spread(0.5, 1.5, 20, stream(1, "test"))
    assert sorted(int((value - 0.5) * 20) for value in values) == list(range(20))
    assert values != sorted(values)


def test_streams_differ_by_purpose_and_repeat() -> None:
    once, again, other = (shuffled(range(30), stream(5, purpose)) for purpose in ("a", "a", "b"))
    assert once == again != other and sorted(once) == list(range(30))


def random_table(seed: int, rows: int) -> IntArray:
    generator = np.random.default_rng(seed)
    return np.stack([generator.integers(levels, size=rows) for levels in (2, 3, 4)], 1)


def best_by_trial(table_NA: IntArray, row: int, axis: int) -> int:
    tried = []
    for other in range(len(table_NA)):
        swapped_NA = table_NA.copy()
        swapped_NA[[row, other], axis] = swapped_NA[[other, row], axis]
        tried.append(_unevenness(swapped_NA))
    return min(tried)


@pytest.mark.parametrize("seed", range(3))
def test_a_swap_is_the_best_of_all_swaps(seed: int) -> None:
    table_NA = random_table(seed, rows=11)
    for row in range(11):
        for axis in range(3):
            before, best = _unevenness(table_NA), best_by_trial(table_NA, row, axis)
            assert _swap(table_NA, row, axis) == (best < before)
            assert _unevenness(table_NA) == best


@pytest.mark.parametrize("rows", [17, 50, 240])
def test_deals_of_any_size_keep_their_counts_and_are_even(rows: int) -> None:
    wanted = [list(apportion({str(n): 1.0 for n in range(levels)}, rows).values()) for levels in (3, 8, 5, 2)]
    table_NA = deal(wanted, seed=1)
    assert [np.bincount(table_NA[:, axis]).tolist() for axis in range(4)] == wanted
    for one, two in combinations(range(4), 2):
        cells = len(wanted[one]) * len(wanted[two])
        met = Counter(zip(table_NA[:, one].tolist(), table_NA[:, two].tolist(), strict=True))
        assert max(met.values()) <= -(-rows // cells) + (rows % cells > 0)
        assert rows < 2 * cells or (len(met) == cells and min(met.values()) >= rows // cells)


@pytest.mark.parametrize("seed", range(1, 4))
def test_levelling_ends_where_no_swap_helps(seed: int) -> None:
    table_NA = _levelled([[60 // levels] * levels for levels in (3, 4, 5, 6, 10)], stream(seed, "test"))
    assert not any(_swap(table_NA, row, axis) for row in range(60) for axis in range(5))
