"""SmoothQuant: move the range of outlier channels from an activation, which has one scale, into the weight, which has one
per output channel (Xiao, Lin, Seznec, Wu, Demouth, Han, "SmoothQuant", 2023).

X W = (X / s)(s W) for any s > 0 per input channel. The division by s goes into the scale and bias of the norm that makes
X where only layers smoothed alike read it, and is a Mul of its own elsewhere: ``rewrite.quantise`` counts both. Layers
that read one activation share s when their weights are smoothed together, concatenated along the output axis.

Legend: R sampled channel vectors, C input channels, N output channels, P taps of a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import QuantError
from tts_trt.quant.formats import SCHEMES, Format, weight_scales
from tts_trt.quant.histogram import Histogram
from tts_trt.quant.thresholds import PERCENTILE, threshold

Float32 = NDArray[np.float32]

GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Values of alpha; 0 stands for no smoothing."""

_SMALLEST = 1e-5
"""Of a channel's range: one that the corpus never moved must not be magnified without bound."""


@dataclass(frozen=True, eq=False)
class Smoothing:
    """``factors`` (C,), None where alpha is 0; ``activation_scale`` of the smoothed activation. ``error`` is the relative
    root mean square of the layer's output on the sampled vectors, ``error_off`` that without smoothing."""

    alpha: float
    factors: Float32 | None
    activation_scale: np.float32
    error: float
    error_off: float


def smoothing_factors(channel_max_C: Float32, weight_max_C: Float32, alpha: float) -> Float32:
    """s_c = max|X_c|**alpha / max|W_c|**(1 - alpha): equation 4 of the paper."""
    x_C = np.maximum(channel_max_C, _SMALLEST).astype(np.float64)
    w_C = np.maximum(weight_max_C, _SMALLEST).astype(np.float64)
    return (x_C**alpha / w_C ** (1 - alpha)).astype(np.float32)


def smooth_with(
    weight: Float32,
    weight_axis: int,
    rows_RC: Float32,
    channel_max_C: Float32,
    alpha: float,
    *,
    method: str = "max",
    percentile: float = PERCENTILE,
    scheme: str = "w8a8",
) -> Smoothing:
    """A fixed alpha; arguments as of ``search_alpha``."""
    return _search(weight, weight_axis, rows_RC, channel_max_C, (alpha,), method, percentile, scheme)


def search_alpha(
    weight: Float32,
    weight_axis: int,
    rows_RC: Float32,
    channel_max_C: Float32,
    *,
    method: str = "max",
    percentile: float = PERCENTILE,
    scheme: str = "w8a8",
    grid: Sequence[float] = GRID,
) -> Smoothing:
    """The alpha of least output error ||X W - Q(X / s) Q(s W)||; the smaller one of equals.

    ``weight``: of a product or convolution, output channels along ``weight_axis`` and input channels along the other of
    the first two axes. A convolution's taps are taken as products of independent vectors, as the sample has no
    neighbours. QuantError where shapes do not fit together.
    """
    return _search(weight, weight_axis, rows_RC, channel_max_C, grid, method, percentile, scheme)


def smoothed_scale(
    rows_RC: Float32,
    channel_max_C: Float32,
    factors_C: Float32 | None,
    *,
    method: str = "max",
    percentile: float = PERCENTILE,
    scheme: str = "w8a8",
) -> np.float32:
    """Of the activation X / s. Its largest magnitude is exact, from the channels' ranges; what other methods clip below
    that is judged by the sampled vectors."""
    factors_C = np.ones_like(channel_max_C) if factors_C is None else factors_C
    largest = float((channel_max_C / factors_C).max())
    if method != "max":
        histogram = Histogram()
        histogram.add(rows_RC / factors_C)
        largest = min(largest, threshold(histogram, method, percentile))
    return np.float32(SCHEMES[scheme].format.scale_of(largest))


def _search(
    weight: Float32,
    weight_axis: int,
    rows_RC: Float32,
    channel_max_C: Float32,
    grid: Sequence[float],
    method: str,
    percentile: float,
    scheme: str,
) -> Smoothing:
    weight_CNP = _taps(weight, weight_axis)
    channels = {"weight": len(weight_CNP), "vectors": rows_RC.shape[-1], "channel_max": len(channel_max_C)}
    if len(set(channels.values())) > 1 or not len(rows_RC):
        raise QuantError(f"smoothing {len(rows_RC)} vectors: numbers of channels differ: {channels}")
    format = SCHEMES[scheme].format
    weight_max_C = np.abs(weight_CNP).max(axis=(1, 2))
    tried = []
    for alpha in dict.fromkeys((0.0, *grid)):
        factors = smoothing_factors(channel_max_C, weight_max_C, alpha) if alpha else None
        scale = smoothed_scale(
            rows_RC, channel_max_C, factors, method=method, percentile=percentile, scheme=scheme
        )
        tried.append((alpha, factors, scale, _output_error(weight_CNP, rows_RC, factors, scale, format)))
    off = tried[0][-1]
    alpha, factors, scale, error = min((t for t in tried if t[0] in grid), key=lambda t: t[-1])
    return Smoothing(alpha, factors, scale, error, off)


def _output_error(
    weight_CNP: Float32, rows_RC: Float32, factors_C: Float32 | None, scale: np.float32, format: Format
) -> float:
    factors_C = np.ones(len(weight_CNP), np.float32) if factors_C is None else factors_C
    smoothed_CNP = weight_CNP * factors_C[:, None, None]
    scales_N = weight_scales(smoothed_CNP, 1, format)
    stored_CNP = format.imitate(smoothed_CNP, scales_N[:, None])
    exact = rows_RC @ weight_CNP.reshape(len(weight_CNP), -1)
    found = format.imitate(rows_RC / factors_C, scale) @ stored_CNP.reshape(len(weight_CNP), -1)
    return float(np.linalg.norm(found - exact) / max(float(np.linalg.norm(exact)), 1e-30))


def _taps(weight: Float32, weight_axis: int) -> Float32:
    """(C, N, P)."""
    moved = np.moveaxis(weight, (1 - weight_axis, weight_axis), (0, 1))
    return np.ascontiguousarray(moved.reshape(*moved.shape[:2], -1), dtype=np.float32)
