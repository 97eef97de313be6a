"""Graph to graph: strip what the exporter leaves behind, and FP16 with FP32 islands.

Precision lives in the graph. In the FP16 form every float tensor is half except inside the nodes of ``Fp32Rule``: there
sums, exponentials, angles and draws need range or resolution that half does not have.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tts_trt.errors import ExportError
from tts_trt.spec import GraphSpec

HALF_MAX = float(np.finfo(np.float16).max)

SENSITIVE = frozenset(
    {
        "LayerNormalization", "RMSNormalization", "BatchNormalization",  # statistics over hundreds of values
        "Softmax", "LogSoftmax", "CumSum", "ReduceSum", "ReduceMean", "ReduceL2",
        "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Div", "Sin", "Cos", "Mish",
        "Range", "TopK", "ArgMax", "Clip",
    }
)  # fmt: skip
"""Operators that compute in FP32 wherever they stand."""

MOVES = frozenset(
    {
        "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Slice", "Split", "Expand", "Identity", "Flatten",
        "Gather", "GatherElements", "GatherND",
    }
)  # fmt: skip
"""Operators that only move data: they keep the type that arrives, so islands are not broken into pieces."""


@dataclass(frozen=True)
class Fp32Rule:
    """Which nodes stay FP32 besides the sensitive operators."""

    whole_graphs: frozenset[str] = frozenset({"sampler", "conditioner", "style_encoder"})
    """Graphs that compute in FP32 throughout, from weights stored as half. The sampler decides; the conditioner's
    perceiver has no norm in its residual stream and overflows half; both encoders run once per voice anyway."""
    before: frozenset[str] = frozenset({"Sin", "Cos", "Sqrt", "Reciprocal", "Log", "Exp"})
    """Operators whose argument must be computed in FP32 too: half leaves an angle of 30 five bits after the point, and
    loses the epsilon that is added to a variance."""


STORED_HALF_FROM = 256
"""Least number of values of a weight worth storing as half in a graph that computes in FP32."""


@dataclass
class _Casts:
    """Casts and converted weights made so far, so that each is made once."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    made: dict[tuple[str, int], str] = field(default_factory=dict)


def strip(model: onnx.ModelProto) -> None:
    """Remove stack traces, value names and other leftovers of tracing; they outweigh small graphs."""
    model.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


COMPUTE = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Attention")
_SCOPES = "pkg.torch.onnx.name_scopes"


def name_by_module(model: onnx.ModelProto) -> None:
    """Call matrix products and convolutions by the module they come from, such as ``gpt.gpt.h.0.mlp.c_fc``.

    The exporter folds transposed weights into nameless constants, so the node's name is what a recipe or a table of
    scales can hold on to. Later nodes of one module get ``#2``, ``#3`` .. added.
    """
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), None)
        if node.op_type not in COMPUTE or scopes is None:
            continue
        module = next((scope for scope in reversed(ast.literal_eval(scopes)[:-1]) if scope), "")
        if module:
            seen[module] += 1
            node.name = module if seen[module] == 1 else f"{module}#{seen[module]}"


def to_half(path: Path, spec: GraphSpec, out: Path, rule: Fp32Rule | None = None) -> None:
    """Rewrite an FP32 graph as FP16 with FP32 islands; weights go to ``out``.data.

    Raises ExportError for a weight that half cannot hold.
    """
    model = onnx.load(str(path))
    types = _float_types(path)
    strip(model)  # recorded value types would contradict the new ones
    rewritten = _Rewrite(model, spec, types, rule or Fp32Rule())
    rewritten.run()
    save(model, out)


_NAMES: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.INT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
}
_TRANSPARENT = ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Identity", "Cast", "Slice")
"""Operators that may stand between a DequantizeLinear and the node that computes with the stored values."""


def census(source: Path | onnx.ModelProto) -> dict[str, int]:
    """Precision -> number of matrix products, convolutions and attentions that the graph asks to compute in it:
    "fp32", "fp16", "int8" (data and weights) or "int8-weights" (weights alone), and so on for "fp8". The weights
    need not be loaded."""
    model = onnx.load(str(source), load_external_data=False) if isinstance(source, Path) else source
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    types |= {i.name: i.data_type for i in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in COMPUTE:
            continue
        name = _NAMES.get(types.get(node.output[0], 0), "other")
        data, weight = (_stored_type(tensor, producers, types) for tensor in node.input[:2])
        if weight is not None:
            name = _NAMES.get(weight, "other") + ("" if data is not None else "-weights")
        found[name] = found.get(name, 0) + 1
    return found


def _stored_type(
    tensor: str, producers: Mapping[str, onnx.NodeProto], types: Mapping[str, int]
) -> int | None:
    """The type of the values behind a tensor that comes out of a DequantizeLinear; None for any other tensor."""
    node = producers.get(tensor)
    while node is not None and node.op_type in _TRANSPARENT:
        node = producers.get(node.input[0])
    return types.get(node.input[0], 0) if node is not None and node.op_type == "DequantizeLinear" else None


def store_half(graph: onnx.GraphProto) -> None:
    """Store the large FP32 weights of a graph that computes in FP32 as half, each with a Cast that runtimes fold when
    they load the graph. Scales of QuantizeLinear and DequantizeLinear stay. ExportError for a weight that half cannot
    hold."""
    scales = {n.input[1] for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}
    casts, stored = [], []
    for weight in list(graph.initializer):
        large = weight.data_type == TensorProto.FLOAT and int(np.prod(weight.dims)) >= STORED_HALF_FROM
        if not large or weight.name in scales:
            continue
        stored.append(_half_weight(weight, f"{weight.name}_stored"))
        name, source = weight.name, stored[-1].name
        casts.append(helper.make_node("Cast", [source], [name], name=f"{name}_load", to=TensorProto.FLOAT))
        graph.initializer.remove(weight)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(stored)


def save(model: onnx.ModelProto, out: Path) -> None:
    """Write with all weights in one file beside the graph."""
    data = out.with_name(out.name + ".data")
    data.unlink(missing_ok=True)  # onnx appends to an existing file
    onnx.save_model(
        model, str(out), save_as_external_data=True, all_tensors_to_one_file=True, location=data.name,
        size_threshold=256, convert_attribute=False,
    )  # fmt: skip


def _float_types(path: Path) -> set[str]:
    """Names of all float32 values of the graph, by shape inference (weights need not be read)."""
    inferred = onnx.shape_inference.infer_shapes(
        onnx.load(str(path), load_external_data=False), strict_mode=True
    )
    graph = inferred.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    found = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {i.name for i in graph.initializer if i.data_type == TensorProto.FLOAT}


class _Rewrite:
    def __init__(self, model: onnx.ModelProto, spec: GraphSpec, floats: set[str], rule: Fp32Rule) -> None:
        self.graph, self.spec, self.floats, self.rule = model.graph, spec, floats, rule
        self.weights = {i.name: i for i in model.graph.initializer}
        self.types: dict[str, int] = dict.fromkeys(floats, TensorProto.FLOAT)
        self.casts = _Casts()
        self.producer = {o: n for n in self.graph.node for o in n.output}

    def run(self) -> None:
        self._retype_io()
        angles = self._arguments_of_sensitive()
        nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            wanted = self._wanted_type(node, id(node) in angles)
            self.casts.nodes = []
            if wanted is not None:
                self._convert(node, wanted)
            nodes += [*self.casts.nodes, node]
        nodes += self._finish_outputs(nodes)
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        self.graph.initializer.extend(self.casts.weights)
        if self.spec.name in self.rule.whole_graphs:
            store_half(self.graph)
        used = {name for node in self.graph.node for name in node.input}
        kept = [i for i in self.graph.initializer if i.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)

    def _retype_io(self) -> None:
        """Inputs and outputs that follow the bundle's float type become half; caches with them."""
        for tensors, values in ((self.spec.inputs, self.graph.input), (self.spec.outputs, self.graph.output)):
            for tensor, value in zip(tensors, values, strict=True):
                if tensor.dtype == "float":
                    value.type.tensor_type.elem_type = TensorProto.FLOAT16
                    if tensors is self.spec.inputs:
                        self.types[value.name] = TensorProto.FLOAT16

    def _arguments_of_sensitive(self) -> set[int]:
        """Nodes that compute the argument of such an operator: one node before it, data moves skipped."""
        found: set[int] = set()
        for node in self.graph.node:
            if node.op_type not in self.rule.before:
                continue
            source = self.producer.get(node.input[0])
            while source is not None and source.op_type in MOVES:
                found.add(id(source))
                source = self.producer.get(source.input[0])
            if source is not None:
                found.add(id(source))
        return found

    def _wanted_type(self, node: onnx.NodeProto, angle: bool) -> int | None:
        """Float type the node computes in, or None where it touches no float input."""
        touched = [name for name in node.input if name in self.floats]
        if node.op_type == "Cast" or not touched:
            return None
        if self.spec.name in self.rule.whole_graphs or angle or node.op_type in SENSITIVE:
            return TensorProto.FLOAT
        if node.op_type in MOVES and touched[0] not in self.weights:
            return self.types[touched[0]]
        return TensorProto.FLOAT16

    def _convert(self, node: onnx.NodeProto, wanted: int) -> None:
        for i, name in enumerate(node.input):
            if name in self.floats and self.types[name] != wanted:
                node.input[i] = self._as(name, wanted)
        for name in node.output:
            if name in self.floats:
                self.types[name] = wanted

    def _as(self, name: str, wanted: int) -> str:
        """Name of ``name`` in type ``wanted``: a converted copy of a weight, or a Cast."""
        key = (name, wanted)
        if key not in self.casts.made:
            suffix = "half" if wanted == TensorProto.FLOAT16 else "single"
            new = f"{name}_{suffix}"
            self.casts.made[key] = new
            if name in self.weights:
                self.casts.weights.append(_half_weight(self.weights[name], new))
            else:
                self.casts.nodes.append(helper.make_node("Cast", [name], [new], name=new, to=wanted))
        return self.casts.made[key]

    def _finish_outputs(self, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
        """Casts for outputs whose computed type is not the contract's; the producer's output is renamed."""
        added = []
        for tensor, value in zip(self.spec.outputs, self.graph.output, strict=True):
            expected = value.type.tensor_type.elem_type
            if value.name not in self.floats or self.types[value.name] == expected:
                continue
            inner = f"{value.name}_computed"
            for node in nodes:
                for names in (node.input, node.output):
                    for i, name in enumerate(names):
                        if name == value.name:
                            names[i] = inner
            added.append(
                helper.make_node("Cast", [inner], [tensor.name], name=f"{tensor.name}_cast", to=expected)
            )
        return added


def _half_weight(weight: onnx.TensorProto, name: str) -> onnx.TensorProto:
    values = numpy_helper.to_array(weight)
    finite = values[np.isfinite(values)]
    if finite.size and np.abs(finite).max() > HALF_MAX:
        raise ExportError(
            f"weight {weight.name} reaches {np.abs(finite).max():.3g}, half precision ends at {HALF_MAX:g}"
        )
    return numpy_helper.from_array(values.astype(np.float16), name)
