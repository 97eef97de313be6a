"""Small colour pictures as PNG, without an imaging library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

BRIGHTEST_DB = 2.0
"""Differences from here on have the last colour."""
STOPS = np.array([[20, 22, 40], [58, 70, 140], [60, 150, 160], [230, 200, 90], [255, 250, 225]], np.float64)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def heat_map(gap_mT: NDArray[np.float64], brightest: float = BRIGHTEST_DB) -> bytes:
    """Values from 0, dark, to ``brightest``, light; row 0, the lowest band, at the bottom. One pixel a value."""
    share = np.clip(gap_mT[::-1] / brightest, 0, 1) * (len(STOPS) - 1)
    below = np.minimum(share.astype(int), len(STOPS) - 2)
    weight = (share - below)[..., None]
    colours = STOPS[below] * (1 - weight) + STOPS[below + 1] * weight
    return png(np.rint(colours).astype(np.uint8))


def png(pixels_HWC: NDArray[np.uint8]) -> bytes:
    """RGB, 8 bits, rows unfiltered (PNG 1.2)."""
    height, width, _ = pixels_HWC.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels_HWC)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
