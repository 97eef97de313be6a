"""Engines around engines: to watch what passes through one, or to decide in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tts_trt.runtime.engine import Array, Arrays, Buffer, Engine, Runner

Seen = Callable[[Arrays, dict[str, Array]], None]
"""Gets every run's inputs and outputs; bound tensors are in neither."""
Changed = Callable[[Arrays], Arrays]


class TappedEngine(Engine):
    """An engine whose inputs can be changed and whose runs can be watched. The inner engine stays its owner's: closing
    the tap does not close it."""

    def __init__(self, inner: Engine, *, change: Changed | None = None, seen: Seen | None = None) -> None:
        self.inner, self.spec, self.float_type = inner, inner.spec, inner.float_type
        self.change, self.seen = change, seen

    def run(self, inputs: Arrays) -> dict[str, Array]:
        return self.pass_on(self.inner, inputs)

    def allocate(self, name: str, axes: Mapping[str, int]) -> Buffer:
        return self.inner.allocate(name, axes)

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Runner:
        return _TappedRunner(self, self.inner.bind(inputs, outputs))

    def close(self) -> None:
        pass

    def pass_on(self, runner: Runner, inputs: Arrays) -> dict[str, Array]:
        fed = self.change(inputs) if self.change else inputs
        outputs = runner.run(fed)
        if self.seen:
            self.seen(inputs, outputs)
        return outputs


@dataclass(frozen=True)
class _TappedRunner:
    tap: TappedEngine
    runner: Runner

    def run(self, inputs: Arrays) -> dict[str, Array]:
        return self.tap.pass_on(self.runner, inputs)
