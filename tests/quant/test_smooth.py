"""SmoothQuant: the same product in exact arithmetic, a better one in int8, and the norm that takes the division."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.quant.quant_graphs import C, N, constant, copy, graph, one_layer, ops, run, sqnr_db
from tts_trt.errors import QuantError
from tts_trt.quant.layers import find_layers
from tts_trt.quant.rewrite import Choice, Rewritten, quantise
from tts_trt.quant.smooth import GRID, search_alpha, smooth_with, smoothed_scale, smoothing_factors


def outliers(seed: int = 0, rows: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of which two channels are fifty times larger, their ranges, and a weight (C, N)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, C)).astype(np.float32)
    x[:, [3, 17]] *= 50
    return x, np.abs(x).max(axis=0), rng.normal(size=(C, N)).astype(np.float32)


def test_equation_four() -> None:
    s = smoothing_factors(np.array([16.0, 1.0, 0.0], np.float32), np.array([1.0, 4.0, 1.0], np.float32), 0.5)
    np.testing.assert_allclose(s, [4.0, 0.5, 1e-5**0.5], rtol=1e-6)
    assert np.array_equal(smoothing_factors(np.array([7.0]), np.array([0.1]), 1.0), np.float32([7.0]))


def test_a_search_finds_what_outlier_channels_need() -> None:
    x, top, w = outliers()
    found = search_alpha(w, 1, x, top)
    assert found.alpha in GRID and found.alpha >= 0.4
    assert found.error < 0.3 * found.error_off
    errors = [smooth_with(w, 1, x, top, alpha).error for alpha in GRID]
    assert found.error == min(errors) and found.alpha == GRID[int(np.argmin(errors))]
    assert found.activation_scale == smoothed_scale(x, top, found.factors)


def test_even_channels_are_left_alone_when_nothing_is_gained() -> None:
    """Values that int8 holds exactly."""
    x, w = np.diag(np.full(C, 127, np.float32)), np.full((C, N), 127, np.float32)
    found = search_alpha(w, 1, x, np.abs(x).max(axis=0))
    assert (found.alpha, found.factors, found.error) == (0.0, None, 0.0)


@pytest.mark.parametrize("op", ["Gemm", "Conv", "ConvTranspose"])
def test_layouts_of_one_weight_agree(op: str) -> None:
    x, top, w = outliers()
    axis = 1 if op == "ConvTranspose" else 0
    other = {"Gemm": w.T, "Conv": w.T[:, :, None], "ConvTranspose": w[:, :, None]}[op]
    a, b = search_alpha(w, 1, x, top), search_alpha(np.ascontiguousarray(other), axis, x, top)
    assert a.alpha == b.alpha and np.array_equal(a.factors, b.factors)
    assert a.error == pytest.approx(b.error)


def test_all_taps_of_a_kernel_count() -> None:
    """A range that only the second tap has moves the factors, and one scale serves all taps of an output."""
    x, top, w = outliers()
    kernel = np.stack([w.T, 30 * w.T], axis=2)
    assert np.allclose(
        smooth_with(kernel, 0, x, top, 0.5).factors, smooth_with(30 * w, 1, x, top, 0.5).factors
    )
    assert smooth_with(kernel, 0, x, top, 0.5).error > smooth_with(30 * w, 1, x, top, 0.5).error


@pytest.mark.parametrize("method", ["max", "percentile", "mse", "entropy"])
def test_the_scale_follows_the_method_but_never_passes_the_range(method: str) -> None:
    x, top, w = outliers(rows=256)
    factors = smoothing_factors(top, np.abs(w).max(axis=1), 0.5)
    scale = smoothed_scale(x, top, factors, method=method, percentile=99.0)
    most = np.float32((top / factors).max() / 127)
    assert scale == most if method == "max" else 0 < scale < most
    assert smoothed_scale(x, top, factors, scheme="fp8") == pytest.approx(most * 127 / 448)
    assert smoothed_scale(x[:1], top / 100, factors, method="percentile") <= most / 99


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, top, w = outliers()
    with pytest.raises(QuantError, match="numbers of channels differ: {'weight': 48, 'vectors': 32"):
        search_alpha(w, 0, x, top)
    with pytest.raises(QuantError, match="0 vectors"):
        search_alpha(w, 1, x[:0], top)


def normed(
    readers: dict[str, np.ndarray], norm: str = "LayerNormalization", half: bool = False
) -> onnx.ModelProto:
    """x -> norm -> (Cast to half) -> one MatMul per reader; the norm's scale has two outlier channels."""
    rng = np.random.default_rng(5)
    gain = rng.uniform(0.5, 1.5, C).astype(np.float32)
    gain[[3, 17]] *= 50
    constants = {"gain": gain, "shift": rng.normal(size=C).astype(np.float32)}
    inputs = ["x", "gain", "shift"] if norm == "LayerNormalization" else ["x", "gain"]
    dtype, source = (np.float16, "h") if half else (np.float32, "n")
    nodes = [helper.make_node(norm, inputs, ["n"], axis=-1)]
    if half:
        nodes.append(helper.make_node("Cast", ["n"], ["h"], to=TensorProto.FLOAT16))
    for name, weight in readers.items():
        constants[f"w_{name}"] = weight.astype(dtype)
        out = f"{name}_half" if half else name
        nodes.append(helper.make_node("MatMul", [source, f"w_{name}"], [out], name=name))
        if half:
            nodes.append(helper.make_node("Cast", [out], [name], to=TensorProto.FLOAT))
    if norm != "LayerNormalization":
        del constants["shift"]
    return graph(nodes, {"x": ["B", C]}, {name: ["B", N] for name in readers}, constants)


def smoothing_of(model: onnx.ModelProto, x: np.ndarray, weights: list[np.ndarray]) -> Choice:
    """Searched over all ``weights`` together, on what the readers of the norm see."""
    shown = copy(model)
    name = find_layers(model)[0].activation
    kind = TensorProto.FLOAT16 if name == "h" else TensorProto.FLOAT
    shown.graph.output.append(helper.make_tensor_value_info(name, kind, ["B", C]))
    seen = run(shown, {"x": x}, fused=False)[-1].astype(np.float32)
    found = search_alpha(np.concatenate(weights, axis=1), 1, seen, np.abs(seen).max(axis=0))
    assert found.factors is not None
    return Choice("w8a8", found.activation_scale, found.factors)


def unsmoothed_of(model: onnx.ModelProto, x: np.ndarray) -> Choice:
    """The norm's shift is small beside its outlier channels."""
    standard = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    return Choice("w8a8", np.float32(np.abs(standard * constant(model, "gain")).max() / 127))


def some_weights(*names: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    return {name: rng.normal(size=(C, N)).astype(np.float32) for name in names}


X = np.random.default_rng(7).normal(size=(64, C)).astype(np.float32)


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("norm", ["LayerNormalization", "RMSNormalization"])
def test_a_norm_takes_the_division_of_all_its_readers(norm: str, half: bool) -> None:
    weights = some_weights("a", "b")
    model = normed(weights, norm, half)
    exact = run(model, {"x": X})
    choice = smoothing_of(model, X, list(weights.values()))
    plain, before = copy(model), ops(model)
    done = quantise(model, {"a": choice, "b": choice})
    onnx.checker.check_model(model, full_check=True)
    assert done == Rewritten(layers=2, folded=1, multiplied=0)
    assert ops(model) - before == {"QuantizeLinear": 1, "DequantizeLinear": 3}
    assert {i.name for i in model.graph.initializer}.isdisjoint({"gain", "shift"})
    quantise(plain, dict.fromkeys("ab", unsmoothed_of(plain, X)))
    for one, smoothed, unsmoothed in zip(exact, run(model, {"x": X}), run(plain, {"x": X}), strict=True):
        assert sqnr_db(one, smoothed) > 32
        assert sqnr_db(one, smoothed) > sqnr_db(one, unsmoothed) + 3


def test_another_reader_keeps_the_norm_and_gets_a_mul_beside_it() -> None:
    weights = some_weights("a", "b")
    model = normed(weights)
    exact = run(model, {"x": X})
    choice = smoothing_of(model, X, [weights["a"]])
    other = Choice("w8a8", choice.activation_scale, choice.smooth * np.float32(2))
    for choices, muls in (({"a": choice}, 1), ({"a": choice, "b": other}, 2)):
        made = copy(model)
        assert quantise(made, choices) == Rewritten(layers=len(choices), folded=0, multiplied=muls)
        assert ops(made)["Mul"] == muls and constant(made, "gain").max() == constant(model, "gain").max()
        assert all(sqnr_db(one, found) > 28 for one, found in zip(exact, run(made, {"x": X}), strict=True))


def test_a_norm_that_is_also_an_output_keeps_its_values() -> None:
    weights = some_weights("a")
    model = normed(weights)
    choice = smoothing_of(model, X, list(weights.values()))
    model.graph.output.append(helper.make_tensor_value_info("n", TensorProto.FLOAT, ["B", C]))
    before = run(model, {"x": X})[1]
    assert quantise(model, {"a": choice}) == Rewritten(layers=1, folded=0, multiplied=1)
    np.testing.assert_allclose(run(model, {"x": X})[1], before, rtol=1e-6)


def test_a_reader_before_the_cast_keeps_the_norm() -> None:
    model = normed(some_weights("a"), half=True)
    choice = smoothing_of(model, X, list(some_weights("a").values()))
    model.graph.node.append(helper.make_node("Neg", ["n"], ["negative"]))
    model.graph.output.append(helper.make_tensor_value_info("negative", TensorProto.FLOAT, ["B", C]))
    before = run(model, {"x": X})[1]
    assert quantise(model, {"a": choice}) == Rewritten(layers=1, folded=0, multiplied=1)
    np.testing.assert_allclose(run(model, {"x": X})[1], before, rtol=1e-6)


def test_readers_with_codes_of_their_own_share_one_division() -> None:
    weights = some_weights("a", "b")
    model = normed(weights)
    choice = smoothing_of(model, X, list(weights.values()))
    assert quantise(model, {"a": choice, "b": choice}, shared=False) == Rewritten(2, folded=1, multiplied=0)
    assert ops(model)["QuantizeLinear"] == 2


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv", "ConvTranspose"])
def test_smoothing_an_input_of_any_layer(op: str, half: bool) -> None:
    model, x = one_layer(op, half=half)
    (layer,) = find_layers(model)
    scaled = [-1 if i == layer.channel_axis % x.ndim else 1 for i in range(x.ndim)]
    x = x * np.where(np.arange(C) % 16 == 3, 30, 1).reshape(scaled).astype(x.dtype)
    rows = np.moveaxis(x, layer.channel_axis, -1).reshape(-1, C).astype(np.float32)
    top = np.abs(rows).max(axis=0)
    (exact,) = run(model, {"x": x})
    found = search_alpha(constant(model, "w").astype(np.float32), layer.weight_axis, rows, top)
    plain = copy(model)
    assert quantise(model, {"layer": Choice("w8a8", found.activation_scale, found.factors)}).multiplied == 1
    quantise(plain, {"layer": Choice("w8a8", smoothed_scale(rows, top, None))})
    smoothed, unsmoothed = (sqnr_db(exact, run(m, {"x": x}, fused=False)[0]) for m in (model, plain))
    assert smoothed > 28 and smoothed > unsmoothed + 3
