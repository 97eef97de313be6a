"""Which nodes of a graph can be quantised: products and convolutions of an activation with a constant weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from tts_trt.errors import QuantError

FROM_VALUES = 256
"""Least number of values of a weight that is worth quantising."""

_OPS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


@dataclass(frozen=True)
class Layer:
    """``shape`` and ``weight_axis`` are of the weight as the node reads it."""

    name: str  # of the node: the module's path
    op: str
    weight: str  # the stored constant
    activation: str  # the node's first input
    weight_axis: int  # output channels
    channel_axis: int  # input channels, of the activation
    shape: tuple[int, ...]

    @property
    def input_axis(self) -> int:
        """Of the weight: the axis that is summed over together with the activation's channels."""
        return 1 - self.weight_axis


@dataclass(frozen=True)
class Constant:
    """A stored tensor, with the nodes that the exporter left between it and its use: Cast and Transpose."""

    stored: TensorProto
    steps: tuple[onnx.NodeProto, ...]  # in order of execution

    @property
    def shape(self) -> tuple[int, ...]:
        shape = tuple(self.stored.dims)
        for step in self.steps:
            if step.op_type == "Transpose":
                shape = tuple(shape[axis] for axis in _permutation(step, len(shape)))
        return shape

    @property
    def data_type(self) -> int:
        casts = [step for step in self.steps if step.op_type == "Cast"]
        return int(_attribute(casts[-1], "to", 0)) if casts else int(self.stored.data_type)

    def values(self) -> NDArray[np.float32]:
        """Half values are exact in float32. QuantError where the model was loaded without its weights."""
        if external_data_helper.uses_external_data(self.stored):
            raise QuantError(
                f"weight {self.stored.name} was not loaded", hint="onnx.load(path) with its .data file"
            )
        values = numpy_helper.to_array(self.stored).astype(np.float32)
        for step in self.steps:
            if step.op_type == "Transpose":
                values = values.transpose(_permutation(step, values.ndim))
        return values


class Constants:
    """The constants of a graph by the name they are used under."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.stored = {i.name: i for i in graph.initializer}
        self._steps = {n.output[0]: n for n in graph.node if n.op_type in ("Cast", "Transpose")}

    def trace(self, name: str) -> Constant | None:
        """None for a value that the graph computes."""
        steps: list[onnx.NodeProto] = []
        while name not in self.stored:
            if name not in self._steps:
                return None
            steps.insert(0, self._steps[name])
            name = steps[0].input[0]
        return Constant(self.stored[name], tuple(steps))


def find_layers(model: onnx.ModelProto) -> list[Layer]:
    """In the order of the graph; weights need not be loaded. Left out are grouped convolutions (fixed filters and
    depthwise kernels have too few values a channel to gain from it), products of two activations, and weights of fewer
    than FROM_VALUES values. QuantError for layers whose names cannot tell them apart."""
    found = list(_layers(model.graph, Constants(model.graph)))
    twice = [
        name or "without name"
        for name, count in Counter(x.name for x in found).items()
        if count > 1 or not name
    ]
    if twice:
        raise QuantError(
            f"layers that cannot be told apart by name: {', '.join(twice[:3])}", hint="tts-trt export"
        )
    return found


def layers_of(graphs: Mapping[str, Path]) -> dict[str, list[Layer]]:
    """Layers of ONNX files by graph; weights are not read."""
    return {
        name: find_layers(onnx.load(str(path), load_external_data=False)) for name, path in graphs.items()
    }


def _layers(graph: onnx.GraphProto, constants: Constants) -> Iterator[Layer]:
    for node in graph.node:
        if node.op_type not in _OPS:
            continue
        constant = constants.trace(node.input[1])
        axis = output_axis(node)
        if constant is None or axis is None:
            continue
        shape = constant.shape
        products = node.op_type in ("MatMul", "Gemm")
        if (products and len(shape) != 2) or int(np.prod(shape)) < FROM_VALUES:
            continue
        if constants.trace(node.input[0]) is not None:
            continue
        yield Layer(
            name=node.name,
            op=node.op_type,
            weight=constant.stored.name,
            activation=node.input[0],
            weight_axis=axis,
            channel_axis=-1 if products else 1,
            shape=shape,
        )


def output_axis(node: onnx.NodeProto) -> int | None:
    """The axis of the weight that holds output channels; None where a node is not of a quantisable form.

    MatMul [K, N], Gemm [K, N] or [N, K], Conv [Cout, Cin, k..], ConvTranspose [Cin, Cout, k..] (ONNX operators).
    """
    if node.op_type == "MatMul":
        return 1
    if node.op_type == "Gemm":
        return None if _attribute(node, "transA", 0) else 1 - int(_attribute(node, "transB", 0))
    if _attribute(node, "group", 1) != 1:
        return None
    return 0 if node.op_type == "Conv" else 1


def _permutation(node: onnx.NodeProto, rank: int) -> tuple[int, ...]:
    return tuple(_attribute(node, "perm", tuple(range(rank))[::-1]))


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((a for a in node.attribute if a.name == name), None)
    return default if found is None else helper.get_attribute_value(found)
