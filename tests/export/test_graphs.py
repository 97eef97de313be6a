"""Every exported graph: the contract, torch's numbers at other shapes, and rows that ignore their batch mates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.model.tiny import TINY
from tests.runtime.tiny_graphs import EXACT, tiny_graphs, tiny_model
from tts_trt.export.graphs import LENGTH_AXIS, example_inputs
from tts_trt.export.parity import compare_graph, relative_rms, require_parity
from tts_trt.export.passes import census, strip, to_half
from tts_trt.export.passes import save as save_graph
from tts_trt.export.to_onnx import OPSET, check_graph
from tts_trt.spec import GraphSpec, cache_names, graph_specs

SPECS = graph_specs(TINY)
SIZES = {"B": 3, "L": 11, "S": 10, "M": 13, "F": 28, "E": 35, "K": 130, "T": 37}


@pytest.fixture(scope="module")
def folder() -> Path:
    return tiny_graphs()


@pytest.fixture(scope="module")
def half(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("half")
    for name, spec in SPECS.items():
        to_half(folder / f"{name}.onnx", spec, out / f"{name}.onnx")
    return out


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", SPECS)
def test_fp32_matches_torch_and_the_contract(name: str, folder: Path) -> None:
    path = folder / f"{name}.onnx"
    check_graph(path, SPECS[name])
    assert {o.version for o in onnx.load(str(path), load_external_data=False).opset_import} == {OPSET}
    require_parity(compare_graph(tiny_model(TINY), SPECS[name], path, "fp32"))


@pytest.mark.parametrize("name", SPECS)
def test_fp16_matches_torch_and_the_contract(name: str, half: Path) -> None:
    path = half / f"{name}.onnx"
    check_graph(path, SPECS[name])
    require_parity(compare_graph(tiny_model(TINY), SPECS[name], path, "fp16"))


def test_exact_models_embed_codes_for_the_second_pass(folder: Path) -> None:
    spec = graph_specs(EXACT)["code_embedding"]
    require_parity(compare_graph(tiny_model(EXACT), spec, folder / "exact" / "code_embedding.onnx", "fp32"))


def one_row(spec: GraphSpec, arrays: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """Row ``row`` alone, its padding cut off."""
    alone = {name: array[row : row + 1] for name, array in arrays.items()}
    for name in list(alone):
        axis = LENGTH_AXIS.get(name) or (name == "lengths" and next(a for a in "SFKT" if a in _axes(spec)))
        if name == "mask":
            axis, size = "F", int(alone[name].sum())
        elif not axis or name == "prompt_lengths":
            continue
        else:
            size = int(alone[name][0])
        for tensor in spec.inputs:
            if axis in tensor.shape:
                cut = [slice(None)] * len(tensor.shape)
                cut[tensor.shape.index(axis)] = slice(size)
                alone[tensor.name] = alone[tensor.name][tuple(cut)]
    return alone


def _axes(spec: GraphSpec) -> set[str]:
    return {axis for tensor in spec.inputs for axis in tensor.shape if isinstance(axis, str)}


@pytest.mark.parametrize("name", SPECS)
def test_rows_do_not_depend_on_their_batch(name: str, folder: Path) -> None:
    spec, run = SPECS[name], session(folder / f"{name}.onnx")
    arrays = example_inputs(spec, SIZES, seed=3)
    together = run.run(None, arrays)
    for row in range(SIZES["B"]):
        alone = run.run(None, one_row(spec, arrays, row))
        for tensor, whole, single in zip(spec.outputs, together, alone, strict=True):
            if tensor.name.endswith("_out") and tensor.name in spec.aliases:
                continue  # padding rows are written to the cache too, beyond what anyone reads
            inner = whole[row : row + 1][tuple(slice(size) for size in (1, *single.shape[1:]))]
            if tensor.dtype in ("int64", "bool"):
                assert np.array_equal(inner, single), tensor.name
            else:
                assert relative_rms(inner, single) < 2e-5, tensor.name


def test_example_rows_are_ragged() -> None:
    """Otherwise the test above would prove nothing."""
    for name in ("style_encoder", "conditioner", "prompt", "gpt", "mel_condition", "flow_step", "vocoder"):
        arrays = example_inputs(SPECS[name], SIZES, seed=3)
        lengths = [v for k, v in arrays.items() if k.endswith("lengths")]
        assert any(len(set(v.tolist())) > 1 for v in lengths), name


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_caches_go_straight_through_a_scatter(precision: str, folder: Path, half: Path) -> None:
    """TensorRT updates in place only when the cache is the scatter's input and a network output."""
    path = (folder if precision == "fp32" else half) / "gpt.onnx"
    graph = onnx.load(str(path), load_external_data=False).graph
    scatters = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "TensorScatter"}
    assert scatters == {name: f"{name}_out" for name in cache_names(TINY.gpt.layers)}


def test_fp16_keeps_sensitive_nodes_in_fp32(half: Path) -> None:
    for name in ("gpt", "sampler", "flow_step"):
        inferred = onnx.shape_inference.infer_shapes(onnx.load(str(half / f"{name}.onnx"))).graph
        types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.input, *inferred.value_info)}
        weights = {i.name: i.data_type for i in inferred.initializer}
        for node in inferred.node:
            if node.op_type in ("LayerNormalization", "RMSNormalization", "Softmax", "Sin", "Cos", "TopK"):
                first = node.input[0]
                assert types.get(first, weights.get(first)) == onnx.TensorProto.FLOAT, (name, node.name)
    assert "fp16" not in census(half / "sampler.onnx")
    assert set(census(half / "gpt.onnx")) == {"fp16"}


def test_fp16_halves_the_weights(folder: Path, half: Path) -> None:
    def bytes_of(path: Path) -> int:
        return path.with_name(path.name + ".data").stat().st_size

    assert bytes_of(half / "gpt.onnx") < 0.56 * bytes_of(folder / "gpt.onnx")


def test_stripping_leaves_no_trace_of_the_exporter(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(str(folder / "prompt.onnx"))
    strip(model)
    save_graph(model, tmp_path / "prompt.onnx")
    text = (tmp_path / "prompt.onnx").read_bytes()
    assert b"stack_trace" not in text and b".py" not in text
    check_graph(tmp_path / "prompt.onnx", SPECS["prompt"])


def test_parity_names_a_graph_that_is_off(folder: Path) -> None:
    other = tiny_model(TINY)
    other.gpt.mel_head.bias.data[3] += 5.0
    found = compare_graph(other, SPECS["gpt"], folder / "gpt.onnx", "fp32")
    assert not all(p.passed for p in found)
    with pytest.raises(Exception, match="graph gpt: output logits"):
        require_parity(found)
