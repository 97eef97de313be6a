"""Optimisation profiles: the axis ranges of a graph contract as min, opt and max shapes per input tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec, Range, TensorSpec


class ShapeRange(NamedTuple):
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


Profile = dict[str, ShapeRange]


def resolve_profiles(spec: GraphSpec) -> list[Profile]:
    """One entry per profile of the contract, each with a range for every input. A graph without symbolic axes
    needs none. BuildError when ranges and axes do not match."""
    axes = {axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, str)}
    if axes and not spec.profiles:
        raise BuildError(f"graph {spec.name} has symbolic axes {_listed(axes)} but no profile")
    for number, ranges in enumerate(spec.profiles):
        where = f"profile {number} of graph {spec.name}"
        if missing := axes - ranges.keys():
            raise BuildError(f"{where} has no range for axis {_listed(missing)}")
        if unknown := ranges.keys() - axes:
            raise BuildError(
                f"{where} has a range for {_listed(unknown)}; the inputs' axes are {_listed(axes)}"
            )
        for axis, (low, opt, high) in ranges.items():
            if not 0 <= low <= opt <= high:
                raise BuildError(
                    f"{where}: axis {axis} is {low}, {opt}, {high}; expected 0 <= min <= opt <= max"
                )
    return [{tensor.name: _shapes(tensor, ranges) for tensor in spec.inputs} for ranges in spec.profiles]


def _shapes(tensor: TensorSpec, ranges: Mapping[str, Range]) -> ShapeRange:
    low, opt, high = (
        tuple(ranges[axis][i] if isinstance(axis, str) else axis for axis in tensor.shape) for i in range(3)
    )
    return ShapeRange(low, opt, high)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
