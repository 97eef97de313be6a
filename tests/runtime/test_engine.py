"""ONNX Runtime engines: contract checks, the cache in place, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.errors import EngineError
from tts_trt.runtime.engine import CUDA, Engines, OrtEngine
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.spec import Limits, graph_specs

SPECS = graph_specs(TINY)


def append(cache: KvCache, count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((cache.rows, count, TINY.gpt.dim), dtype=np.float32)
    return cache.append(rows, np.full(cache.rows, count))[0]


def test_the_cache_is_written_where_it_lies(one_pass: Engines) -> None:
    cache = KvCache(one_pass["gpt"], 2)
    addresses = {name: buffer.address for name, buffer in cache.buffers.items()}
    assert len(set(addresses.values())) == 2 * TINY.gpt.layers
    append(cache, 5)
    filled = cache.buffers["k_1"].numpy()
    assert np.abs(filled[:, :, :5]).min() > 0
    assert not filled[:, :, 5:].any()
    before = filled[:, :, :5].copy()
    append(cache, 1)
    assert {name: buffer.address for name, buffer in cache.buffers.items()} == addresses
    after = cache.buffers["k_1"].numpy()
    np.testing.assert_array_equal(after[:, :, :5], before)
    assert np.abs(after[:, :, 5]).min() > 0
    assert cache.pos_B.tolist() == [6, 6]


def test_a_bound_cache_is_neither_passed_nor_returned(one_pass: Engines) -> None:
    engine = one_pass["gpt"]
    cache = KvCache(engine, 1)
    runner = engine.bind(cache.buffers, {f"{name}_out": buffer for name, buffer in cache.buffers.items()})
    one = np.ones(1, np.int64)
    rows = np.zeros((1, 1, TINY.gpt.dim), np.float32)
    assert runner.run({"embeddings": rows, "lengths": one, "pos": 0 * one, "start": 0 * one}).keys() == {
        "logits",
        "hidden",
    }


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
    with pytest.raises(EngineError, match="ONNX Runtime has no CUDAExecutionProvider"):
        OrtEngine(graphs / "prompt.onnx", SPECS["prompt"], provider=CUDA)


def test_a_closed_engine_says_so(graphs: Path) -> None:
    with Engines({"prompt": OrtEngine(graphs / "prompt.onnx", SPECS["prompt"])}) as engines:
        engine = engines["prompt"]
        with pytest.raises(EngineError, match="no engine 'gpt', only prompt"):
            engines["gpt"]
    with pytest.raises(EngineError, match="is closed"):
        engine.run({})
