"""Engines around engines: to watch what passes through one, or to decide in its place."""

from __future__ import annotations

from collections.abc import Callable

from tts_trt.runtime.device import Array, Tensor
from tts_trt.runtime.engine import Arrays, Bound, Engine, Feed, Tensors

Seen = Callable[[Arrays, dict[str, Array]], None]
"""Gets the inputs and outputs of every run on the host; caches are in neither."""
Changed = Callable[[Arrays], Arrays]


class TappedEngine(Engine):
    """An engine whose inputs can be changed and whose runs can be watched: every run is waited for. The inner engine stays
    its owner's: closing the tap does not close it."""

    def __init__(self, inner: Engine, *, change: Changed | None = None, seen: Seen | None = None) -> None:
        self.inner, self.spec, self.float_type, self.device = (
            inner,
            inner.spec,
            inner.float_type,
            inner.device,
        )
        self.change, self.seen = change, seen

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        placed = self.given(outputs, fed := self.fed(inputs))
        caches = {name: fed[name] for name in self.spec.aliases.values()}
        arrays = {name: tensor.numpy() for name, tensor in fed.items() if name not in caches}
        made = self.answer(self.change(arrays) if self.change else arrays, caches)
        if self.seen:
            self.seen(arrays, {name: t.numpy() for name, t in made.items() if name not in self.spec.aliases})
        for name, tensor in placed.items():
            if tensor.address != made[name].address:
                self.device.copy(tensor, made[name])
        return made | placed

    def answer(self, inputs: Arrays, caches: Tensors) -> dict[str, Tensor]:
        """Of the inner engine: all outputs."""
        return self.inner.launch({**inputs, **caches})

    def bind(self, inputs: Tensors, outputs: Tensors) -> Bound:
        return _TappedBound(self, *self.bindings(inputs, outputs))

    def close(self) -> None:
        """The inner engine's owner closes it."""


class _TappedBound:
    recordable = False  # the host decides

    def __init__(self, tap: TappedEngine, inputs: Tensors, outputs: Tensors) -> None:
        self._tap, self._inputs, self._outputs = tap, inputs, outputs

    def launch(self) -> None:
        self._tap.launch(self._inputs, self._outputs)
