"""Engines around engines: what is watched and what is changed."""

from __future__ import annotations

import numpy as np

from tests.model.tiny import TINY
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.tap import TappedEngine

SAMPLER = "style_encoder"


def inputs(value: float = 1.0) -> dict[str, np.ndarray]:
    return {"fbank": np.full((1, 20, 80), value, np.float32), "lengths": np.array([20])}


def test_runs_are_seen_with_the_callers_inputs_and_changed_on_the_way() -> None:
    inner, seen = fake_engines(TINY)[SAMPLER], []
    tap = TappedEngine(
        inner,
        change=lambda fed: {**fed, "fbank": fed["fbank"] * 0},
        seen=lambda fed, made: seen.append((fed["fbank"].sum(), made["style"].copy())),
    )
    out = tap.run(inputs())
    assert np.array_equal(out["style"], inner.run(inputs(0.0))["style"])
    assert seen[0][0] == 20 * 80 and np.array_equal(seen[0][1], out["style"])


def test_bound_runs_pass_the_tap_too() -> None:
    engines, seen = fake_engines(TINY), []
    tap = TappedEngine(engines["gpt"], seen=lambda fed, made: seen.append((set(fed), set(made))))
    caches = {name: tap.allocate(name, {"B": 1}) for name in tap.spec.aliases.values()}
    outputs = {out: caches[name] for out, name in tap.spec.aliases.items()}
    rows = np.ones((1, 2, TINY.gpt.dim), np.float32)
    zero = np.zeros(1, np.int64)
    runner = tap.bind(caches, outputs)
    runner.run({"embeddings": rows, "lengths": np.array([2]), "pos": zero, "start": zero})
    assert seen == [({"embeddings", "lengths", "pos", "start"}, {"logits", "hidden"})]
    assert any(np.any(buffer.numpy()) for buffer in caches.values())


def test_closing_a_tap_leaves_the_engine_to_its_owner() -> None:
    inner = fake_engines(TINY)[SAMPLER]
    TappedEngine(inner).close()
    assert inner.run(inputs())
