"""What runs a graph: the ``Engine`` interface.

An engine takes tensors by the names of its contract in ``spec.py`` and gives its outputs by name, in its device's memory.
``run`` is the same with numpy arrays at both ends. What is done over and over on the same tensors is bound once: a ``Bound``
has all its addresses set and only needs to be launched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from tts_trt.errors import EngineError
from tts_trt.runtime.device import Array, Device, Tensor
from tts_trt.spec import GraphSpec, TensorSpec

Arrays = Mapping[str, Array]
Tensors = Mapping[str, Tensor]
Feed = Mapping[str, Array | Tensor]


class Bound(Protocol):
    """A graph on fixed tensors."""

    recordable: bool
    """``Device.record`` may replay it: a launch only queues work on the device's stream."""

    def launch(self) -> None: ...


class Engine(ABC):
    """One graph, ready to run. Threads may share it."""

    spec: GraphSpec
    float_type: str
    device: Device

    @abstractmethod
    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        """All inputs -> all outputs: those given, the others in new memory. Arrays are uploaded and must stay as they
        are until the device is done. The output of an aliased pair is its input unless given, which it then must be.
        EngineError for a missing, unknown or mis-shaped tensor."""

    @abstractmethod
    def bind(self, inputs: Tensors, outputs: Tensors) -> Bound:
        """The graph on these tensors, all of its inputs and all of its outputs. Errors as ``launch``."""

    @abstractmethod
    def close(self) -> None:
        """Give the device memory back; the engine cannot run afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """All inputs -> all outputs; nothing the caller holds is changed, what it gets is its own."""
        own = {
            name: self.device.upload(np.ascontiguousarray(inputs[name]))
            for name in self.spec.aliases.values()
            if name in inputs
        }
        return {name: tensor.numpy() for name, tensor in self.launch({**inputs, **own}).items()}

    def allocate(self, name: str, axes: Mapping[str, int]) -> Tensor:
        """Zeros of the shape and dtype of input or output ``name`` with its symbolic axes at these sizes."""
        tensor = next(t for t in (*self.spec.inputs, *self.spec.outputs) if t.name == name)
        shape = tuple(axes[a] if isinstance(a, str) else a for a in tensor.shape)
        return self.device.zeros(shape, self.dtype(tensor))

    def dtype(self, tensor: TensorSpec) -> np.dtype[Any]:
        return np.dtype(tensor.resolved(self.float_type))

    def fed(self, inputs: Feed) -> dict[str, Tensor]:
        """Inputs on the device, contiguous, held to the contract; axes of one name have one size. EngineError
        otherwise."""
        self._check_names("input", inputs, {t.name for t in self.spec.inputs})
        sizes: dict[str, int] = {}
        for tensor in self.spec.inputs:
            self._check(tensor, inputs[tensor.name], sizes)
        return {name: self._on_device(value) for name, value in inputs.items()}

    def given(self, outputs: Tensors | None, inputs: Tensors) -> dict[str, Tensor]:
        """The outputs that have a place already: those passed, and those that share an input's memory. EngineError for
        one that is unknown, mis-shaped, or bound apart from the input it shares memory with."""
        found = dict(outputs or {})
        known = {t.name for t in self.spec.outputs}
        if unknown := found.keys() - known:
            raise EngineError(f"graph {self.spec.name} has no output {', '.join(sorted(unknown))}")
        for name, source in self.spec.aliases.items():
            if found.setdefault(name, inputs[source]).address != inputs[source].address:
                raise EngineError(
                    f"graph {self.spec.name}: output {name} is bound apart from {source}, whose memory it shares"
                )
        for name, tensor in found.items():
            self._check(self.spec.output(name), tensor, {})
        return found

    def bindings(self, inputs: Tensors, outputs: Tensors) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``fed`` and ``given``, for a bound graph: every output has its place."""
        placed = self.given(outputs, fed := self.fed(inputs))
        self._check_names("output", placed, {t.name for t in self.spec.outputs})
        return fed, placed

    def _on_device(self, value: Array | Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            return self.device.lend(value)
        return value if value.contiguous else self.device.cloned(value)

    def _check_names(self, kind: str, found: Feed, expected: set[str]) -> None:
        if wrong := found.keys() ^ expected:
            names = ", ".join(sorted(wrong))
            raise EngineError(f"graph {self.spec.name}: {kind}s do not match the contract: {names}")

    def _check(self, tensor: TensorSpec, value: Array | Tensor, sizes: dict[str, int]) -> None:
        expected = tuple(
            sizes.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(tensor.shape, value.shape, strict=False)
        )
        fits = value.ndim == len(tensor.shape) and tuple(value.shape) == expected
        if not fits or value.dtype != self.dtype(tensor):
            raise EngineError(
                f"graph {self.spec.name}: {tensor.name} is {value.dtype} {tuple(value.shape)}, expected "
                f"{self.dtype(tensor)} {tensor.shape} at {sizes or 'any size'}"
            )


class Engines:
    """The graphs of one model by name, on one device; closing it closes them all, and the ``owned`` device after them."""

    def __init__(self, engines: Mapping[str, Engine], owned: Device | None = None) -> None:
        self._engines = dict(engines)
        self._stack = ExitStack()
        if owned is not None:
            self._stack.enter_context(owned)
        for engine in self._engines.values():
            self._stack.enter_context(engine)

    @property
    def device(self) -> Device:
        """EngineError where there is no engine, or engines of several devices."""
        devices = {id(engine.device): engine.device for engine in self._engines.values()}
        if len(devices) != 1:
            raise EngineError(f"engines on {len(devices)} devices, expected one")
        return next(iter(devices.values()))

    def __getitem__(self, name: str) -> Engine:
        try:
            return self._engines[name]
        except KeyError:
            raise EngineError(f"there is no engine {name!r}, only {', '.join(self._engines)}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()
