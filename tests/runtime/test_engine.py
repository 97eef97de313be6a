"""ONNX Runtime engines: contract checks, the cache in place, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.errors import EngineError
from tts_trt.runtime.device import HOST, HostDevice, Tensor
from tts_trt.runtime.engine import Bound, Engine, Engines
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import Limits, graph_specs

SPECS = graph_specs(TINY)


def append(cache: KvCache, count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((cache.rows, count, TINY.gpt.dim), dtype=np.float32)
    return cache.append(rows, np.full(cache.rows, count))[0].numpy()


def test_the_cache_is_written_where_it_lies(one_pass: Engines) -> None:
    cache = KvCache(one_pass["gpt"], 2)
    addresses = {name: tensor.address for name, tensor in cache.tensors.items()}
    assert len(set(addresses.values())) == 2 * TINY.gpt.layers
    append(cache, 5)
    filled = cache.tensors["k_1"].numpy()
    assert np.abs(filled[:, :, :5]).min() > 0
    assert not filled[:, :, 5:].any()
    before = filled[:, :, :5].copy()
    append(cache, 1)
    assert {name: tensor.address for name, tensor in cache.tensors.items()} == addresses
    after = cache.tensors["k_1"].numpy()
    np.testing.assert_array_equal(after[:, :, :5], before)
    assert np.abs(after[:, :, 5]).min() > 0
    assert cache.pos_B.tolist() == [6, 6]


def bound_step(engine: Engine) -> tuple[Bound, dict[str, Tensor], dict[str, Tensor]]:
    """A decode step on tensors of its own, its inputs and its outputs."""
    axes = {"B": 1, "S": 1}
    inputs = {t.name: engine.allocate(t.name, axes) for t in engine.spec.inputs}
    outputs = {name: engine.allocate(name, axes) for name in ("logits", "hidden")}
    outputs |= {out: inputs[name] for out, name in engine.spec.aliases.items()}
    HOST.write(inputs["lengths"], np.ones(1, np.int64))
    return engine.bind(inputs, outputs), inputs, outputs


def test_a_bound_graph_reads_and_writes_its_tensors(one_pass: Engines) -> None:
    bound, inputs, outputs = bound_step(one_pass["gpt"])
    cache, rows = KvCache(one_pass["gpt"], 1), np.ones((1, 1, TINY.gpt.dim), np.float32)
    for value in (1.0, 2.0):
        HOST.write(inputs["embeddings"], value * rows)
        bound.launch()
        logits, hidden = cache.append(value * rows, np.ones(1, np.int64))
        np.testing.assert_array_equal(outputs["logits"].numpy(), logits.numpy())
        np.testing.assert_array_equal(outputs["hidden"].numpy(), hidden.numpy())
        HOST.write(inputs["pos"], np.ones(1, np.int64))


def test_a_cache_is_not_bound_apart_from_itself(one_pass: Engines) -> None:
    engine = one_pass["gpt"]
    _, inputs, outputs = bound_step(engine)
    with pytest.raises(EngineError, match="k_0_out is bound apart from k_0"):
        engine.bind(inputs, outputs | {"k_0_out": engine.allocate("k_0", {"B": 1})})
    with pytest.raises(EngineError, match="outputs do not match the contract: logits"):
        engine.bind(inputs, {name: t for name, t in outputs.items() if name != "logits"})
    with pytest.raises(EngineError, match="has no output scores"):
        engine.launch(inputs, {"scores": outputs["logits"]})


def test_what_is_run_leaves_the_callers_cache_alone(one_pass: Engines) -> None:
    engine = one_pass["gpt"]
    _, inputs, _ = bound_step(engine)
    arrays = {name: tensor.numpy().copy() for name, tensor in inputs.items()}
    arrays["embeddings"] += 1
    made = engine.run(arrays)
    assert made["k_0_out"].any() and not arrays["k_0"].any()


def test_reset_forgets_and_rewind_goes_back(one_pass: Engines) -> None:
    cache = KvCache(one_pass["gpt"], 1)
    fresh = append(cache, 4)
    append(cache, 6, seed=1)
    cache.rewind(np.array([4]))
    again = append(cache, 1, seed=2)
    cache.reset()
    np.testing.assert_array_equal(append(cache, 4), fresh)
    np.testing.assert_allclose(append(cache, 1, seed=2), again, atol=1e-5)


def test_a_full_cache_refuses_more(one_pass: Engines) -> None:
    cache = KvCache(one_pass["gpt"], 1)
    with pytest.raises(EngineError, match=f"{cache.slots} slots a row, {cache.slots + 1} are needed"):
        append(cache, cache.slots + 1)


def test_inputs_are_held_to_the_contract(one_pass: Engines) -> None:
    engine = one_pass["vocoder"]
    mel, lengths = np.zeros((1, 80, 6), np.float32), np.array([6])
    assert engine.run({"mel": mel, "lengths": lengths})["wave"].shape == (1, 6 * TINY.audio.hop)
    for inputs, message in (
        ({"mel": mel}, "do not match the contract: lengths"),
        ({"mel": mel, "lengths": lengths, "extra": mel}, "do not match the contract: extra"),
        ({"mel": mel.astype(np.float64), "lengths": lengths}, "mel is float64"),
        ({"mel": mel[:, :79], "lengths": lengths}, "expected float32"),
        ({"mel": mel[0], "lengths": lengths}, "expected float32"),
        ({"mel": mel, "lengths": np.array([6, 6])}, "lengths is int64 .2,."),
    ):
        with pytest.raises(EngineError, match=message):
            engine.run(inputs)


def test_a_graph_of_another_contract_is_refused(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="inputs are .* the contract says"):
        OrtEngine(graphs / "prompt.onnx", SPECS["vocoder"])
    with pytest.raises(EngineError, match="float32, expected float16"):
        OrtEngine(graphs / "prompt.onnx", SPECS["prompt"], "float16")
    with pytest.raises(EngineError, match="expected .*256"):
        OrtEngine(
            graphs / "gpt.onnx",
            graph_specs(replace(TINY, gpt=replace(TINY.gpt, max_codes=200)), Limits())["gpt"],
        )
    damaged = tmp_path / "prompt.onnx"
    damaged.write_bytes(b"\x08\x01 not a graph")
    with pytest.raises(EngineError, match="cannot be loaded"):
        OrtEngine(damaged, SPECS["prompt"])
    with pytest.raises(EngineError, match="cannot be loaded"):
        OrtEngine(tmp_path / "absent.onnx", SPECS["prompt"])


def test_a_gpu_needs_the_cuda_provider(graphs: Path) -> None:
    elsewhere = HostDevice()
    elsewhere.host = False
    with pytest.raises(EngineError, match="ONNX Runtime has no CUDAExecutionProvider"):
        OrtEngine(graphs / "prompt.onnx", SPECS["prompt"], device=elsewhere)


def test_a_closed_engine_says_so(graphs: Path) -> None:
    with Engines({"prompt": OrtEngine(graphs / "prompt.onnx", SPECS["prompt"])}) as engines:
        engine = engines["prompt"]
        with pytest.raises(EngineError, match="no engine 'gpt', only prompt"):
            engines["gpt"]
    with pytest.raises(EngineError, match="is closed"):
        engine.run({})
