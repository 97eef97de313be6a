from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.graphs import kv_attention, matmul
from tts_trt.build.builder import build_plan
from tts_trt.build.inspect import LayerInfo, PlanHeader, list_layers, read_plan_header
from tts_trt.build.network import parse_onnx
from tts_trt.errors import BundleError
from tts_trt.trt import load_backend


def test_layers_are_listed_with_what_they_read_and_write(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    path, _ = kv_attention(tmp_path / "kv.onnx")
    layers = list_layers(parse_onnx(load_backend("tensorrt-rtx"), path))
    updates = [layer for layer in layers if layer.type == "KV_CACHE_UPDATE"]
    assert [(u.inputs[:2], u.outputs, u.dtype) for u in updates] == [
        (("k", "k_new"), ("k_out",), "fp16"),
        (("v", "v_new"), ("v_out",), "fp16"),
    ]
    attention = next(layer for layer in layers if layer.type == "ATTENTION_INPUT")
    assert attention.inputs[2:] == ("v_out", "mask")
    assert isinstance(attention, LayerInfo)


def test_a_cut_plan_is_recognised_by_its_header(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    backend = load_backend("tensorrt-rtx")
    path, spec = matmul(tmp_path / "m.onnx")
    plan = build_plan(backend, path, spec, tmp_path / "m.plan")
    assert read_plan_header(plan.path) == PlanHeader(plan.bytes, backend.version)
    plan.path.write_bytes(plan.path.read_bytes()[:-1])
    with pytest.raises(BundleError, match=rf"{plan.bytes - 1} bytes, its header says {plan.bytes}"):
        read_plan_header(plan.path)


def test_plans_of_unknown_layout_have_only_a_size(tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(b"other" * 20)
    assert read_plan_header(tmp_path / "x.plan") == PlanHeader(100, None)
    (tmp_path / "x.plan").write_bytes(b"vtrt")
    with pytest.raises(BundleError, match="4 bytes, too short for a plan"):
        read_plan_header(tmp_path / "x.plan")
    with pytest.raises(BundleError, match="cannot be read"):
        read_plan_header(tmp_path / "none.plan")
