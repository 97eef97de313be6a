"""Code sequences that repeat themselves: a model that lost its place holds a code or goes round in circles.

M codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError

Codes = Sequence[int] | NDArray[np.integer[Any]]
GRAM = 4
LONGEST_PERIOD = 50  # codes: a word or two said again


@dataclass(frozen=True)
class Loop:
    """A stretch of codes that repeats with a period; ``period`` 0 where nothing is said twice in a row."""

    period: int
    codes: int  # length, at least two periods
    start: int  # index of its first code


def longest_run(codes_M: Codes) -> int:
    """Most equal codes in a row; 0 for no codes."""
    codes = _checked(codes_M)
    return _longest_true(codes[1:] == codes[:-1])[1] + 1 if len(codes) else 0


def repeated_share(codes_M: Codes, gram: int = GRAM) -> float:
    """1 - distinct n-grams / n-grams: the share that was said before (seq-rep-n of Welleck et al. 2020). 0 for fewer
    codes than one n-gram has. UsageError for an n below 1."""
    codes = _checked(codes_M)
    if gram < 1:
        raise UsageError(f"n-grams of {gram} codes, expected 1 or more")
    if len(codes) < gram:
        return 0.0
    grams = np.lib.stride_tricks.sliding_window_view(codes, gram)
    return 1 - len(np.unique(grams, axis=0)) / len(grams)


def longest_loop(codes_M: Codes, longest_period: int = LONGEST_PERIOD) -> Loop:
    """The longest stretch in which each code equals the one a period before, for at least two periods; of equal ones
    that of the shortest period. A held code is a loop of period 1."""
    codes = _checked(codes_M)
    best = Loop(0, 0, 0)
    for period in range(1, min(longest_period, len(codes) // 2) + 1):
        start, matches = _longest_true(codes[period:] == codes[:-period])
        if matches >= period and matches + period > best.codes:
            best = Loop(period, matches + period, start)
    return best


def _checked(codes_M: Codes) -> NDArray[np.int64]:
    codes = np.asarray(codes_M)
    if codes.ndim != 1 or (len(codes) and codes.dtype.kind not in "iu"):
        raise UsageError(f"codes are {codes.dtype} of shape {codes.shape}, expected (M) integers")
    return codes.astype(np.int64)


def _longest_true(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and length of the longest run of True; (0, 0) without one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return 0, 0
    longest = int((ends - starts).argmax())
    return int(starts[longest]), int((ends - starts)[longest])
