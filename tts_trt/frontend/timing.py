"""Rules in time that the host computes for the acoustic graphs: frame alignment and the solver's grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError


def nearest_index(source_len: int, target_len: int) -> NDArray[np.int64]:
    """Source frame of every target frame, (target_len) int64.

    ``min(floor(i * (source_len / target_len)), source_len - 1)``, quotient and product rounded to float32:
    exact arithmetic picks another frame for about one length in ten.
    """
    if source_len < 1 or target_len < 1:
        raise UsageError(f"cannot stretch {source_len} frames to {target_len}, expected at least 1 of each")
    scale = np.float32(source_len) / np.float32(target_len)
    index = np.floor(np.arange(target_len, dtype=np.float32) * scale).astype(np.int64)
    clipped: NDArray[np.int64] = np.minimum(index, source_len - 1)
    return clipped


def time_grid(steps: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Time and step size of every Euler step from 0 to 1: two arrays (steps) float32.

    Grid points are those of a float32 linspace: multiples of the rounded step counted from the nearer end,
    each rounded once. The step size is the difference of neighbours and the time is the running float32 sum.
    """
    if steps < 1:
        raise UsageError(f"{steps} solver steps, expected at least 1")
    index = np.arange(steps + 1, dtype=np.float64)
    step = np.float64(np.float32(1) / np.float32(steps))
    grid = np.where(index < (steps + 1) // 2, step * index, 1.0 - step * (steps - index)).astype(np.float32)
    dt = np.diff(grid)
    t = np.zeros(steps, dtype=np.float32)
    for k in range(1, steps):
        t[k] = t[k - 1] + dt[k - 1]
    return t, dt
