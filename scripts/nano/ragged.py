"""Arrays of differing length, end to end in a file and mapped from there: a corpus may be larger than memory, and all trainers share it.

``<stem>.npy`` has the rows of all, ``<stem>.ends.npy`` the row after the last of each. Both are written whole or not at all, the rows
last: an array is there when its rows are.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from tts_trt.atomic import write_atomic


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


def stems_of(folder: Path, shard: Path, kind: type) -> dict[str, Path]:
    """Where a shard's part of a dataclass of such arrays is kept, by field."""
    return {field.name: folder / f"{shard.name}.{field.name}" for field in fields(kind)}


def read_parts(shards: Sequence[Mapping[str, Path]]) -> dict[str, list[np.ndarray]]:
    """Each field of all shards, one shard after another."""
    return {name: list(chain.from_iterable(read(stems[name]) for stems in shards)) for name in shards[0]}


def are_newer(stems: Iterable[Path], than: Path) -> bool:
    """Are all of these there, and none older than the file they were made from?"""
    rows = [rows_of(stem) for stem in stems]
    return all(path.exists() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns for path in rows)


def _save(path: Path, array: np.ndarray) -> None:
    made = io.BytesIO()
    np.save(made, array)
    write_atomic(path, [made.getbuffer()])
