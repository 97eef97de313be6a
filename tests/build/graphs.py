"""Tiny ONNX graphs with their contracts: what the builder must build, and what it must refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tts_trt.spec import GraphSpec, TensorSpec

FLOAT, HALF, INT64, BOOL, INT8 = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.INT8,
)
_NAMES = {FLOAT: "float32", HALF: "float16", INT64: "int64", BOOL: "bool"}
HEADS, SLOTS, WIDTH = 2, 16, 32

Tensors = dict[str, tuple[int, list[int | str]]]


def save(path: Path, nodes: list[onnx.NodeProto], inputs: Tensors, outputs: Tensors, weights=()) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in dict(weights).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    onnx.save(model, path)
    return path


def contract(name: str, inputs: Tensors, outputs: Tensors, profiles=(), aliases=None) -> GraphSpec:
    def tensors(group: Tensors) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(n, _NAMES[kind], tuple(shape), "") for n, (kind, shape) in group.items())

    return GraphSpec(name, tensors(inputs), tensors(outputs), tuple(profiles), aliases or {}, "")


def matmul(path: Path, dtype: int = FLOAT) -> tuple[Path, GraphSpec]:
    inputs: Tensors = {"x": (dtype, ["B", 8])}
    outputs: Tensors = {"y": (dtype, ["B", 4])}
    weight = np.linspace(-1, 1, 32).reshape(8, 4).astype(np.float16 if dtype == HALF else np.float32)
    save(
        path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], inputs, outputs, {"w": weight}
    )
    return path, contract("matmul", inputs, outputs, [{"B": (1, 2, 4)}])


def kv_attention(
    path: Path, dtype: int = HALF, *, nonpad: bool = False, mask: bool = True, causal: bool = False
) -> tuple[Path, GraphSpec]:
    """One attention over a key and a value cache; profile 0 prefill, profile 1 one step."""
    row: list[int | str] = ["B", HEADS, "T", WIDTH]
    cache: list[int | str] = ["B", HEADS, SLOTS, WIDTH]
    inputs: Tensors = dict.fromkeys(("q", "k_new", "v_new"), (dtype, row))
    inputs |= {"pos": (INT64, ["B"]), "k": (dtype, cache), "v": (dtype, cache)}
    if mask:
        inputs["mask"] = (BOOL, ["B", 1, "T", SLOTS])
    if nonpad:
        inputs["filled"] = (INT64, ["B"])
    outputs: Tensors = {"y": (dtype, row), "k_out": (dtype, cache), "v_out": (dtype, cache)}
    operands = ["q", "k_out", "v_out", "mask" if mask else "", "", "", "filled" if nonpad else ""]
    while not operands[-1]:
        operands.pop()
    nodes = [
        helper.make_node("TensorScatter", [c, f"{c}_new", "pos"], [f"{c}_out"], axis=2, mode="linear")
        for c in ("k", "v")
    ]
    extra = {"is_causal": 1} if causal else {}
    nodes.append(helper.make_node("Attention", operands, ["y"], name="attend", **extra))
    save(path, nodes, inputs, outputs)
    profiles = [{"B": (1, 2, 4), "T": (2, 8, SLOTS)}, {"B": (1, 2, 4), "T": (1, 1, 1)}]
    return path, contract("kv", inputs, outputs, profiles, {"k_out": "k", "v_out": "v"})


def quantised(path: Path, *, activations: bool) -> tuple[Path, GraphSpec]:
    """x @ int8 weights, per output channel; with ``activations`` x is int8 too. A second product stays
    fp16."""
    inputs: Tensors = {"x": (HALF, ["B", 32])}
    outputs: Tensors = {"y": (HALF, ["B", 32])}
    weights = {
        "w": (np.arange(1024) % 255 - 127).astype(np.int8).reshape(32, 32),
        "ws": np.full(32, 0.01, np.float16),
        "xs": np.array(0.02, np.float16),
        "plain": np.eye(32, dtype=np.float16),
    }
    nodes = [helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=1)]
    if activations:
        nodes.append(helper.make_node("QuantizeLinear", ["x", "xs"], ["xq"], output_dtype=INT8))
        nodes.append(helper.make_node("DequantizeLinear", ["xq", "xs"], ["xd"]))
    nodes.append(helper.make_node("MatMul", ["xd" if activations else "x", "wd"], ["z"]))
    nodes.append(helper.make_node("MatMul", ["z", "plain"], ["y"]))
    save(path, nodes, inputs, outputs, weights)
    return path, contract("quantised", inputs, outputs, [{"B": (1, 2, 4)}])
