"""How sure a measured ratio is: bootstrap over sentences, paired where two systems spoke the same ones.

N sentences, K sums kept, R resamples. A corpus WER is a ratio of sums, errors over words, so whole sentences are drawn
anew and both sums taken again (the bootstrap of a ratio estimator; intervals are percentiles, Efron 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError

Floats = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]
RESAMPLES = 10_000
LEVEL = 0.95
BLOCK = 512  # resamples drawn at once: memory of BLOCK * N indices


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds between which ``level`` of the resamples lie."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def ratio(parts: Numbers, wholes: Numbers, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Interval of sum(parts) / sum(wholes), such as errors over words; one entry per sentence.

    With wholes of 1 it is the interval of a mean. UsageError for unequal lengths, no sentences or wholes of 0.
    """
    values_NK = _columns(parts, wholes)
    sums_RK = resampled_sums(values_NK, seed, resamples)
    whole = values_NK.sum(0)
    return _interval(float(whole[0] / whole[1]), sums_RK[:, 0] / sums_RK[:, 1])


def paired_difference(
    baseline: Numbers,
    candidate: Numbers,
    wholes: Numbers,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Interval of sum(candidate) / sum(wholes) - sum(baseline) / sum(wholes) on the same sentences.

    Both are taken on each resample, so what makes a sentence hard for both drops out. Errors as ``ratio``.
    """
    values_NK = _columns(baseline, candidate, wholes)
    sums_RK = resampled_sums(values_NK, seed, resamples)
    whole = values_NK.sum(0)
    return _interval(float((whole[1] - whole[0]) / whole[2]), (sums_RK[:, 1] - sums_RK[:, 0]) / sums_RK[:, 2])


def resampled_sums(values_NK: Floats, seed: int, resamples: int) -> Floats:
    """Column sums (R,K) of N rows drawn with replacement, R times."""
    generator = np.random.default_rng(seed)
    count = len(values_NK)
    blocks = []
    for first in range(0, resamples, BLOCK):
        drawn_RN = generator.integers(count, size=(min(BLOCK, resamples - first), count))
        blocks.append(values_NK[drawn_RN].sum(1))
    sums_RK: Floats = np.concatenate(blocks)
    return sums_RK


def pearson(first: Numbers, second: Numbers) -> float:
    """Correlation of two series; not a number where one is constant. UsageError for unequal lengths or fewer than 2."""
    if len(first) != len(second) or len(first) < 2:
        raise UsageError(f"{len(first)} and {len(second)} values, expected as many of each and at least 2")
    a, b = (np.asarray(x, np.float64) - np.mean(x) for x in (first, second))
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else float("nan")


def _columns(*columns: Numbers) -> Floats:
    """(N,K); the last column divides."""
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or not len(columns[0]):
        raise UsageError(
            f"the columns have {' and '.join(str(len(c)) for c in columns)} entries, "
            "expected one per sentence, and at least one sentence"
        )
    values_NK: Floats = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    if (values_NK[:, -1] <= 0).any():
        raise UsageError(f"a whole is {values_NK[:, -1].min():g}, expected above 0: words, seconds or 1")
    return values_NK


def _interval(estimate: float, resampled_R: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled_R, (tail, 1 - tail))
    return Interval(estimate, float(low), float(high))
