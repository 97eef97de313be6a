"""Copies between strided tensors as few calls of the driver: ``runs`` plans them, ``enqueue`` queues one.

The driver copies rows of bytes at a pitch (2D), and slices of such rows (3D) where a slice is a whole number of pitches
long. Axes that lie behind each other in both tensors are one axis here; what does not fit into one call is repeated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tts_trt.errors import EngineError
from tts_trt.runtime.device import Array


@dataclass(frozen=True)
class Run:
    """One call: ``depth`` slices of ``height`` rows of ``width`` bytes. Offsets are from the tensors' first bytes."""

    target: int
    source: int
    width: int
    height: int = 1
    depth: int = 1
    target_pitch: int = 0  # bytes from row to row
    source_pitch: int = 0
    target_rows: int = 0  # pitches from slice to slice
    source_rows: int = 0


class _Axis(NamedTuple):
    target: int  # bytes from element to element
    source: int
    size: int


def runs(
    shape: Sequence[int], target_strides: Sequence[int], source_strides: Sequence[int], itemsize: int
) -> Iterator[Run]:
    """Every element once. EngineError where the last axis has gaps."""
    if 0 in shape:
        return
    if shape and shape[-1] > 1 and (target_strides[-1], source_strides[-1]) != (itemsize, itemsize):
        raise EngineError(
            f"a copy whose last axis has strides {target_strides[-1]} and {source_strides[-1]} bytes, "
            f"expected {itemsize}"
        )
    axes = _merged(_Axis(*one) for one in zip(target_strides, source_strides, shape, strict=True))
    width = itemsize
    if axes and (axes[-1].target, axes[-1].source) == (itemsize, itemsize):
        width *= axes.pop().size
    yield from _rows(axes, width)


def _merged(axes: Iterator[_Axis]) -> list[_Axis]:
    """Outermost first, without axes of one element."""
    merged: list[_Axis] = []
    for axis in sorted((a for a in axes if a.size > 1), reverse=True):
        if merged and merged[-1][:2] == (axis.target * axis.size, axis.source * axis.size):
            axis = axis._replace(size=axis.size * merged.pop().size)
        merged.append(axis)
    return merged


def _rows(axes: list[_Axis], width: int) -> Iterator[Run]:
    if not axes:
        yield Run(0, 0, width)
        return
    slices = [pair for pair in itertools.permutations(axes, 2) if _is_slice(*pair)]
    if slices:
        outer, row = max(slices, key=lambda pair: pair[0].size * pair[1].size)
    else:
        outer, row = _Axis(0, 0, 1), max(axes, key=lambda axis: axis.size)
    block = Run(0, 0, width, row.size, outer.size, row.target, row.source)
    block = replace(block, target_rows=outer.target // row.target, source_rows=outer.source // row.source)
    repeated = [axis for axis in axes if axis not in (outer, row)]
    for at in itertools.product(*(range(axis.size) for axis in repeated)):
        target = sum(i * axis.target for i, axis in zip(at, repeated, strict=True))
        source = sum(i * axis.source for i, axis in zip(at, repeated, strict=True))
        yield replace(block, target=target, source=source)


def _is_slice(outer: _Axis, row: _Axis) -> bool:
    """A step of ``outer`` is a whole number of pitches. No fewer than there are rows, or elements would overlap."""
    return outer.target % row.target == 0 and outer.source % row.source == 0


def enqueue(driver: Any, stream: Any, target: int | Array, source: int | Array, run: Run) -> None:
    """On ``driver``'s (pycuda.driver) stream. An end is a device address or an array of page-locked bytes, not both
    ends arrays."""
    target, source = _at(target, run.target), _at(source, run.source)
    if run.height * run.depth == 1:
        _row(driver, stream, target, source, run.width)
        return
    copy = driver.Memcpy2D() if run.depth == 1 else driver.Memcpy3D()
    (copy.set_src_device if isinstance(source, int) else copy.set_src_host)(source)
    (copy.set_dst_device if isinstance(target, int) else copy.set_dst_host)(target)
    copy.width_in_bytes, copy.height = run.width, run.height
    copy.src_pitch, copy.dst_pitch = run.source_pitch, run.target_pitch
    if run.depth > 1:
        copy.depth, copy.src_height, copy.dst_height = run.depth, run.source_rows, run.target_rows
    copy(stream)


def _row(driver: Any, stream: Any, target: int | Array, source: int | Array, width: int) -> None:
    if not isinstance(source, int):
        driver.memcpy_htod_async(target, source[:width], stream)
    elif not isinstance(target, int):
        driver.memcpy_dtoh_async(target[:width], source, stream)
    else:
        driver.memcpy_dtod_async(target, source, width, stream)


def _at(end: int | Array, offset: int) -> int | Array:
    return end + offset if isinstance(end, int) else end[offset:]
