"""Tiny graphs with one layer of each kind, in FP32 and in half, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tts_trt.spec import GraphSpec, TensorSpec

C, N, TIME = 32, 48, 12
OPS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


def graph(nodes, inputs, outputs, constants, dtype=TensorProto.FLOAT) -> onnx.ModelProto:
    """``inputs`` and ``outputs``: name -> shape; ``constants``: name -> array, kept in its own type."""
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)


def one_layer(op: str, *, half: bool = False, seed: int = 0) -> tuple[onnx.ModelProto, np.ndarray]:
    """A layer called "layer" with gaussian weights, whose channels differ in size, and a bias; gaussian input."""
    rng, dtype = np.random.default_rng(seed), np.float16 if half else np.float32
    shapes = {"MatMul": (C, N), "Gemm": (N, C), "Conv": (N, C, 3), "ConvTranspose": (C, N, 4)}
    attributes = {
        "MatMul": {},
        "Gemm": {"transB": 1},
        "Conv": {"pads": [1, 1], "kernel_shape": [3]},
        "ConvTranspose": {"strides": [2], "pads": [1, 1], "kernel_shape": [4]},
    }
    weight = rng.normal(size=shapes[op])
    axis = shapes[op].index(N)
    sizes = np.exp(rng.uniform(-2, 2, N)).reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    x_shape = {"MatMul": ["B", 5, C], "Gemm": ["B", C]}.get(op, ["B", C, TIME])
    constants = {"w": (weight * sizes).astype(dtype), "b": rng.normal(size=N).astype(dtype)}
    if op == "MatMul":
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["xw"], name="layer"),
            helper.make_node("Add", ["xw", "b"], ["y"]),
        ]
    else:
        nodes = [helper.make_node(op, ["x", "w", "b"], ["y"], name="layer", **attributes[op])]
    y_shape = {"MatMul": ["B", 5, N], "Gemm": ["B", N], "ConvTranspose": ["B", N, 2 * TIME]}.get(
        op, ["B", N, TIME]
    )
    x = rng.normal(size=[3 if axis == "B" else axis for axis in x_shape]).astype(dtype)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return graph(nodes, {"x": x_shape}, {"y": y_shape}, constants, kind), x


def contract(model: onnx.ModelProto) -> GraphSpec:
    def tensors(values) -> tuple[TensorSpec, ...]:
        types = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
        found = []
        for value in values:
            kind = value.type.tensor_type
            shape = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
            found.append(TensorSpec(value.name, types[kind.elem_type], shape, ""))
        return tuple(found)

    inputs, outputs = tensors(model.graph.input), tensors(model.graph.output)
    return GraphSpec("g", inputs, outputs, ({"B": (1, 2, 4)},), {}, "")


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *, fused: bool = True) -> list[np.ndarray]:
    """``fused`` False computes every node as the standard says. A weight-only product keeps its activation in float."""
    options = _options()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _session(model, options).run(None, feeds)


def optimised_ops(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """Operators of the graph that ONNX Runtime really runs."""
    options = _options()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    _session(model, options)
    return ops(onnx.load(folder / "optimised.onnx"))


def ops(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def sqnr_db(exact: np.ndarray, found: np.ndarray) -> float:
    exact, found = exact.astype(np.float64), found.astype(np.float64)
    return float(10 * np.log10((exact**2).sum() / max(((found - exact) ** 2).sum(), 1e-30)))


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(i for i in model.graph.initializer if i.name == name))


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _session(model: onnx.ModelProto, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
