"""Engines around engines: what is watched and what is changed."""

from __future__ import annotations

import numpy as np

from tests.model.tiny import TINY
from tts_trt.runtime.device import HOST
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
    """The caches go through unseen, and what the tap changes does not reach the caller's tensors."""
    engine, seen = fake_engines(TINY)["gpt"], []
    tap = TappedEngine(
        engine,
        change=lambda fed: {**fed, "embeddings": fed["embeddings"] * 0 + 3},
        seen=lambda fed, made: seen.append((set(fed), set(made), float(made["hidden"].max()))),
    )
    axes = {"B": 1, "S": 1}
    fed = {t.name: tap.allocate(t.name, axes) for t in tap.spec.inputs}
    made = {name: tap.allocate(name, axes) for name in ("logits", "hidden")}
    made |= {out: fed[name] for out, name in tap.spec.aliases.items()}
    HOST.write(fed["lengths"], np.ones(1, np.int64))
    bound = tap.bind(fed, made)
    bound.launch()
    assert not bound.recordable
    inputs, outputs, highest = seen[0]
    assert (inputs, outputs) == ({"embeddings", "lengths", "pos", "start"}, {"logits", "hidden"})
    assert highest == made["hidden"].numpy().max() > 0
    assert fed["k_0"].numpy().max() == 3 and not fed["embeddings"].numpy().any()


def test_closing_a_tap_leaves_the_engine_to_its_owner() -> None:
    inner = fake_engines(TINY)[SAMPLER]
    TappedEngine(inner).close()
    assert inner.run(inputs())
