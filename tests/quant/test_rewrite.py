"""Quantised graphs: their numbers, what ONNX Runtime and TensorRT-RTX make of them, and what they leave alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.quant.quant_graphs import (
    OPS,
    C,
    N,
    constant,
    contract,
    copy,
    graph,
    one_layer,
    ops,
    optimised_ops,
    run,
    sqnr_db,
)
from tts_trt.build.builder import build_plan
from tts_trt.errors import QuantError
from tts_trt.export.passes import census
from tts_trt.quant.layers import find_layers
from tts_trt.quant.rewrite import Choice, Rewritten, quantise, store_half
from tts_trt.trt import load_backend

SCHEMES = {"w8a8": ("int8", 25.0), "w8": ("int8-weights", 35.0), "fp8": ("fp8", 22.0)}
"""Scheme -> its name in a census, and the least SQNR in dB on gaussian data."""


def choice(scheme: str, x: np.ndarray) -> Choice:
    if scheme == "w8":
        return Choice("w8")
    return Choice(scheme, np.float32(np.abs(x).max() / (448 if scheme == "fp8" else 127)))


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", OPS)
def test_numbers_census_and_scale_types(op: str, scheme: str, half: bool) -> None:
    model, x = one_layer(op, half=half)
    (exact,) = run(model, {"x": x})
    done = quantise(model, {"layer": choice(scheme, x)})
    onnx.checker.check_model(model, full_check=True)
    assert done == Rewritten(layers=1, folded=0, multiplied=0)
    (found,) = run(model, {"x": x}, fused=False)
    name, least = SCHEMES[scheme]
    assert sqnr_db(exact, found) > least
    assert found.dtype == exact.dtype
    assert census(model) == {name: 1}
    scales = {n.input[1] for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")}
    assert {constant(model, name).dtype for name in scales} == {exact.dtype}
    assert "w" not in {i.name for i in model.graph.initializer}
    assert model.opset_import[0].version == 24


@pytest.mark.parametrize("scheme", ["w8a8", "w8"])
@pytest.mark.parametrize("op", OPS)
def test_what_onnx_runtime_computes_in_int8(op: str, scheme: str, tmp_path: Path) -> None:
    """Products are fused, convolutions are not: they would need a quantised output, which costs quality."""
    model, x = one_layer(op)
    quantise(model, {"layer": choice(scheme, x)})
    found = optimised_ops(model, tmp_path)
    if op in ("Conv", "ConvTranspose"):
        assert found[op] == 1 and found["DequantizeLinear"] == 1 + (scheme == "w8a8")
    elif scheme == "w8":
        assert found - Counter({"Add": 1}) == {"MatMulNBits": 1}
    else:
        fused = {"MatMul": "MatMulIntegerToFloat", "Gemm": "QGemm"}[op]
        assert found - Counter({"Add": 1}) == {"QuantizeLinear": 1, fused: 1}
    unfused = run(model, {"x": x}, fused=False)[0]
    assert sqnr_db(unfused, run(model, {"x": x})[0]) > 100


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("op", OPS)
def test_tensorrt_rtx_builds_it_as_asked(op: str, scheme: str, half: bool, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    model, x = one_layer(op, half=half)
    spec = contract(model)
    quantise(model, {"layer": choice(scheme, x)})
    onnx.save(model, tmp_path / "g.onnx")
    plan = build_plan(load_backend("tensorrt-rtx"), tmp_path / "g.onnx", spec, tmp_path / "g.plan")
    assert plan.precisions == census(tmp_path / "g.onnx") == {SCHEMES[scheme][0]: 1}


@pytest.mark.parametrize("op", OPS)
def test_scales_follow_the_output_channels(op: str) -> None:
    """TensorRT-RTX builds a graph with scales along the wrong axis without a word."""
    model, _ = one_layer(op)
    (layer,) = find_layers(model)
    weight = constant(model, "w")
    assert layer.weight_axis == weight.shape.index(N)
    quantise(model, {"layer": Choice("w8")})
    expected = np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != layer.weight_axis)) / 127
    np.testing.assert_allclose(constant(model, "w_scale"), expected, rtol=1e-6)
    (node,) = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
    codes = constant(model, node.input[0])
    axis = helper.get_attribute_value(node.attribute[0])
    assert codes.shape[axis] == N and codes.dtype == np.int8
    assert np.abs(codes).max(axis=tuple(i for i in range(codes.ndim) if i != axis)).tolist() == [127] * N


def two_readers(scales: tuple[float, float], readers: tuple[str, ...] = ("a", "b")) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants = {f"w_{name}": rng.normal(size=(C, N)).astype(np.float32) for name in readers}
    nodes = [helper.make_node("MatMul", ["x", f"w_{name}"], [name], name=name) for name in readers]
    model = graph(nodes, {"x": ["B", C]}, {name: ["B", N] for name in readers}, constants)
    quantise(model, {name: Choice("w8a8", np.float32(s)) for name, s in zip("ab", scales, strict=True)})
    return model


def test_readers_of_one_tensor_share_its_codes() -> None:
    assert ops(two_readers((0.03, 0.03))) == {"QuantizeLinear": 1, "DequantizeLinear": 3, "MatMul": 2}
    assert ops(two_readers((0.03, 0.04))) == {"QuantizeLinear": 2, "DequantizeLinear": 4, "MatMul": 2}
    third = two_readers((0.03, 0.03), ("a", "b", "c")).graph.node
    assert next(node for node in third if node.name == "c").input[0] == "x"


def test_codes_of_their_own_let_onnx_runtime_fuse_each_reader(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {f"w{i}": rng.normal(size=(C, N)).astype(np.float32) for i in range(4)}
    nodes = [helper.make_node("MatMul", ["x", f"w{i}"], [f"y{i}"], name=f"y{i}") for i in range(4)]
    model = graph(nodes, {"x": ["B", C]}, {f"y{i}": ["B", N] for i in range(4)}, weights)
    choices = {f"y{i}": Choice("w8a8", np.float32(0.03)) for i in range(4)}
    apart = copy(model)
    quantise(model, choices)
    quantise(apart, choices, shared=False)
    assert optimised_ops(apart, tmp_path) == {"QuantizeLinear": 4, "MatMulIntegerToFloat": 4}
    assert optimised_ops(model, tmp_path)["MatMulIntegerToFloat"] == 0
    x = rng.normal(size=(3, C)).astype(np.float32)
    for one, other in zip(run(model, {"x": x}), run(apart, {"x": x}), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def two_of_one_weight() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", [x, "w"], [y], name=y) for x, y in (("x", "a"), ("z", "b"))]
    weight = np.random.default_rng(0).normal(size=(C, N)).astype(np.float32)
    return graph(nodes, {"x": ["B", C], "z": ["B", C]}, {"a": ["B", N], "b": ["B", N]}, {"w": weight})


def test_a_weight_of_two_layers_is_stored_once() -> None:
    both, one = two_of_one_weight(), two_of_one_weight()
    choice = Choice("w8a8", np.float32(0.03))
    quantise(both, {"a": choice, "b": choice})
    assert [i.name for i in both.graph.initializer if i.dims == [C, N]] == ["w_int8"]
    quantise(one, {"a": choice})
    assert [i.name for i in one.graph.initializer if i.dims == [C, N]] == ["w", "w_int8"]


def test_weight_only_layers_have_weights_of_their_own(tmp_path: Path) -> None:
    model = two_of_one_weight()
    quantise(model, {"a": Choice("w8"), "b": Choice("w8")})
    assert optimised_ops(model, tmp_path) == {"MatMulNBits": 2}


def test_tensorrt_rtx_survives_weights_that_are_used_twice(tmp_path: Path) -> None:
    """It crashed on an encoder that runs twice: two norms, each with queries, keys and values of the same weights."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    rng = np.random.default_rng(0)
    constants = {f"w{i}": rng.normal(size=(C, C)).astype(np.float32) for i in range(3)} | {
        "gain": np.ones(C, np.float32)
    }
    nodes = []
    for x in "xz":
        nodes.append(helper.make_node("LayerNormalization", [x, "gain"], [f"{x}n"], axis=-1))
        nodes += [
            helper.make_node("MatMul", [f"{x}n", f"w{i}"], [f"{x}{i}"], name=f"{x}{i}") for i in range(3)
        ]
    outputs = {f"{x}{i}": ["B", 4, C] for x in "xz" for i in range(3)}
    model = graph(nodes, {x: ["B", 4, C] for x in "xz"}, outputs, constants)
    spec = contract(model)
    quantise(model, dict.fromkeys(outputs, Choice("w8")))
    onnx.save(model, tmp_path / "g.onnx")
    plan = build_plan(load_backend("tensorrt-rtx"), tmp_path / "g.onnx", spec, tmp_path / "g.plan")
    assert plan.precisions == {"int8-weights": 6}


def test_weights_behind_casts_and_transposes_are_found_and_replaced() -> None:
    """Whole-FP32 graphs store half weights behind a Cast; large ones keep the transpose of their Linear."""
    weight = np.random.default_rng(0).normal(size=(N, C)).astype(np.float16)
    nodes = [
        helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["w32"], ["wT"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wT"], ["y"], name="layer"),
    ]
    model = graph(nodes, {"x": ["B", C]}, {"y": ["B", N]}, {"w": weight})
    (layer,) = find_layers(model)
    assert (layer.weight, layer.shape, layer.weight_axis) == ("w", (C, N), 1)
    x = np.random.default_rng(1).normal(size=(4, C)).astype(np.float32)
    (exact,) = run(model, {"x": x})
    quantise(model, {"layer": Choice("w8")})
    assert ops(model) == {"DequantizeLinear": 1, "MatMul": 1}
    assert constant(model, "w_scale").dtype == np.float32
    assert sqnr_db(exact, run(model, {"x": x})[0]) > 35


def test_what_is_no_layer() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "filter": rng.normal(size=(C, 1, 9)).astype(np.float32),
        "small": rng.normal(size=(C, 4)).astype(np.float32),
        "batched": rng.normal(size=(2, C, 12)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "filter"], ["a"], name="depthwise", group=C, pads=[4, 4]),
        helper.make_node("Transpose", ["x"], ["xT"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "xT"], ["b"], name="two activations"),
        helper.make_node("MatMul", ["xT", "small"], ["c"], name="few values"),
        helper.make_node("MatMul", ["xT", "batched"], ["d"], name="batched"),
    ]
    outputs = {"a": [2, C, 12], "b": [2, C, C], "c": [2, 12, 4], "d": [2, 12, 12]}
    model = graph(nodes, {"x": [2, C, 12]}, outputs, constants)
    onnx.checker.check_model(model, full_check=True)
    assert find_layers(model) == []
    with pytest.raises(QuantError, match="has no layer depthwise"):
        quantise(model, {"depthwise": Choice("w8")})


def test_caches_and_what_is_not_chosen_stay_as_they_are() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["new"], name="key"),
        helper.make_node("TensorScatter", ["cache", "new", "pos"], ["cache_out"], axis=1, mode="linear"),
        helper.make_node("MatMul", ["x", "v"], ["y"], name="other"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 1, C]),
        helper.make_tensor_value_info("cache", TensorProto.FLOAT, ["B", 8, N]),
        helper.make_tensor_value_info("pos", TensorProto.INT64, ["B"]),
    ]
    outputs = [
        helper.make_tensor_value_info("cache_out", TensorProto.FLOAT, ["B", 8, N]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 1, N]),
    ]
    weights = [numpy_helper.from_array(rng.normal(size=(C, N)).astype(np.float32), name) for name in "wv"]
    made = helper.make_graph(nodes, "kv", inputs, outputs, weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    quantise(model, {"key": Choice("w8a8", np.float32(0.03))})
    onnx.checker.check_model(model, full_check=True)
    scatter = next(node for node in model.graph.node if node.op_type == "TensorScatter")
    assert (list(scatter.input), list(scatter.output)) == (["cache", "new", "pos"], ["cache_out"])
    assert list(next(node for node in model.graph.node if node.name == "other").input) == ["x", "v"]


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_half_scales_are_normal_numbers_and_zero_channels_safe(half: bool) -> None:
    model, x = one_layer("MatMul", half=half)
    weight = constant(model, "w").copy()
    weight[:, 0] = 0
    weight[:, 1] *= weight.dtype.type(1e-4)
    next(i for i in model.graph.initializer if i.name == "w").CopyFrom(numpy_helper.from_array(weight, "w"))
    quantise(model, {"layer": Choice("w8a8", np.float32(1e-6))})
    tiny = np.finfo(weight.dtype).smallest_normal
    for name in ("w_scale", "x_scale"):
        assert constant(model, name).dtype == weight.dtype and constant(model, name).min() >= tiny
    assert not constant(model, "w_int8")[:, 0].any()
    assert np.isfinite(run(model, {"x": x}, fused=False)[0]).all()


def test_the_table_s_scale_is_kept_to_the_bit() -> None:
    model, _ = one_layer("Conv")
    scale = np.float32(0.012345679)
    quantise(model, {"layer": Choice("w8a8", scale)})
    assert constant(model, "x_scale") == scale


def test_the_twin_stores_what_stays_float_as_half_but_no_scale() -> None:
    rng = np.random.default_rng(0)
    constants = {name: rng.normal(size=(C, 512)).astype(np.float32) for name in ("wa", "wb")}
    nodes = [helper.make_node("MatMul", ["x", f"w{y}"], [y], name=y) for y in "ab"]
    model = graph(nodes, {"x": ["B", C]}, {"a": ["B", 512], "b": ["B", 512]}, constants)
    quantise(model, {"a": Choice("w8")})
    store_half(model)
    types = {i.name: i.data_type for i in model.graph.initializer}
    assert types == {
        "wa_int8": TensorProto.INT8,
        "wa_scale": TensorProto.FLOAT,
        "wb_stored": TensorProto.FLOAT16,
    }
    x = rng.normal(size=(4, C)).astype(np.float32)
    np.testing.assert_allclose(run(model, {"x": x})[1], x @ constants["wb"], rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Choice("int8"), "no scheme 'int8'; there are w8a8, w8, fp8"),
        (Choice("w8a8"), "activation scale None"),
        (Choice("w8a8", np.float32(0)), "activation scale 0.0"),
        (Choice("w8a8", np.float32("nan")), "activation scale nan"),
        (Choice("w8", np.float32(1)), "leaves activations as they are"),
        (Choice("w8a8", np.float32(1), np.ones(N, np.float32)), rf"factors \({N},\), expected {C} positive"),
        (Choice("w8a8", np.float32(1), np.zeros(C, np.float32)), "positive numbers"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(wrong: Choice, message: str) -> None:
    model, _ = one_layer("MatMul")
    with pytest.raises(QuantError, match=message):
        quantise(model, {"layer": wrong})


def test_weights_left_on_disk_are_missed(tmp_path: Path) -> None:
    model, _ = one_layer("MatMul")
    onnx.save_model(model, tmp_path / "g.onnx", save_as_external_data=True, size_threshold=0)
    bare = onnx.load(tmp_path / "g.onnx", load_external_data=False)
    assert [layer.shape for layer in find_layers(bare)] == [(C, N)]
    with pytest.raises(QuantError, match="weight w was not loaded"):
        quantise(bare, {"layer": Choice("w8")})


def test_layers_of_one_name_are_refused() -> None:
    model, _ = one_layer("MatMul")
    model.graph.node[0].name = ""
    with pytest.raises(QuantError, match="without name"):
        find_layers(model)
