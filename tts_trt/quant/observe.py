"""What calibration remembers of each activation: a histogram, the range of every channel, a few channel vectors.

Legend: R channel vectors, C channels.

All of it depends on the set of observed arrays alone, not on their order or how they are batched, and takes a
bounded amount of memory per tensor.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tts_trt.atomic import write_atomic
from tts_trt.errors import ConfigError, QuantError
from tts_trt.manifest import Count, Name
from tts_trt.quant.binding import CALIBRATE, Binding, Record, parse_record, read_bytes
from tts_trt.quant.histogram import BINS as BINS
from tts_trt.quant.histogram import LOWEST_EXPONENT, exponent_for
from tts_trt.quant.histogram import Histogram as Histogram
from tts_trt.quant.rows import ROWS as ROWS
from tts_trt.quant.rows import RowSample

Float32 = NDArray[np.float32]
Statistics = dict[str, dict[str, "TensorStats"]]
"""Graph -> tensor -> statistics."""


@dataclass(eq=False)
class TensorStats:
    histogram: Histogram
    channel_max: Float32 | None
    """(C,) the largest magnitude per channel; None for a tensor observed without channels."""
    rows: Float32 | None
    """(R, C) distinct channel vectors, R <= ROWS, ascending in a hash of their content; None as above."""


class Observer:
    def __init__(self) -> None:
        self._tensors: dict[str, _Observed] = {}

    def add(self, tensor: str, array: NDArray[Any], channel_axis: int | None) -> None:
        """QuantError, and no change, for NaN or infinity, or another number of channels than before."""
        values = np.asarray(array, np.float32)
        observed = self._tensors.get(tensor) or _Observed(channel_axis is not None)
        try:
            if channel_axis is None:
                observed.add(values, None)
            else:
                observed.add(values, np.moveaxis(values, channel_axis, -1))
        except QuantError as error:
            raise QuantError(f"tensor {tensor}: {error}") from error
        self._tensors[tensor] = observed

    def stats(self) -> dict[str, TensorStats]:
        """A snapshot, by tensor name."""
        return {name: self._tensors[name].stats() for name in sorted(self._tensors)}


class _Observed:
    def __init__(self, has_channels: bool) -> None:
        self.has_channels = has_channels
        self.histogram = Histogram()
        self.channel_max: Float32 | None = None
        self.sample: RowSample | None = None

    def add(self, values: Float32, rows: Float32 | None) -> None:
        """``rows`` (..., C) is a view of ``values``."""
        if self.has_channels != (rows is not None):
            raise QuantError("observed both with and without channels")
        if rows is None or not rows.size:
            self.histogram.add(values)
            return
        if self.channel_max is None or self.sample is None:
            self.channel_max, self.sample = np.zeros(rows.shape[-1], np.float32), RowSample(rows.shape[-1])
        if rows.shape[-1] != len(self.channel_max):
            raise QuantError(f"{rows.shape[-1]} channels, before it had {len(self.channel_max)}")
        self.histogram.add(values)
        np.maximum(self.channel_max, np.abs(rows).max(axis=tuple(range(rows.ndim - 1))), out=self.channel_max)
        self.sample.add(rows)

    def stats(self) -> TensorStats:
        if self.channel_max is None or self.sample is None:
            return TensorStats(self.histogram.copy(), None, None)
        return TensorStats(self.histogram.copy(), self.channel_max.copy(), self.sample.rows_RC.copy())


class _Entry(Record):
    graph: Name
    tensor: Name
    exponent: int
    maximum: Annotated[float, Field(ge=0)]
    zeros: Count
    channels: Count | None


class _Index(Record):
    format: Literal["tts-trt statistics 1"] = "tts-trt statistics 1"
    binding: Binding
    tensors: tuple[_Entry, ...]


def save_stats(path: Path, stats: Mapping[str, Mapping[str, TensorStats]], binding: Binding) -> None:
    """One .npz: ``index`` is JSON, the n-th tensor's arrays are ``n.counts``, ``n.channel_max`` and ``n.rows``. The
    same statistics make the same bytes."""
    arrays: dict[str, Any] = {}
    entries: list[_Entry] = []
    names = sorted((graph, tensor) for graph in stats for tensor in stats[graph])
    for n, (graph, tensor) in enumerate(names):
        found = stats[graph][tensor]
        entries.append(_entry(graph, tensor, found))
        arrays[f"{n}.counts"] = found.histogram.counts
        if found.channel_max is not None:
            arrays[f"{n}.channel_max"], arrays[f"{n}.rows"] = found.channel_max, found.rows
    index = _Index(binding=binding, tensors=tuple(entries)).to_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, index=np.frombuffer(index, np.uint8), **arrays)
    write_atomic(path, [buffer.getbuffer()])


def _entry(graph: str, tensor: str, stats: TensorStats) -> _Entry:
    return _Entry(
        graph=graph,
        tensor=tensor,
        exponent=stats.histogram.exponent,
        maximum=stats.histogram.maximum,
        zeros=stats.histogram.zeros,
        channels=None if stats.channel_max is None else len(stats.channel_max),
    )


def load_stats(path: Path) -> tuple[Statistics, Binding]:
    """ConfigError for a file that is missing, damaged or of another kind."""
    arrays = _read_arrays(path)
    if "index" not in arrays:
        raise ConfigError(f"{path} is not a file of statistics: it has no index", hint=CALIBRATE)
    index = parse_record(_Index, arrays["index"].tobytes(), path)
    stats: Statistics = {}
    for n, entry in enumerate(index.tensors):
        try:
            stats.setdefault(entry.graph, {})[entry.tensor] = _tensor(entry, n, arrays)
        except ValueError as error:
            raise ConfigError(f"{path}: tensor {entry.tensor}: {error}", hint=CALIBRATE) from error
    return stats, index.binding


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    file = io.BytesIO(read_bytes(path))
    try:
        with zipfile.ZipFile(file) as members:
            damaged = members.testzip()  # np.load would parse damaged headers before it meets their checksum
        if damaged:
            raise ValueError(f"{damaged} is damaged")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is not a file of statistics: {error}", hint=CALIBRATE) from error


def _tensor(entry: _Entry, n: int, arrays: Mapping[str, NDArray[Any]]) -> TensorStats:
    """ValueError for arrays that do not fit the n-th entry."""
    histogram = _histogram(entry, _array(arrays, f"{n}.counts", np.int64, (BINS,)))
    if entry.channels is None:
        return TensorStats(histogram, None, None)
    channel_max = _array(arrays, f"{n}.channel_max", np.float32, (entry.channels,))
    return TensorStats(
        histogram, channel_max, _array(arrays, f"{n}.rows", np.float32, (None, entry.channels))
    )


def _array(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """ValueError unless it is there, of this dtype and shape (None fits any length), and finite."""
    if name not in arrays:
        raise ValueError(f"array {name} is missing")
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        n in (None, m) for n, m in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise ValueError(f"array {name} is {array.dtype}{array.shape}, expected {np.dtype(dtype)}{shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"array {name} is not finite")
    return array


def _histogram(entry: _Entry, counts: NDArray[np.int64]) -> Histogram:
    """ValueError unless bins, exponent and maximum tell one story."""
    histogram = Histogram(counts, entry.exponent, entry.maximum, entry.zeros)
    exponent = exponent_for(entry.maximum) if entry.maximum else LOWEST_EXPONENT
    used = np.flatnonzero(counts)
    last = int(entry.maximum / histogram.width)
    if counts.min() < 0:
        raise ValueError("negative counts")
    if entry.exponent != exponent or (used.size and used[-1] != last):
        raise ValueError(f"a histogram that does not end at its maximum, {entry.maximum}")
    if entry.zeros > counts[0]:
        raise ValueError(f"{entry.zeros} zeros among {counts[0]} of the smallest values")
    return histogram
