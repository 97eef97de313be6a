"""A histogram of magnitudes that depends on the values alone, not on their order or batches.

The bins are 2**exponent wide and cover [0, BINS * 2**exponent). The exponent is the smallest that holds the
largest value so far; when a larger value comes, neighbouring bins are merged, which is exact for widths that are
powers of two. So a histogram of any collection of values equals the merged histograms of its parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import QuantError

BINS = 4096
_BITS = BINS.bit_length() - 1


def exponent_for(maximum: float) -> int:
    """The smallest e with maximum < BINS * 2**e, for a positive float32."""
    return math.frexp(maximum)[1] - _BITS


LOWEST_EXPONENT = exponent_for(math.ldexp(1, -149))
"""Of the smallest positive float32; also of a histogram that has seen zeros only."""


@dataclass(eq=False)
class Histogram:
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    exponent: int = LOWEST_EXPONENT
    maximum: float = 0.0
    zeros: int = 0
    """How many values were exactly zero; they are counted in bin 0 too."""

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        return math.ldexp(1, self.exponent)

    def add(self, values: NDArray[Any]) -> None:
        """Counts |values|, any shape, as float32. QuantError, and no change, if one of them is not finite."""
        with np.errstate(over="ignore"):
            absolute = np.abs(values, dtype=np.float32).ravel(order="K")
        if not absolute.size:
            return
        maximum = float(absolute.max())
        if not math.isfinite(maximum):
            raise QuantError(f"the values hold {maximum}, expected finite ones")
        self._widen(maximum)
        self.zeros += absolute.size - int(np.count_nonzero(absolute))
        self.counts += np.bincount(np.ldexp(absolute, -self.exponent).astype(np.intp), minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """As if every value of ``other`` had been added here."""
        self._widen(other.maximum)
        self.zeros += other.zeros
        self.counts += _coarser(other.counts, self.exponent - other.exponent)

    def copy(self) -> Histogram:
        return Histogram(self.counts.copy(), self.exponent, self.maximum, self.zeros)

    def _widen(self, maximum: float) -> None:
        if maximum <= self.maximum:
            return
        exponent = exponent_for(maximum)
        self.counts = _coarser(self.counts, exponent - self.exponent)
        self.exponent, self.maximum = exponent, maximum


def _coarser(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    if not doublings:
        return counts
    sums = counts.reshape(-1, 1 << min(doublings, _BITS)).sum(axis=1)
    return np.pad(sums, (0, BINS - len(sums)))
