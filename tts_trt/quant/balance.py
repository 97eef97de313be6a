"""Balanced deals: every level of every axis as often as asked, every pair of levels as evenly as can be.

A row is one utterance, a column one axis (speech rate, emotion, ...), an entry the number of a level. Each column
starts as a shuffled deck that holds every level the right number of times; swaps inside a column then level out how
often the levels of two columns meet. Legend: N rows, P and Q levels of two columns.

Everything is exact integer arithmetic over ``random.Random.random``, so a seed deals the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
T = TypeVar("T")

RESTARTS, RESTARTS_BUDGET = 16, 40_000
"""Deals tried, and rows^2 x deals: large deals come out even by themselves."""


def stream(seed: int, purpose: str) -> Random:
    """A generator of its own for every purpose, so that one choice does not move another."""
    return Random(f"{seed}/{purpose}")


def shuffled(items: Sequence[T], generator: Random) -> list[T]:
    """The items in random order; unlike ``Random.shuffle`` promised to be the same in every Python."""
    keys = [generator.random() for _ in items]
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def apportion(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """``total`` in whole parts after the weights (all > 0), by largest remainder: each within 1 of its share."""
    whole = sum(weights.values())
    shares = {name: total * weight / whole for name, weight in weights.items()}
    parts = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: parts[name] - shares[name])
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return parts


def spread(low: float, high: float, count: int, generator: Random) -> list[float]:
    """``count`` values in random order, one from each of as many equal parts of the range."""
    parts = shuffled(range(count), generator)
    return [low + (high - low) * (part + generator.random()) / count for part in parts]


def deal(counts: Sequence[Sequence[int]], seed: int) -> IntArray:
    """Rows (N, axes) of level numbers: level p of axis a comes ``counts[a][p]`` times, each axis adding up to N.

    The best of several deals; a deal's unevenness is the sum over pairs of axes of squared deviations.
    """
    rows = sum(counts[0])
    restarts = min(RESTARTS, max(1, RESTARTS_BUDGET // (rows * rows)))
    dealt = [_levelled(counts, stream(seed, f"deal/{restart}")) for restart in range(restarts)]
    return min(dealt, key=_unevenness)


def _levelled(counts: Sequence[Sequence[int]], generator: Random) -> IntArray:
    decks = [shuffled(np.repeat(np.arange(len(part)), part).tolist(), generator) for part in counts]
    table_NA = np.array(decks, dtype=np.int64).T.copy()
    cells = [(row, axis) for axis in range(table_NA.shape[1]) for row in range(len(table_NA))]
    moved = True
    while moved:
        gains = [_swap(table_NA, row, axis) for row, axis in shuffled(cells, generator)]
        moved = any(gains)
    return table_NA


def _swap(table_NA: IntArray, row: int, axis: int) -> bool:
    """Swap an entry with the one of its column that evens out most; False where none does."""
    mine_N = table_NA[:, axis]
    change_N = np.zeros(len(table_NA), np.int64)
    for other in range(table_NA.shape[1]):
        if other == axis:
            continue
        theirs_N = table_NA[:, other]
        off_PQ = _deviation(mine_N, theirs_N)
        # (d+1)^2 - d^2 = 1 + 2d where a count grows, 1 - 2d where it shrinks; d is scaled by N, and so is the 1
        here, there_N = off_PQ[mine_N[row], theirs_N[row]], off_PQ[mine_N, theirs_N]
        crossed_N = off_PQ[mine_N[row], theirs_N] + off_PQ[mine_N, theirs_N[row]]
        change_N += np.where(
            theirs_N == theirs_N[row], 0, 4 * len(table_NA) + 2 * (crossed_N - here - there_N)
        )
    change_N[mine_N == mine_N[row]] = 0
    best = int(np.argmin(change_N))
    if change_N[best] >= 0:
        return False
    table_NA[[row, best], axis] = table_NA[[best, row], axis]
    return True


def _deviation(a_N: IntArray, b_N: IntArray) -> IntArray:
    """N times (count - expected count) of every pair of levels, (P, Q)."""
    levels_a, levels_b = int(a_N.max()) + 1, int(b_N.max()) + 1
    met_PQ = np.bincount(a_N * levels_b + b_N, minlength=levels_a * levels_b).reshape(levels_a, levels_b)
    expected_PQ = np.outer(met_PQ.sum(1), met_PQ.sum(0))
    return (len(a_N) * met_PQ - expected_PQ).astype(np.int64)


def _unevenness(table_NA: IntArray) -> int:
    axes = range(table_NA.shape[1])
    return sum(
        int((_deviation(table_NA[:, a], table_NA[:, b]) ** 2).sum()) for a in axes for b in axes if a < b
    )
