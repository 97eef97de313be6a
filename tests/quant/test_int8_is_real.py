"""A bundle that claims INT8 must compute in integers: in ONNX Runtime's kernels, and in the network that TensorRT parses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from tests.model.tiny import TINY
from tts_trt.build.bundle import GraphSource, _parsed_census
from tts_trt.errors import BuildError, SynthesisError
from tts_trt.export.passes import census, save
from tts_trt.quality.verify import check_int8, graphs_in_int8
from tts_trt.quant.apply import choose, quantised
from tts_trt.quant.layers import find_layers
from tts_trt.quant.recipe import LayerScheme
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import graph_specs

SPEC = graph_specs(TINY)["gpt"]


@pytest.fixture(scope="module")
def weights_only(fp32_graphs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = onnx.load(str(fp32_graphs["gpt"]))
    layers = find_layers(model)
    quantised(model, choose(model, layers, {x.name: LayerScheme("w8") for x in layers}, {}))
    path = tmp_path_factory.mktemp("w8") / "gpt.onnx"
    save(model, path)
    return path


def holding(path: Path) -> SimpleNamespace:
    return SimpleNamespace(engines=Engines({"gpt": OrtEngine(path, SPEC, threads=1)}))


def test_integer_kernels_are_counted(weights_only: Path) -> None:
    counts = check_int8(holding(weights_only), ["gpt"], weights_only)  # type: ignore[arg-type]
    assert counts == {"gpt": 4 * TINY.gpt.layers + 1}


def test_a_float_graph_that_claims_int8_is_refused(fp32_graphs: Mapping[str, Path]) -> None:
    with pytest.raises(SynthesisError, match="claims INT8"):
        check_int8(holding(fp32_graphs["gpt"]), ["gpt"], fp32_graphs["gpt"])  # type: ignore[arg-type]


def test_a_claim_is_a_census_or_a_name() -> None:
    def manifest(precision: str, **dtypes: int) -> SimpleNamespace:
        return SimpleNamespace(precision=precision, graphs=[SimpleNamespace(name="gpt", dtypes=dtypes)])

    assert graphs_in_int8(manifest("mixed", **{"int8-weights": 3})) == ["gpt"]  # type: ignore[arg-type]
    assert graphs_in_int8(manifest("int8", fp16=3)) == ["gpt"]  # type: ignore[arg-type]
    assert graphs_in_int8(manifest("fp16", fp16=3)) == []  # type: ignore[arg-type]


def test_a_plan_that_lost_its_int8_layers_is_refused(weights_only: Path, tmp_path: Path) -> None:
    source = GraphSource(SPEC, weights_only, census(weights_only))
    assert source.census["int8-weights"] == 4 * TINY.gpt.layers + 1
    beside = tmp_path / "gpt.precisions.json"
    beside.write_text(json.dumps({"fp16": 9}))
    with pytest.raises(BuildError, match="int8-weights, the parsed network has 0"):
        _parsed_census(tmp_path / "gpt.plan", source)
    beside.write_text(json.dumps(dict(source.census)))
    assert _parsed_census(tmp_path / "gpt.plan", source) == source.census


def test_a_literal_engine_keeps_activations_as_they_are(
    weights_only: Path, fp32_graphs: Mapping[str, Path]
) -> None:
    """ONNX Runtime's own kernel for weights alone rounds activations too."""
    import numpy as np

    rng = np.random.default_rng(0)
    fed = {
        "embeddings": rng.standard_normal((1, 6, TINY.gpt.dim)).astype(np.float32),
        "lengths": np.array([6]),
        "pos": np.zeros(1, np.int64),
        "start": np.zeros(1, np.int64),
    }
    logits = {}
    for name, path, literal in (
        ("fp32", fp32_graphs["gpt"], False),
        ("fused", weights_only, False),
        ("literal", weights_only, True),
    ):
        engine = OrtEngine(path, SPEC, threads=1, literal=literal)
        caches = {n: engine.allocate(n, {"B": 1}).numpy() for n in SPEC.aliases.values()}
        logits[name] = engine.run(fed | caches)["logits"]
    off = {n: float(np.abs(logits[n] - logits["fp32"]).mean()) for n in ("fused", "literal")}
    assert 0 < off["literal"] < off["fused"]
