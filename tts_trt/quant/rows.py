"""A bounded sample of channel vectors that depends on which vectors were seen, not on their order or batches.

Legend: R channel vectors, C channels.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

ROWS = 256


class RowSample:
    """The ROWS distinct channel vectors of smallest hash among all that were added: a uniform sample of the
    distinct ones that needs no random numbers. Vectors of one 64-bit hash are taken for one."""

    def __init__(self, channels: int) -> None:
        self.hashes_R = np.empty(0, np.uint64)
        self.rows_RC = np.empty((0, channels), np.float32)

    def add(self, rows: NDArray[np.float32]) -> None:
        """``rows`` (..., C), of any memory layout."""
        rows = np.atleast_2d(rows)
        hashes = row_hashes(rows)
        if len(self.hashes_R) == ROWS:
            chosen = np.nonzero(hashes < self.hashes_R[-1])
            if not len(chosen[0]):
                return
        else:
            # At most ROWS vectors of a batch can stay, so the others are dropped before they are copied.
            _, first = np.unique(hashes, return_index=True)
            chosen = np.unravel_index(first[:ROWS], hashes.shape)
        self.hashes_R, first = np.unique(np.concatenate([self.hashes_R, hashes[chosen]]), return_index=True)
        self.rows_RC = np.concatenate([self.rows_RC, rows[chosen]])[first[:ROWS]]
        self.hashes_R = self.hashes_R[:ROWS]


def row_hashes(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """A hash of the bits of each vector along the last axis, (..., C) -> (...): their sum modulo 2**64, weighted
    by odd constants. The same vector has the same hash in any array."""
    return np.einsum("...c,c->...", rows.view(np.uint32), _weights(rows.shape[-1]))


@cache
def _weights(channels: int) -> NDArray[np.uint64]:
    """The first outputs of SplitMix64 (Steele, Lea, Flood 2014) with seed 0, made odd."""
    x = np.arange(1, channels + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31)) | np.uint64(1)
