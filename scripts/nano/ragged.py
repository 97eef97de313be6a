"""Arrays of differing length, end to end in a file and mapped from there: a corpus may be larger than memory, and all trainers share it.

``<stem>.npy`` has the rows of all, ``<stem>.ends.npy`` the row after the last of each. Both are written whole or not at all, the rows
last: an array is there when its rows are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np


def rows_of(stem: Path) -> Path:
    """The file whose age is that of the whole."""
    return stem.with_name(f"{stem.name}.npy")


def write(stem: Path, arrays: Sequence[np.ndarray]) -> None:
    """N arrays (T_i, ...) of one dtype and one shape but for T_i."""
    _save(stem.with_name(f"{stem.name}.ends.npy"), np.cumsum([len(a) for a in arrays]))
    _save(rows_of(stem), np.concatenate(arrays))


def read(stem: Path) -> list[np.ndarray]:
    """What was written: views that cannot be written to."""
    rows = np.asarray(np.load(rows_of(stem), mmap_mode="r"))
    ends = np.load(stem.with_name(f"{stem.name}.ends.npy"))
    if len(ends) and ends[-1] != len(rows):
        raise SystemExit(
            f"{rows_of(stem)} has {len(rows)} rows, expected {ends[-1]}; delete it and run again"
        )
    return [rows[first:last] for first, last in pairwise([0, *ends.tolist()])]


def _save(path: Path, array: np.ndarray) -> None:
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        np.save(file, array)
    os.replace(draft, path)
