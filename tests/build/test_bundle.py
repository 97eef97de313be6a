"""From exported graphs to a sealed bundle: whole or not at all, and not again when nothing changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.conftest import LEXICON, SYMBOLS
from tests.runtime.tiny_graphs import tiny_graphs
from tts_trt.artifacts import load_manifest, verify_files
from tts_trt.build.bundle import BundlePlan, GraphSource, build_bundle
from tts_trt.dims import to_dict
from tts_trt.errors import BuildError, BundleError, SynthesisError
from tts_trt.export.passes import to_half
from tts_trt.frontend.audio import write_wav
from tts_trt.models import ModelFolder
from tts_trt.quality.verify import verify_bundle
from tts_trt.runtime.request import Request
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import Limits, graph_specs

LIMITS = Limits(batch=4)
SPECS = graph_specs(TINY, LIMITS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config.json").write_text(json.dumps(to_dict(TINY)))
    (folder / "weights.safetensors").write_bytes(b"stands for the weights")
    (folder / "tokenizer.json").write_text(json.dumps({s: i for i, s in enumerate(SYMBOLS)}))
    (folder / "lexicon.json").write_text(json.dumps(LEXICON))
    (folder / "durations.json").write_text(json.dumps({"lead": 0.05} | dict.fromkeys(SYMBOLS, 0.08)))
    (folder / "voices").mkdir()
    noise = np.random.default_rng(0).standard_normal(24000).astype(np.float32) * 0.1
    write_wav(folder / "voices" / "anna.wav", noise, TINY.audio.sample_rate)
    return ModelFolder(folder)


def plan_of(model: ModelFolder, executor: str, names: tuple[str, ...], plans: Path) -> BundlePlan:
    graphs = {n: GraphSource(SPECS[n], tiny_graphs() / f"{n}.onnx", {"fp32": 1}) for n in names}
    return BundlePlan(model, "fp32", executor, TINY.latents, "float32", LIMITS, graphs, plans)


@pytest.fixture
def plan(model: ModelFolder, tmp_path: Path) -> BundlePlan:
    return plan_of(model, "onnxruntime", tuple(SPECS), tmp_path / "plans")


def test_a_built_bundle_speaks_and_is_not_built_twice(plan: BundlePlan, tmp_path: Path) -> None:
    target = tmp_path / plan.name
    first = build_bundle(plan, target)
    verify_files(target, first)
    with Synthesizer.from_bundle(target, threads=1) as synthesizer:
        assert synthesizer.limits == LIMITS
        result = synthesizer.synthesize(Request("see me no.", "anna"))
    assert result.seconds > 0.2 and np.isfinite(result.wave).all()
    assert build_bundle(plan, target).created == first.created
    changed = replace(plan, limits=Limits(batch=2))
    assert build_bundle(changed, target).created > first.created


def test_what_verification_finds_is_in_the_manifest(plan: BundlePlan, tmp_path: Path) -> None:
    seen: list[Path] = []

    def verify(folder: Path) -> dict[str, Any]:
        seen.append(folder)
        verify_files(folder, load_manifest(folder))  # sealed already, so all of it can be checked
        return {"figure": 3}

    manifest = build_bundle(plan, tmp_path / "b", verify=verify)
    assert manifest.verification["figure"] == 3 and seen[0] != tmp_path / "b"


def test_a_failed_verification_leaves_the_older_bundle(plan: BundlePlan, tmp_path: Path) -> None:
    target = tmp_path / "b"
    older = build_bundle(plan, target)

    def refuse(_: Path) -> dict[str, Any]:
        raise SynthesisError("silent")

    with pytest.raises(SynthesisError):
        build_bundle(replace(plan, limits=Limits(batch=2)), target, verify=refuse)
    assert load_manifest(target).created == older.created
    assert [p.name for p in tmp_path.iterdir() if p.name != "plans"] == ["b"]


def test_verification_compares_codes_with_the_fp32_bundle(plan: BundlePlan, tmp_path: Path) -> None:
    build_bundle(plan, tmp_path / "fp32")
    halves = {}
    for name, graph in plan.graphs.items():
        to_half(graph.onnx, graph.spec, tmp_path / f"{name}.onnx")
        halves[name] = GraphSource(graph.spec, tmp_path / f"{name}.onnx", {"fp16": 1})
    build_bundle(replace(plan, precision="fp16", float_type="float16", graphs=halves), tmp_path / "fp16")
    with Synthesizer.from_bundle(tmp_path / "fp16", threads=1) as synthesizer:
        synthesizer.synthesize(Request("see me.", "anna"))
    with pytest.raises(BundleError):
        (tmp_path / "fp16" / "graphs" / "gpt.onnx").write_bytes(b"x")
        verify_bundle(tmp_path / "fp16", tmp_path / "fp32", threads=1)


def test_plans_are_compiled_once(model: ModelFolder, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'tts-trt[rtx]'")
    plan = plan_of(model, "tensorrt-rtx", ("prompt", "sampler", "gpt"), tmp_path / "plans")
    manifest = build_bundle(plan, tmp_path / "first")
    assert {g.file for g in manifest.graphs} == {f"graphs/{n}.plan" for n in plan.graphs}
    assert len(manifest.graph("gpt").profiles) == 2
    made = {p.name: p.stat().st_mtime_ns for p in plan.plans.iterdir()}
    build_bundle(plan, tmp_path / "second")
    assert {p.name: p.stat().st_mtime_ns for p in plan.plans.iterdir()} == made
    found = verify_bundle(tmp_path / "first")
    assert (found["files"], found["executed"]) == (len(manifest.files), False)
    assert "NVIDIA" in found["reason"] or "PyCUDA" in found["reason"]


def test_an_unknown_executor_is_named(model: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no executor 'abacus'"):
        build_bundle(plan_of(model, "abacus", ("prompt",), tmp_path), tmp_path / "b")
