"""Real builds with TensorRT-RTX, which needs no GPU to build."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.build.graphs import BOOL, FLOAT, HALF, INT64, contract, kv_attention, matmul, quantised, save
from tts_trt.build.builder import BuildConfig, PlanInfo, build_plan
from tts_trt.build.inspect import read_plan_header
from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec, TensorSpec
from tts_trt.trt import Backend, load_backend

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'tts-trt[rtx]'")


@pytest.fixture(scope="module")
def rtx() -> Backend:
    return load_backend("tensorrt-rtx")


def build(rtx: Backend, graph: tuple[Path, GraphSpec], **options: object) -> PlanInfo:
    path, spec = graph
    return build_plan(rtx, path, spec, path.with_suffix(".plan"), **options)


def refused(rtx: Backend, graph: tuple[Path, GraphSpec], message: str, **options: object) -> None:
    with pytest.raises(BuildError, match=message):
        build(rtx, graph, **options)
    assert [p for p in graph[0].parent.iterdir() if p.suffix not in (".onnx", ".data")] == []


def test_a_product_is_built(rtx: Backend, tmp_path: Path) -> None:
    info = build(rtx, matmul(tmp_path / "m.onnx"))
    assert info.path.stat().st_size == info.bytes > 100
    assert info.layers["MATRIX_MULTIPLY"] == 1
    assert info.precisions == {"fp32": 1}
    assert info.profiles == [{"x": ((1, 8), (2, 8), (4, 8))}]
    assert info.warnings == []
    assert info.seconds > 0
    assert info.peak_rss > 10_000_000
    header = read_plan_header(info.path)
    assert (header.bytes, header.version) == (info.bytes, rtx.version)


@pytest.mark.parametrize(("dtype", "precision"), [(HALF, "fp16"), (FLOAT, "fp32")])
def test_cached_attention_is_built_for_prefill_and_step(
    rtx: Backend, tmp_path: Path, dtype: int, precision: str
) -> None:
    """fp32 attention over more than one row builds only because it is made decomposable."""
    info = build(rtx, kv_attention(tmp_path / "kv.onnx", dtype))
    assert info.layers["KV_CACHE_UPDATE"] == 2
    assert info.precisions == {precision: 1}
    assert [profile["q"].max for profile in info.profiles] == [(4, 2, 16, 32), (4, 2, 1, 32)]
    assert info.warnings == []


def test_weights_in_an_external_file_are_found(rtx: Backend, tmp_path: Path) -> None:
    path, spec = matmul(tmp_path / "m.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").stat().st_size >= 128
    build(rtx, (path, spec))
    (tmp_path / "m.data").unlink()
    (tmp_path / "m.plan").unlink()
    refused(rtx, (path, spec), "(?s)cannot parse.*m.data")


@pytest.mark.parametrize(
    ("activations", "precisions"), [(True, {"fp16": 1, "int8": 1}), (False, {"fp16": 1, "int8-weights": 1})]
)
def test_quantised_products_are_counted(
    rtx: Backend, tmp_path: Path, activations: bool, precisions: dict[str, int]
) -> None:
    assert build(rtx, quantised(tmp_path / "q.onnx", activations=activations)).precisions == precisions


def test_options_are_taken(rtx: Backend, tmp_path: Path) -> None:
    config = BuildConfig(
        workspace_bytes=1 << 28,
        optimization_level=0,
        timing_cache=tmp_path / "timing",
        compute_capabilities=(86, 89),
        verbose=True,
    )
    info = build(rtx, matmul(tmp_path / "m.onnx"), config=config)
    (note,) = info.warnings
    assert note.startswith(f"timing cache {tmp_path / 'timing'} ignored: tensorrt-rtx compiles kernels")
    assert not (tmp_path / "timing").exists()


def test_a_gpu_it_cannot_build_for_is_refused_with_those_it_can(rtx: Backend, tmp_path: Path) -> None:
    config = BuildConfig(compute_capabilities=(89, 90))
    refused(rtx, matmul(tmp_path / "m.onnx"), r"SM \[90\]; it builds for 75, 80, 86, 89, 120", config=config)


def test_progress_is_reported_and_can_cancel(rtx: Backend, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    build(rtx, matmul(tmp_path / "m.onnx"), progress=lambda *event: seen.append(event))
    assert ("Building engine", 0, 6) in seen
    assert seen[-1] == ("Building engine", 6, 6)
    assert all(0 <= done <= total for _, done, total in seen)
    (tmp_path / "m.plan").unlink()
    refused(rtx, matmul(tmp_path / "m.onnx"), "matmul was cancelled", progress=lambda *_: False)


def test_an_exception_in_the_callback_stops_the_build_and_is_raised(rtx: Backend, tmp_path: Path) -> None:
    calls = []

    def interrupt(*event: object) -> None:
        calls.append(event)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(rtx, matmul(tmp_path / "m.onnx"), progress=interrupt)
    assert len(calls) == 1
    assert not (tmp_path / "m.plan").exists()


def test_a_failed_build_keeps_the_older_plan(rtx: Backend, tmp_path: Path) -> None:
    graph = matmul(tmp_path / "m.onnx")
    before = build(rtx, graph).path.read_bytes()
    with pytest.raises(BuildError):
        build(rtx, graph, progress=lambda *_: False)
    assert (tmp_path / "m.plan").read_bytes() == before


def test_an_operator_it_does_not_know_is_named(rtx: Backend, tmp_path: Path) -> None:
    inputs, outputs = {"x": (FLOAT, ["B", 4])}, {"y": (INT64, [2, "N"])}
    path = save(
        tmp_path / "nz.onnx", [helper.make_node("NonZero", ["x"], ["y"], name="where")], inputs, outputs
    )
    spec = contract("nz", inputs, outputs, [{"B": (1, 1, 1)}])
    refused(
        rtx,
        (path, spec),
        "(?s)tensorrt-rtx 1.*cannot parse.*node 0 NonZero 'where'.*not found in plugin registry",
    )


def test_a_build_failure_carries_the_builders_words(rtx: Backend, tmp_path: Path) -> None:
    """An asymmetric zero point parses, and is refused by the builder."""
    weights = {"s": np.array(0.1, np.float32), "z": np.array(3, np.int8), "w": np.eye(32, dtype=np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    inputs, outputs = {"x": (FLOAT, ["B", 32])}, {"y": (FLOAT, ["B", 32])}
    path = save(tmp_path / "zp.onnx", nodes, inputs, outputs, weights)
    refused(rtx, (path, contract("zp", inputs, outputs, [{"B": (1, 1, 1)}])), "(?si)zero.?point")


def test_attentions_the_family_gets_silently_wrong_are_refused(rtx: Backend, tmp_path: Path) -> None:
    refused(rtx, kv_attention(tmp_path / "a.onnx", nonpad=True), "attend has nonpad_kv_seqlen")
    refused(rtx, kv_attention(tmp_path / "b.onnx", nonpad=True, mask=False), "attend has nonpad_kv_seqlen")
    refused(rtx, kv_attention(tmp_path / "c.onnx", causal=True), "attend is causal")
    refused(rtx, kv_attention(tmp_path / "d.onnx", mask=False), "has no mask")


def test_an_input_nothing_reads_is_refused(rtx: Backend, tmp_path: Path) -> None:
    path, spec = matmul(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("alpha", FLOAT, ["B"]))
    onnx.save(model, path)
    alpha = TensorSpec("alpha", "float32", ("B",), "")
    graph = path, replace(spec, inputs=(*spec.inputs, alpha))
    refused(rtx, graph, "no output .* depends on input alpha")
    model.graph.node.append(helper.make_node("Sin", ["alpha"], ["leads_nowhere"]))
    onnx.save(model, path)
    refused(rtx, graph, "no output .* depends on input alpha")


def test_the_condition_of_an_if_counts_as_used(rtx: Backend, tmp_path: Path) -> None:
    def body(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("r", FLOAT, ["B", 4])
        return helper.make_graph([helper.make_node(op, ["x"], ["r"])], op, [], [out])

    node = helper.make_node("If", ["c"], ["y"], then_branch=body("Sin"), else_branch=body("Cos"))
    inputs, outputs = {"c": (BOOL, []), "x": (FLOAT, ["B", 4])}, {"y": (FLOAT, ["B", 4])}
    path = save(tmp_path / "if.onnx", [node], inputs, outputs)
    build(rtx, (path, contract("if", inputs, outputs, [{"B": (1, 1, 4)}])))


def test_a_cache_behind_a_copy_is_refused(rtx: Backend, tmp_path: Path) -> None:
    path, spec = kv_attention(tmp_path / "kv.onnx")
    model = onnx.load(path)
    model.graph.node[0].input[0] = "k_copy"
    model.graph.node.insert(0, helper.make_node("Identity", ["k"], ["k_copy"]))
    onnx.save(model, path)
    refused(rtx, (path, spec), "cache update k_copy -> k_out does not join")


def test_the_graph_must_be_that_of_its_contract(rtx: Backend, tmp_path: Path) -> None:
    path, spec = matmul(tmp_path / "m.onnx")
    x, y = spec.inputs[0], spec.outputs[0]

    def tensor(name: str, dtype: str, *shape: int | str) -> TensorSpec:
        return TensorSpec(name, dtype, shape, "")

    for message, changed in {
        "has no input z": replace(spec, inputs=(x, tensor("z", "float32", "B"))),
        "has output y, which its contract does not name": replace(spec, outputs=()),
        "output y is FLOAT, expected float16": replace(spec, outputs=(tensor("y", "float16", "B", 4),)),
        r"input x is \(-1, 8\), expected \(-1, 9\)": replace(spec, inputs=(tensor("x", "float32", "B", 9),)),
        "cache pairs differ": replace(spec, aliases={"y": "x"}),
    }.items():
        refused(rtx, (path, changed), message)
    build(rtx, (path, replace(spec, inputs=(tensor("x", "float", "B", 8),), outputs=(y,))))


def test_a_plan_that_cannot_be_written_is_one_error(rtx: Backend, tmp_path: Path) -> None:
    path, spec = matmul(tmp_path / "m.onnx")
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot write"):
        build_plan(rtx, path, spec, tmp_path / "file" / "m.plan")


def test_the_builder_needs_neither_torch_nor_onnx() -> None:
    program = (
        "import sys, tts_trt.build.builder; "
        "from tts_trt.trt import load_backend; load_backend('tensorrt-rtx'); "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stdout.strip() == "[]", result.stderr
