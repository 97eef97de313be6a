"""A plan held against its graph's contract, and the profile that takes given shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tts_trt.errors import EngineError
from tts_trt.spec import GraphSpec, Range, TensorSpec

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT64": "int64",
    "INT32": "int32",
    "BOOL": "bool",
}
"""Name in the library's DataType -> numpy's."""

Shapes = Mapping[str, tuple[int, ...]]
"""Input -> shape."""

LARGER = "tts-trt build, with limits that hold what is to be spoken"


def mismatches(trt: Any, engine: Any, spec: GraphSpec, float_type: str) -> Iterator[str]:
    """What of an ICudaEngine is not as the contract says: names, dtypes, fixed sizes, where tensors live, which share
    memory, profiles."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    for kind, mode, expected in (
        ("input", trt.TensorIOMode.INPUT, spec.inputs),
        ("output", trt.TensorIOMode.OUTPUT, spec.outputs),
    ):
        found = sorted(name for name in names if engine.get_tensor_mode(name) == mode)
        if found != (wanted := sorted(tensor.name for tensor in expected)):
            yield f"{kind}s are {', '.join(found)}; the contract says {', '.join(wanted)}"
            return
        for tensor in expected:
            yield from _of_tensor(trt, engine, tensor, float_type)
    for tensor in spec.outputs:
        source, shared = engine.get_aliased_input_tensor(tensor.name) or None, spec.aliases.get(tensor.name)
        if source != shared:
            yield f"output {tensor.name} shares memory with {source}; the contract says {shared}"
    yield from _of_profiles(engine, spec)


def _of_tensor(trt: Any, engine: Any, tensor: TensorSpec, float_type: str) -> Iterator[str]:
    dtype = engine.get_tensor_dtype(tensor.name).name
    if DTYPES.get(dtype, dtype) != tensor.resolved(float_type):
        yield f"{tensor.name} is {DTYPES.get(dtype, dtype)}, expected {tensor.resolved(float_type)}"
    shape = tuple(engine.get_tensor_shape(tensor.name))
    fixed = [(has, axis) for has, axis in zip(shape, tensor.shape, strict=False) if isinstance(axis, int)]
    if len(shape) != len(tensor.shape) or any(has != axis for has, axis in fixed):
        yield f"{tensor.name} has shape {shape}, expected {tensor.shape}"
    if engine.get_tensor_location(tensor.name) != trt.TensorLocation.DEVICE:
        yield f"{tensor.name} is to lie in host memory, expected the device's"


def _of_profiles(engine: Any, spec: GraphSpec) -> Iterator[str]:
    """A plan without symbolic axes has one profile all the same."""
    count = max(1, len(spec.profiles))
    if engine.num_optimization_profiles != count:
        yield f"{engine.num_optimization_profiles} profiles; the contract has {count}"
        return
    for index, ranges in enumerate(spec.profiles):
        for tensor in spec.inputs:
            if not any(isinstance(axis, str) for axis in tensor.shape):
                continue
            low, _, high = (tuple(dims) for dims in engine.get_tensor_profile_shape(tensor.name, index))
            wanted = tuple(_sizes(tensor, ranges, end) for end in (0, 2))
            if (low, high) != wanted:
                yield (
                    f"profile {index} takes {tensor.name} from {low} to {high}; the contract says from "
                    f"{wanted[0]} to {wanted[1]}"
                )


def _sizes(tensor: TensorSpec, ranges: Mapping[str, Range], end: int) -> tuple[int, ...]:
    return tuple(ranges[axis][end] if isinstance(axis, str) else axis for axis in tensor.shape)


def profile_for(spec: GraphSpec, shapes: Shapes) -> int:
    """The tightest profile that takes these shapes, which agree on their axes: at S = 1 the one made for it. EngineError
    with axis, size and range where none does."""
    if not spec.profiles:
        return 0
    sizes = {
        axis: size
        for tensor in spec.inputs
        for axis, size in zip(tensor.shape, shapes[tensor.name], strict=True)
        if isinstance(axis, str)
    }
    outside = [
        {axis: r for axis, r in ranges.items() if not r[0] <= sizes[axis] <= r[2]} for ranges in spec.profiles
    ]
    fitting = [index for index, wrong in enumerate(outside) if not wrong]
    if not fitting:
        wrong = "; ".join(
            f"profile {index}: "
            + ", ".join(f"{a} is {sizes[a]}, allowed {_range(r)}" for a, r in axes.items())
            for index, axes in enumerate(outside)
        )
        raise EngineError(f"graph {spec.name} takes no such shapes: {wrong}", hint=LARGER)
    return min(fitting, key=lambda index: math.prod(high for _, _, high in spec.profiles[index].values()))


def _range(sizes: Range) -> str:
    return f"{sizes[0]}..{sizes[2]}" if sizes[0] < sizes[2] else str(sizes[0])
