"""Random-weight graphs keep the contract in every precision, and the steps measured on them are steps of one model."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from scripts.cuda import acoustic, gpt_step, torch_step
from scripts.cuda.prepare import RECORD, SCHEMES, prepared, reference, run, specs_of
from scripts.cuda.settings import SMALL, Settings, graph_file
from scripts.random_graphs import random_model
from tts_trt.export.passes import census
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import cache_slots

GPT_LAYERS = 4 * SMALL.dims.gpt.layers


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("graphs")
    made = Settings(True, str(folder), (), str(folder / "out.json"), time.time() + 600)
    for graph in ("gpt", "sampler"):
        run(graph, made, lambda result: None)
    return made


@pytest.mark.parametrize("scheme", SCHEMES["gpt"])
def test_every_form_keeps_the_contract_and_computes_as_its_name_says(settings: Settings, scheme: str) -> None:
    path, spec = graph_file(settings, "gpt", scheme), specs_of(SMALL)["gpt"]
    graph = onnx.load(str(path), load_external_data=False).graph
    assert [i.name for i in graph.input] == [t.name for t in spec.inputs]
    assert [o.name for o in graph.output] == [t.name for t in spec.outputs]
    ops = [node.op_type for node in graph.node]
    layers = SMALL.dims.gpt.layers
    assert ops.count("TensorScatter") == 2 * layers and ops.count("Attention") == layers
    counted = census(path)
    expected = {
        "fp16": {},
        "w8a8": {"int8": GPT_LAYERS},
        "w8": {"int8-weights": GPT_LAYERS},
        "fp8": {"fp8": GPT_LAYERS},
    }
    halves = {name: n for name, n in counted.items() if name not in ("fp16", "fp32")}
    assert halves == expected[scheme]  # the scores are left alone
    with OrtEngine(path, spec, "float16", threads=1) as engine:
        assert gpt_step.difference(engine, *reference(settings)) < 0.01


def test_prepared_graphs_are_kept_until_something_is_missing_or_other(settings: Settings) -> None:
    again = run("gpt", settings, lambda result: None)
    assert again["kept"] and again["bytes"] == sum(again["files"].values())
    folder = Path(settings.folder) / "gpt"
    assert again["files"].keys() == {p.name for p in folder.iterdir()} - {RECORD}
    data = folder / "w8.onnx.data"
    kept = data.read_bytes()
    data.write_bytes(kept[:-1])
    assert prepared(settings, "gpt") is None
    data.write_bytes(kept)
    assert prepared(settings, "gpt") is not None
    assert prepared(replace(settings, small=False), "gpt") is None


def test_a_step_through_our_engines_is_measured_batch_by_batch(settings: Settings) -> None:
    told: list[int] = []
    found = gpt_step.run("onnxruntime:fp16", settings, lambda result: told.append(len(result["cases"])))
    assert [(c["batch"], c["graphs"]) for c in found["cases"]] == [(1, True), (2, True), (1, False)]
    assert found["device"] == "cpu" and told == [0, 1, 2, 3]
    weights = graph_file(settings, "gpt", "fp16").with_suffix(".onnx.data").stat().st_size
    assert found["weights_bytes"] == weights
    one, two, _ = found["cases"]
    g = SMALL.dims.gpt
    slots = cache_slots(SMALL.dims, SMALL.limits)
    assert (
        one["cache_bytes"] == 2 * g.layers * slots * g.dim * 2
        and two["cache_bytes"] == 2 * one["cache_bytes"]
    )
    assert all(one[name]["median"] > 0 for name in ("step_ms", "served_ms", "gpt_ms", "prefill_ms"))
    short = gpt_step.run("onnxruntime:w8", replace(settings, deadline=time.time()), lambda result: None)
    assert short["cases"] == [] and "cut" in short


def test_the_forms_of_torch_are_one_model(settings: Settings) -> None:
    model = random_model(SMALL.dims, "gpt").gpt
    rows, scores = map(torch.from_numpy, reference(settings))
    decodes = [torch_step.Decode(model, 1, 64) for _ in range(2)]
    with torch.inference_mode():
        for decode in decodes:
            decode.prefill(rows)
            torch.testing.assert_close(decode.logits, scores)
        fed = rows
        for n in range(3):
            fed = torch.cat([fed, decodes[0].row], dim=1)
            static, sliced = decodes
            static()
            sliced.sliced(rows.shape[1] + n)
            whole = model.mel_head(model.final_norm(model.gpt(fed))[:, -1])  # without a cache
            for decode in decodes:
                torch.testing.assert_close(decode.logits, whole, rtol=1e-4, atol=1e-5)


def test_eager_torch_is_measured_on_a_host_at_the_small_size_alone(
    settings: Settings, monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch_step, "has_cuda", lambda: False)
    found = torch_step.run("torch", settings, lambda result: None)
    assert [(c["form"], c["batch"]) for c in found["cases"]] == [
        ("eager", 1), ("static", 1), ("eager", 2), ("static", 2),
    ]  # fmt: skip
    assert found["difference"] < 0.01
    for module in (torch_step, acoustic):
        monkeypatch.setattr(module, "has_cuda", lambda: False)
        with pytest.raises(torch_step.NotHere, match="no CUDA device"):
            module.run("torch:vocoder", replace(settings, small=False), lambda result: None)


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["flow_step", "vocoder"])
def test_flow_and_vocoder_are_made_and_measured(settings: Settings, graph: str) -> None:
    run(graph, settings, lambda result: None)
    for scheme in SCHEMES[graph]:
        counted = census(graph_file(settings, graph, scheme))
        assert counted.get("int8", 0) >= 3 if scheme == "w8a8" else "int8" not in counted, counted
        found = acoustic.run(f"onnxruntime:{graph}:{scheme}", settings, lambda result: None)
        assert [c["batch"] for c in found["cases"]] == [1, 2] and all(
            c["ms"]["median"] > 0 for c in found["cases"]
        )
    assert len(acoustic.run(f"torch:{graph}", settings, lambda result: None)["cases"]) == 2
