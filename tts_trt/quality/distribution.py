"""Many values of one measure: where they lie, and bars to draw. What it means is not said here.

N values; None stands for one that could not be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError

Values = Sequence[float | None]
MOST_BINS = 60


@dataclass(frozen=True)
class Spread:
    """Quantiles interpolate linearly."""

    count: int  # measured
    missing: int
    mean: float
    deviation: float  # standard, of the population
    low: float
    q05: float
    q25: float
    median: float
    q75: float
    q95: float
    high: float


def spread(values_N: Values) -> Spread | None:
    """None where nothing was measured. UsageError for a value that is not finite."""
    known = measured(values_N)
    if not len(known):
        return None
    low, q05, q25, median, q75, q95, high = (
        float(q) for q in np.quantile(known, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1))
    )
    missing = len(values_N) - len(known)
    return Spread(
        len(known), missing, float(known.mean()), float(known.std()), low, q05, q25, median, q75, q95, high
    )


@dataclass(frozen=True)
class Histogram:
    """Bars of several columns over the same edges."""

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


def histogram(columns: Mapping[str, Values]) -> Histogram | None:
    """Bins of the width of Freedman and Diaconis 1981 over all columns together, at most 60. None where nothing was
    measured. UsageError for a value that is not finite."""
    known = {name: measured(values) for name, values in columns.items()}
    everything = np.concatenate(list(known.values())) if known else np.zeros(0)
    if not len(everything):
        return None
    width = 2 * float(np.subtract(*np.quantile(everything, (0.75, 0.25)))) / len(everything) ** (1 / 3)
    span = float(np.ptp(everything))
    bins = min(MOST_BINS, max(1, int(np.ceil(span / width)))) if width > 0 else 1
    edges = np.histogram_bin_edges(everything, bins)
    counts = {name: tuple(int(n) for n in np.histogram(values, edges)[0]) for name, values in known.items()}
    return Histogram(tuple(float(edge) for edge in edges), counts)


def measured(values_N: Values) -> NDArray[np.float64]:
    """The values without those that are missing. UsageError for one that is not finite."""
    known = np.array([value for value in values_N if value is not None], np.float64)
    if not np.isfinite(known).all():
        raise UsageError(f"{(~np.isfinite(known)).sum()} of {len(known)} values are not finite numbers")
    return known
