"""A baseline with one part of a candidate in it: what that part alone does to the sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tts_trt.errors import UsageError
from tts_trt.quality.forced import Borrowed
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.device import Device, Tensor
from tts_trt.runtime.engine import Bound, Engine, Feed, Tensors
from tts_trt.spec import graph_specs

PARTS: dict[str, tuple[str, ...]] = {
    "voice": ("semantic_encoder", "semantic_codec", "style_encoder", "conditioner"),
    "code model": ("prompt", "gpt", "sampler", "code_embedding"),
    "flow": ("mel_condition", "flow_step"),
    "vocoder": ("vocoder",),
}
"""Every graph belongs to one. Only inside the code model do tensors have the bundle's own float type."""


class Crossing(Engine):
    """A graph without a cache on another device than its neighbours': through host memory, inputs and outputs. Its owner
    closes it."""

    def __init__(self, inner: Engine, device: Device) -> None:
        self.inner, self.device = inner, device
        self.spec, self.float_type = inner.spec, inner.float_type

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        placed = self.given(outputs, fed := self.fed(inputs))
        made = self.inner.run({name: tensor.numpy() for name, tensor in fed.items()})
        for name, array in made.items():
            if name in placed:
                self.device.write(placed[name], array)
            else:
                placed[name] = self.device.upload(np.ascontiguousarray(array))
        return placed

    def bind(self, inputs: Tensors, outputs: Tensors) -> Bound:
        return _CrossingBound(self, *self.bindings(inputs, outputs))

    def close(self) -> None:
        """The inner engine's owner closes it."""


class _CrossingBound:
    recordable = False  # the host takes part

    def __init__(self, engine: Crossing, inputs: Tensors, outputs: Tensors) -> None:
        self._engine, self._inputs, self._outputs = engine, inputs, outputs

    def launch(self) -> None:
        self._engine.launch(self._inputs, self._outputs)


def mixed(
    baseline: OpenBundle, candidate: OpenBundle, part: str, known: Mapping[str, Engine] | None = None
) -> OpenBundle:
    """The baseline with the graphs of ``part`` from the candidate. ``known``: engines to use in place of the baseline's own.
    Where the two are on different devices, graphs without a cache go to that of the code model."""
    engines: dict[str, Engine] = {}
    for name in graph_specs(baseline.dims, baseline.limits):
        own = (known or {}).get(name) or baseline.engines[name]
        engines[name] = candidate.engines[name] if name in PARTS[part] else own
    home = engines["gpt"].device
    placed = {
        name: engine if engine.device is home else Crossing(engine, home) for name, engine in engines.items()
    }
    return replace(baseline, engines=Borrowed(placed))


def check_same_model(baseline: OpenBundle, candidate: OpenBundle, names: tuple[str, str]) -> None:
    """UsageError for bundles whose codes, mels or waves cannot be paired."""
    if baseline.dims != candidate.dims:
        raise UsageError(
            f"{names[1]} is of another model than {names[0]}: their dimensions differ",
            hint="compare bundles built from one model",
        )
