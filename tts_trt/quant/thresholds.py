"""Where to clip an activation before it is quantised to int8: four ways to choose, from its histogram.

    max         the largest magnitude seen: nothing is clipped
    percentile  the smallest bin edge with this share of all values below it
    mse         least expected squared error, of rounding and of clipping together
    entropy     least Kullback-Leibler divergence between the clipped values and their quantised image

A value x becomes round(x / scale), clipped to -127..127, with scale = threshold / 127.

Legend: E bin edges, N bins, I candidate thresholds, L quantised levels.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import QuantError, UsageError
from tts_trt.quant.histogram import Histogram

METHODS = ("max", "percentile", "mse", "entropy")
PERCENTILE = 99.99
LARGEST = 127
"""Of the quantised values; -128 is not used, so that the range is symmetric."""

ENTROPY_BINS, ENTROPY_LEVELS = 2048, 128
ABSENT = 1e-4
"""The count with which ONNX Runtime and MXNet replace an empty bin, too."""

Float64 = NDArray[np.float64]


def threshold(histogram: Histogram, method: str, percentile: float = PERCENTILE) -> float:
    """In (0, maximum]; 0 for a tensor that was zero throughout. QuantError for an empty histogram, UsageError for a
    method that is not in METHODS or a percentile outside (0, 100]."""
    if method not in METHODS:
        raise UsageError(f"no such calibration method: {method!r}", hint=f"one of {', '.join(METHODS)}")
    if not histogram.total:
        raise QuantError("the corpus gave it no values", hint="a larger calibration corpus")
    if method == "max" or not histogram.maximum:
        return histogram.maximum
    if method == "percentile":
        return percentile_threshold(histogram, percentile)
    return mse_threshold(histogram) if method == "mse" else entropy_threshold(histogram)


def percentile_threshold(histogram: Histogram, percentile: float) -> float:
    if not 0 < percentile <= 100:
        raise UsageError(f"percentile {percentile}, expected above 0 and up to 100")
    wanted = percentile / 100 * histogram.total
    edge = int(np.searchsorted(np.cumsum(histogram.counts), wanted)) + 1
    return min(edge * histogram.width, histogram.maximum)


def mse_threshold(histogram: Histogram) -> float:
    """Searched to half a per cent, over twelve octaves below the maximum."""
    octaves = np.arange(-96, 1) / 8
    best = octaves[np.argmin(squared_errors(histogram, histogram.maximum * 2**octaves))]
    finer = np.minimum(best + np.arange(-16, 17) / 128, 0)
    candidates = histogram.maximum * 2**finer
    return float(candidates[np.argmin(squared_errors(histogram, candidates))])


def squared_errors(histogram: Histogram, thresholds_I: Float64) -> Float64:
    """Expected squared quantisation error summed over all values, in units of the bin width squared, taking the
    values of one bin as spread evenly over it.

    In units of the scale s, a value u has the error u - k with k = min(round(u), 127), whose square has the
    antiderivative G(u) = k / 12 + (u - k)**3 / 3. A bin [a, b) of width w with c values thus adds
    s**2 * c * (G(b) - G(a)) * s / w.
    """
    counts_N = np.trim_zeros(histogram.counts, "b").astype(np.float64)
    # Collected by edges: the value of G at an edge ends the bin before it and starts the one after.
    steps_E = -np.diff(counts_N, prepend=0, append=0)
    scales_I = thresholds_I / LARGEST / histogram.width
    u_IE = np.arange(len(steps_E)) / scales_I[:, None]
    k_IE = np.minimum(np.rint(u_IE), LARGEST)
    d_IE = u_IE - k_IE
    errors_I: Float64 = (k_IE / 12 + d_IE * d_IE * d_IE / 3) @ steps_E * scales_I**3
    return errors_I


def entropy_threshold(histogram: Histogram) -> float:
    """The procedure of Migacz, "8-bit inference with TensorRT" (GTC 2017), on 2,048 bins over [0, maximum].

    Exact zeros are left out: any scale represents them exactly, and where they are many (after a ReLU) they would
    hide the shape of the rest.
    """
    counts_N = rebinned(histogram, ENTROPY_BINS)
    bins = ENTROPY_LEVELS + int(np.argmin(divergences(counts_N, ENTROPY_LEVELS)))
    return bins / ENTROPY_BINS * histogram.maximum


def rebinned(histogram: Histogram, bins: int) -> Float64:
    """Non-zero values in ``bins`` equal bins over [0, maximum], those of one old bin taken as spread evenly over
    it. Without this, thresholds would be coarser or finer depending on where the maximum lies between powers of
    two."""
    top = histogram.maximum / histogram.width  # float32 / power of two: exact, as are the edges below
    old_N = np.trim_zeros(histogram.counts, "b").astype(np.float64)
    old_N[0] -= histogram.zeros
    old_edges_E = np.minimum(np.arange(len(old_N) + 1), top)
    cumulated_E = np.concatenate([[0], np.cumsum(old_N)])
    return np.diff(np.interp(np.arange(bins + 1) * top / bins, old_edges_E, cumulated_E))


def divergences(counts_N: NDArray[np.float64], levels: int) -> Float64:
    """KL(P || Q) of clipping after ``levels``, levels + 1, ... N bins; infinite where all would be clipped.

    For a threshold after i bins, P is the first i bins with everything beyond added to the last. Q merges those i
    bins, without what lies beyond, into ``levels`` equal groups (to whole bins) and spreads each group evenly
    over its bins that are not empty in P. Where the last group of Q is empty but something was clipped, it counts as
    ABSENT values, so that a lone outlier can be clipped at a price.

    ONNX Runtime 1.31 (calibrate.py, get_entropy_threshold) starts from the same procedure, but
      - gives each group i // levels bins and leaves the remaining bins (up to levels - 1) out of Q altogether, so
        that its divergence measures mostly how much lies in the remainder;
      - rounds Q down to whole counts, which erases sparse tails;
      - spreads Q over empty bins too, and then smooths both P and Q by 1e-4 counts;
      - splits the levels over both signs: its default of 128 levels means 64 magnitudes, of which int8 has 128;
      - takes one bin more on the positive side than on the negative one.
    """
    sizes_I = np.arange(levels, len(counts_N) + 1)
    bounds_IL = _group_bounds(len(counts_N), levels)
    total = counts_N.sum()
    mass = np.concatenate([[0], np.cumsum(counts_N)])
    filled = np.concatenate([[0], np.cumsum(counts_N > 0)])
    last_I, beyond_I = counts_N[sizes_I - 1], total - mass[sizes_I]
    q_IL, filled_IL = np.diff(mass[bounds_IL]), np.diff(filled[bounds_IL])
    p_IL = q_IL.copy()
    p_IL[:, -1] += beyond_I
    filled_IL[:, -1] += (last_I == 0) & (beyond_I > 0)
    q_IL[:, -1] += ABSENT * ((q_IL[:, -1] == 0) & (beyond_I > 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        # The sums of P log Q and of P log P, bin by bin; the constants that make P and Q sum to 1 come after.
        p_log_q_I = np.where(p_IL > 0, p_IL * np.log(q_IL / filled_IL), 0).sum(axis=1)
    p_log_p_I = np.concatenate([[0], np.cumsum(_x_log_x(counts_N))])[sizes_I - 1] + _x_log_x(
        last_I + beyond_I
    )
    kl_I = (p_log_p_I - p_log_q_I) / total + np.log(q_IL.sum(axis=1) / total)
    return np.where(mass[sizes_I] > 0, kl_I, math.inf)


@cache
def _group_bounds(bins: int, levels: int) -> NDArray[np.int64]:
    sizes_I = np.arange(levels, bins + 1)
    return np.arange(levels + 1) * sizes_I[:, None] // levels


def _x_log_x(x: Float64) -> Float64:
    return x * np.log(np.maximum(x, np.finfo(np.float64).tiny))
