"""Put the quantisation of chosen layers into a graph, as QuantizeLinear and DequantizeLinear nodes.

    activation:  x -> (x / s) -> QuantizeLinear -> DequantizeLinear -> layer     one scale; shared by layers with the same
    weight:                      int8 or FP8 constant -> DequantizeLinear -> layer     one scale per output channel

Scales have the float type of the place: half in a half graph, single in a single graph and in FP32 islands. Zero points
are those of symmetric formats; activations carry theirs because ONNX Runtime fuses no product without it. What is not
chosen, biases and caches included, keeps its tensors.

What ONNX Runtime 1.31 makes of it on a CPU, with FP32 scales: int8 MatMul becomes MatMulIntegerToFloat, a weight-only
MatMul becomes MatMulNBits (which by default quantises activations as well; session.qdq_matmulnbits_accuracy_level = 1
forbids it). Conv and ConvTranspose are fused only between quantised inputs and outputs, so they compute in float on
dequantised values. Gemm is not fused with a float bias, so it becomes MatMul and Add here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tts_trt.errors import QuantError
from tts_trt.export.passes import store_half as _store_half
from tts_trt.quant.formats import SCHEMES, Format, along, store_scale, weight_scales
from tts_trt.quant.layers import Constant, Constants, Layer, find_layers

Float32 = NDArray[np.float32]

_NORMS = ("LayerNormalization", "RMSNormalization")


@dataclass(frozen=True, eq=False)
class Choice:
    """For one layer. ``activation_scale`` is of the activation after smoothing. ``smooth`` (C,): the factors its input
    channels are divided by, and its weight multiplied by; layers of one activation can share them."""

    scheme: str
    activation_scale: np.float32 | None = None
    smooth: Float32 | None = None


@dataclass(frozen=True)
class Rewritten:
    """``folded``: smoothed activations whose division went into the norm before them; ``multiplied``: those that need
    a Mul of their own."""

    layers: int
    folded: int
    multiplied: int


def quantise(model: onnx.ModelProto, choices: Mapping[str, Choice], *, shared: bool = True) -> Rewritten:
    """Rewrite ``model`` in place; ``choices`` by layer name, all others stay. The weights must be loaded.

    ``shared`` False gives each layer a quantised copy of its activation. TensorRT wants one for all its readers; ONNX
    Runtime, on a CPU, computes in int8 only where a product is the only reader.

    QuantError for a name that is no layer of the graph, and for a choice that its layer cannot have.
    """
    layers = {layer.name: layer for layer in find_layers(model)}
    if unknown := sorted(choices.keys() - layers.keys()):
        raise QuantError(
            f"the graph has no layer {', '.join(unknown[:3])}; it has {', '.join(list(layers)[:3])} .."
        )
    for name, choice in choices.items():
        _check(layers[name], choice)
    return _Rewrite(model, {name: layers[name] for name in choices}, choices, shared).run()


def store_half(model: onnx.ModelProto) -> None:
    """Store what is left of FP32 weights as half, with casts that are folded at load: for graphs that compute in FP32."""
    _store_half(model.graph)


def _check(layer: Layer, choice: Choice) -> None:
    if choice.scheme not in SCHEMES:
        raise QuantError(f"layer {layer.name}: no scheme {choice.scheme!r}; there are {', '.join(SCHEMES)}")
    scale, smooth = choice.activation_scale, choice.smooth
    if not SCHEMES[choice.scheme].activations:
        if scale is not None or smooth is not None:
            raise QuantError(f"layer {layer.name}: scheme {choice.scheme} leaves activations as they are")
        return
    if scale is None or not 0 < scale < np.inf:
        raise QuantError(f"layer {layer.name}: activation scale {scale}, expected a positive number")
    channels = layer.shape[layer.input_axis]
    if smooth is not None and (smooth.shape != (channels,) or not np.all((smooth > 0) & np.isfinite(smooth))):
        raise QuantError(
            f"layer {layer.name}: smoothing factors {smooth.shape}, expected {channels} positive numbers"
        )


class _Rewrite:
    def __init__(
        self,
        model: onnx.ModelProto,
        layers: Mapping[str, Layer],
        choices: Mapping[str, Choice],
        shared: bool,
    ) -> None:
        self.graph, self.layers, self.choices, self.shared = model.graph, layers, choices, shared
        self.constants = Constants(model.graph)
        self.outputs = {value.name for value in model.graph.output}
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in set(node.input):
                self.readers.setdefault(name, []).append(node)
        self.taken = {*self.constants.stored, *self.producers, *(value.name for value in model.graph.input)}
        self.nodes: list[onnx.NodeProto] = []
        self.made: dict[tuple[Any, ...], str] = {}
        self.added: list[TensorProto] = []
        self.pairs: Counter[str] = Counter()
        self.replaced: set[str] = set()
        self.folded = self.multiplied = 0

    def run(self) -> Rewritten:
        original = list(self.graph.node)
        plans = {id(node): self.layers[node.name] for node in original if self._is_chosen(node)}
        for node in original:
            layer = plans.get(id(node))
            bias = self._quantise(node, layer) if layer else []
            self.nodes += [node, *bias]
        self.graph.initializer.extend(self.added)
        self._drop_unread()
        return Rewritten(len(plans), self.folded, self.multiplied)

    def _is_chosen(self, node: onnx.NodeProto) -> bool:
        layer = self.layers.get(node.name)
        return layer is not None and (node.op_type, node.input[0]) == (layer.op, layer.activation)

    def _quantise(self, node: onnx.NodeProto, layer: Layer) -> list[onnx.NodeProto]:
        """Returns what must follow the node."""
        choice = self.choices[layer.name]
        scheme = SCHEMES[choice.scheme]
        half = self._constant_of(node.input[1]).data_type == TensorProto.FLOAT16
        if scheme.activations:
            node.input[0] = self._activation(layer, choice, scheme.format, half)
        node.input[1] = self._weight(node.input[1], layer, choice, half)
        return _settle_gemm(node, scheme.activations) if node.op_type == "Gemm" else []

    def _activation(self, layer: Layer, choice: Choice, format: Format, half: bool) -> str:
        """Name of the activation after smoothing, quantising and dequantising."""
        source = layer.activation if choice.smooth is None else self._smoothed(layer, choice.smooth, half)
        scale = store_scale(choice.activation_scale, half)
        owner = "" if self.shared else layer.name
        key = ("activation", source, format.name, scale.tobytes(), owner)
        if key not in self.made:
            # Meaningless for one scale, but nodes that differ in it are not merged.
            apart = {} if self.shared else {"axis": self.pairs[source]}
            self.pairs[source] += 1
            zero = self._constant("zero", np.zeros((), format.dtype), ("zero", format.name))
            scales = [self._constant(f"{source}_scale", scale, ("scale", scale.tobytes(), source)), zero]
            codes = self._node("QuantizeLinear", [source, *scales], f"{source}_{format.name}", **apart)
            self.made[key] = self._node("DequantizeLinear", [codes, *scales], f"{codes}_read", **apart)
        return self.made[key]

    def _smoothed(self, layer: Layer, factors: Float32, half: bool) -> str:
        """Name of the activation divided by ``factors``."""
        key = ("smooth", layer.activation, factors.tobytes())
        if key in self.made:
            return self.made[key]
        if self._fold(layer.activation, factors):
            self.folded += 1
            self.made[key] = layer.activation
        else:
            self.multiplied += 1
            rank = 1 if layer.channel_axis == -1 else len(layer.shape)
            inverse = along(1 / factors, layer.channel_axis, rank).astype(np.float16 if half else np.float32)
            factor = self._constant(f"{layer.activation}_inverse", inverse, ("inverse", *key))
            self.made[key] = self._node("Mul", [layer.activation, factor], f"{layer.activation}_smooth")
        return self.made[key]

    def _fold(self, tensor: str, factors: Float32) -> bool:
        """Divide the scale and bias of the norm that makes ``tensor``, where nobody else would notice."""
        norm, between = self.producers.get(tensor), [tensor]
        if norm is not None and norm.op_type == "Cast":
            between.append(norm.input[0])
            norm = self.producers.get(norm.input[0])
        if norm is None or norm.op_type not in _NORMS or between[-1] != norm.output[0]:
            return False
        if any(len(self.readers[name]) > 1 for name in between[1:]) or self.outputs & set(between):
            return False
        readers = [node for node in self.readers[tensor] if self._smooths(node, tensor, factors)]
        if len(readers) < len(self.readers[tensor]):
            return False
        traced = [self.constants.trace(name) for name in norm.input[1:] if name]
        if not all(constant is not None and constant.shape == factors.shape for constant in traced):
            return False
        for i, given in enumerate(norm.input):
            if i == 0 or not given:
                continue
            constant = self._constant_of(given)
            dtype = np.float16 if constant.data_type == TensorProto.FLOAT16 else np.float32
            name = f"{constant.stored.name}_smoothed"
            divided = (constant.values() / factors).astype(dtype)
            norm.input[i] = self._constant(name, divided, (name, tensor, i))
        return True

    def _smooths(self, node: onnx.NodeProto, tensor: str, factors: Float32) -> bool:
        """Whether the node is a layer, still or already rewritten, that divides this input by the same factors."""
        layer = self.layers.get(node.name)
        if layer is None or layer.activation != tensor or list(node.input).count(tensor) > 1:
            return False
        smooth = self.choices[layer.name].smooth
        return smooth is not None and np.array_equal(smooth, factors)

    def _weight(self, name: str, layer: Layer, choice: Choice, half: bool) -> str:
        """Name of the dequantised weight; that of a Gemm as [K, N]. Layers of one weight share it, but weight-only ones
        do not: ONNX Runtime fuses none whose weight others read, and TensorRT-RTX 1.7 crashes where two groups of
        three layers of one input each read the same three weights."""
        scheme, smooth = SCHEMES[choice.scheme], choice.smooth
        owner = "" if scheme.activations else layer.name
        key = ("weight", name, owner, layer.op, choice.scheme, b"" if smooth is None else smooth.tobytes())
        if key in self.made:
            return self.made[key]
        constant, axis = self._constant_of(name), layer.weight_axis
        values = constant.values()
        if smooth is not None:
            values = values * along(smooth, layer.input_axis, values.ndim)
        scales = weight_scales(values, axis, scheme.format, half)
        codes = scheme.format.encode(values, along(scales, axis, values.ndim))
        if layer.op == "Gemm" and axis == 0:
            codes, axis = codes.T, 1
        stored = constant.stored.name
        inputs = [
            self._constant(f"{stored}_{scheme.format.name}", codes, ("codes", *key)),
            self._constant(f"{stored}_scale", scales, ("scales", *key)),
        ]
        if scheme.activations:
            zeros = np.zeros(scales.shape, scheme.format.dtype)
            inputs.append(self._constant("zeros", zeros, ("zeros", scheme.format.name, len(zeros))))
        self.made[key] = self._node("DequantizeLinear", inputs, f"{stored}_read", axis=axis)
        return self.made[key]

    def _node(self, op: str, inputs: list[str], wanted: str, **attributes: Any) -> str:
        name = self._name(wanted)
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def _constant(self, wanted: str, values: Any, key: tuple[Any, ...]) -> str:
        if key not in self.made:
            self.made[key] = self._name(wanted)
            self.added.append(
                numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), self.made[key])
            )
        return self.made[key]

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}#{number}"
        self.taken.add(name)
        return name

    def _constant_of(self, name: str) -> Constant:
        """A constant that is about to be replaced."""
        constant = self.constants.trace(name)
        assert constant is not None
        self.replaced |= {constant.stored.name, *(step.output[0] for step in constant.steps)}
        return constant

    def _drop_unread(self) -> None:
        """Remove replaced constants, and the casts and transposes behind them, unless something else reads them."""
        nodes = self.nodes
        while True:
            read = self.outputs | {name for node in nodes for name in node.input}
            kept = [n for n in nodes if n.output[0] in read or n.output[0] not in self.replaced]
            if len(kept) == len(nodes):
                break
            nodes = kept
        initializers = [i for i in self.graph.initializer if i.name in read or i.name not in self.replaced]
        del self.graph.node[:], self.graph.initializer[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(initializers)


def _settle_gemm(node: onnx.NodeProto, split: bool) -> list[onnx.NodeProto]:
    """Note that the weight is [K, N] now. With ``split`` the bias moves to the Add that is returned."""
    factors = {a.name: a for a in node.attribute if a.name in ("alpha", "beta")}
    beta = helper.get_attribute_value(factors["beta"]) if "beta" in factors else 1.0
    del node.attribute[:]
    node.attribute.extend(factors.values())
    if not split or beta != 1.0 or len(node.input) < 3:
        return []
    output, bias = node.output[0], node.input.pop()
    node.output[0] = f"{output}_product"
    return [helper.make_node("Add", [node.output[0], bias], [output], name=f"{node.name}.bias")]
