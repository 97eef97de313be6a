"""Recorded inputs of one graph, brought to the one shape in which TensorRT calibrates.

A calibration profile has a single shape, while recordings are as long as what was spoken. Each row of a recording
is brought to that shape on its own, and rows of consecutive recordings then fill the batches:

- A longer row is cut to its *last* real entries. The reference comes before the speech that is made, so the end is what
  the graph is for. Its length inputs count what is left, and its index inputs point into what is left.
- A shorter row is padded with zeros behind its end. Its length inputs stay as they are, so the graph
  masks the padding as it does in use, and masks are padded with False. What a graph computes for padding enters the
  histograms nevertheless, so the shape should be near the usual length: the best shape (kOPT) of the profile is.
- A last batch that is not full repeats its rows; rows of zeros would be counted as speech.

Axes as in tts_trt/spec.py; every input has the row axis B first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec, TensorSpec

Array = NDArray[Any]
BatchSource = Iterable[Mapping[str, Array]]
"""Recordings: all inputs of one run of a graph by name. Opened only if calibration runs, and once."""

ROWS = "B"

COUNTS: Mapping[str, Mapping[str, str]] = {
    "semantic_codec": {"lengths": "F"},
    "style_encoder": {"lengths": "K"},
    "conditioner": {"speaker_lengths": "F", "emotion_lengths": "E"},
    "prompt": {"text_lengths": "L"},
    "gpt": {"lengths": "S"},
    "mel_condition": {"target_lengths": "T"},
    "flow_step": {"lengths": "T", "prompt_lengths": "T"},
    "vocoder": {"lengths": "T"},
}
"""Graph -> input -> the axis of which it counts the real entries from the front."""
POINTS_INTO: Mapping[str, Mapping[str, str]] = {"mel_condition": {"source_index": "M"}}
"""Graph -> input -> the axis that its values are places on."""


@dataclass(frozen=True)
class CalibrationShape:
    """``axes``: size of every symbolic axis; ``float_type``: what "float" inputs of the contract are."""

    spec: GraphSpec
    axes: Mapping[str, int]
    float_type: str = "float32"

    def of(self, tensor: TensorSpec) -> tuple[int, ...]:
        return tuple(self.axes[axis] if isinstance(axis, str) else axis for axis in tensor.shape)

    def dtype(self, tensor: TensorSpec) -> np.dtype[Any]:
        return np.dtype(tensor.resolved(self.float_type))

    @property
    def rows(self) -> int:
        return self.axes[ROWS]

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Input -> shape and dtype."""
        return {t.name: (self.of(t), self.dtype(t)) for t in self.spec.inputs}


def calibration_shape(
    spec: GraphSpec, axes: Mapping[str, int] | None = None, *, float_type: str = "float32"
) -> CalibrationShape:
    """The best shape (kOPT) of the contract's first profile, but for the sizes in ``axes``. BuildError for a size
    outside the profile, and for a graph without rows."""
    if not spec.profiles or any(tensor.shape[:1] != (ROWS,) for tensor in spec.inputs):
        raise BuildError(
            f"graph {spec.name} has no profile or inputs without rows, so it cannot be calibrated"
        )
    ranges = spec.profiles[0]
    sizes = {axis: best for axis, (_, best, _) in ranges.items()} | dict(axes or {})
    for axis, size in sizes.items():
        if axis not in ranges:
            raise BuildError(f"graph {spec.name} has no axis {axis}; it has {', '.join(sorted(ranges))}")
        low, _, high = ranges[axis]
        if not max(low, 1) <= size <= high:
            raise BuildError(f"graph {spec.name}: axis {axis} is to be {size}, expected {low}..{high}")
    return CalibrationShape(spec, sizes, float_type)


def fitted_batches(source: BatchSource, shape: CalibrationShape) -> Iterator[dict[str, Array]]:
    """Input -> array of exactly ``shape.layout``. BuildError names the recording that does not fit the contract."""
    rows: list[dict[str, Array]] = []
    for number, recording in enumerate(source):
        where = f"recording {number} of graph {shape.spec.name}"
        count = _check(recording, shape, where)
        rows += [
            _fitted_row({name: array[r] for name, array in recording.items()}, shape) for r in range(count)
        ]
        while len(rows) >= shape.rows:
            yield _stacked(rows[: shape.rows])
            rows = rows[shape.rows :]
    if rows:
        yield _stacked([rows[r % len(rows)] for r in range(shape.rows)])


def _stacked(rows: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _check(recording: Mapping[str, Array], shape: CalibrationShape, where: str) -> int:
    """Returns its number of rows."""
    contract = {tensor.name: tensor for tensor in shape.spec.inputs}
    if wrong := recording.keys() ^ contract.keys():
        raise BuildError(
            f"{where} has inputs {', '.join(sorted(recording))}; differing from the contract: {', '.join(sorted(wrong))}"
        )
    sizes: dict[str, int] = {}
    for name, array in recording.items():
        tensor = contract[name]
        expected = [sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in tensor.shape]
        fits = len(expected) == array.ndim and all(
            isinstance(size, str) or size == found for size, found in zip(expected, array.shape, strict=True)
        )
        if not fits:
            raise BuildError(f"{where}: input {name} is {array.shape}, expected {tuple(expected)}")
        if array.dtype.kind != shape.dtype(tensor).kind:
            raise BuildError(f"{where}: input {name} is {array.dtype}, expected {shape.dtype(tensor)}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BuildError(f"{where}: input {name} holds NaN or infinity")
        sizes |= {
            axis: size for axis, size in zip(tensor.shape, array.shape, strict=True) if isinstance(axis, str)
        }
    return sizes[ROWS]


def _fitted_row(row: Mapping[str, Array], shape: CalibrationShape) -> dict[str, Array]:
    spec = shape.spec
    counts, places = COUNTS.get(spec.name, {}), POINTS_INTO.get(spec.name, {})
    starts = {
        axis: max(0, real - shape.axes[axis]) for axis, real in _real_sizes(row, spec, counts, places).items()
    }
    fitted = {}
    for tensor in spec.inputs:
        values = row[tensor.name]
        if axis := counts.get(tensor.name):
            values = np.clip(values - starts[axis], 0, shape.axes[axis])
        if axis := places.get(tensor.name):
            values = np.clip(values - starts[axis], 0, shape.axes[axis] - 1)
        window = tuple(
            slice(starts[axis], starts[axis] + shape.axes[axis]) if isinstance(axis, str) else slice(None)
            for axis in tensor.shape[1:]
        )
        values = values[window]
        array = np.zeros(shape.of(tensor)[1:], shape.dtype(tensor))
        array[tuple(slice(size) for size in values.shape)] = values
        fitted[tensor.name] = array
    return fitted


def _real_sizes(
    row: Mapping[str, Array], spec: GraphSpec, counts: Mapping[str, str], places: Mapping[str, str]
) -> dict[str, int]:
    """Entries before the padding on every symbolic axis, as far as length, index and mask inputs tell."""
    recorded: dict[str, int] = {}
    told: dict[str, int] = {}
    for tensor in spec.inputs:
        values, axes = row[tensor.name], tensor.shape[1:]
        recorded |= {
            axis: size for axis, size in zip(axes, values.shape, strict=True) if isinstance(axis, str)
        }
        if axis := counts.get(tensor.name):
            told[axis] = max(told.get(axis, 0), int(values))
        elif axis := places.get(tensor.name):
            told[axis] = int(values.max(initial=-1)) + 1
        elif tensor.dtype == "bool" and len(axes) == 1 and isinstance(axes[0], str):
            told[axes[0]] = int(np.flatnonzero(values).max(initial=-1)) + 1
    return {axis: min(told.get(axis, size), size) for axis, size in recorded.items()}
