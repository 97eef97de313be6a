"""One TensorRT library on one device: what all its engines there share.

Executions run one after another on the device's one stream, so they use the same workspace in turn; none keeps anything
in it. There are two such memories. The one of ad-hoc launches follows the largest shapes seen. The one of bound graphs
never moves under a graph that has its address, which a captured CUDA graph cannot change: growing, it leaves the old
memory to those that have it.
"""

from __future__ import annotations

import logging
import mmap
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from tts_trt.errors import EngineError
from tts_trt.runtime.device import Device, Tensor
from tts_trt.runtime.trt_errors import create_recorder, invalid, unloadable
from tts_trt.trt import NEEDS_GPU, Backend

ALIGNMENT = 256
"""Bytes; what the library asks of a workspace and of every tensor."""

_log = logging.getLogger(__name__)


def aligned(size: int) -> int:
    """The next multiple of ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Workspace:
    address: int
    size: int
    memory: Tensor  # kept by whoever is to find the address unmoved


class Arena:
    """A workspace that executions on one stream take in turns. Not for two threads at once."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._memory: Tensor | None = None
        self._capacity = 0

    def take(self, need: int, most: int) -> Workspace:
        """``need`` bytes. It grows to twice its size, so that the sizes it leaves behind never add up to more than its
        own, but not beyond ``most`` that the asker could ever need. EngineError when there is no room."""
        need = aligned(max(need, 1))  # an engine may insist on some workspace for shapes that need none
        memory = self._memory
        if memory is None or self._capacity < need:
            size = max(need, min(2 * self._capacity, aligned(most)))
            # Before there is a new one: the device gives it out again only for what is queued later.
            self._memory, memory, self._capacity = None, None, 0
            self._memory = memory = self._device.empty((size + ALIGNMENT,), np.uint8)
            self._capacity = size
        return Workspace(aligned(memory.address), need, memory)


class TrtRuntime:
    """``lock`` is held from setting a context up to queueing its work."""

    def __init__(self, backend: Backend, device: Device) -> None:
        if device.host:
            raise EngineError(f"{backend.name} runs on a GPU, not on {device.name}", hint=NEEDS_GPU)
        self.backend, self.device = backend, device
        self.stream: int = device.stream_handle  # type: ignore[attr-defined]
        self.lock = threading.RLock()
        self.recorder = create_recorder(backend)
        self.launches, self.bound = Arena(device), Arena(device)
        self._runtime = backend.create_runtime()
        self._runtime.error_recorder = self.recorder

    def load(self, plan: Path) -> Any:
        """An ICudaEngine. EngineError that says what the plan and this machine have in the way of each other."""
        with self.lock, self.backend.listening() as messages:
            self.recorder.clear()
            try:
                with plan.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    self._check_header(plan, content)
                    engine = self._runtime.deserialize_cuda_engine(content)
            except (OSError, ValueError) as error:  # ValueError: nothing in it to map
                raise EngineError(f"{plan} cannot be read: {error}") from error
            if engine is None:
                reason = self.recorder.reason(messages.reason("no reason given"))
                raise unloadable(plan, self.backend, self.device.name, reason)
        engine.error_recorder = self.recorder
        return engine

    def _check_header(self, plan: Path, content: mmap.mmap) -> None:
        if not hasattr(self._runtime, "get_engine_validity"):
            return
        validity, diagnostics = self._runtime.get_engine_validity(content[: self._runtime.engine_header_size])
        kinds = self.backend.trt.EngineValidity
        if validity == kinds.SUBOPTIMAL:
            _log.warning("%s was built for other GPUs than %s and may be slow here", plan, self.device.name)
        # Without a reason the library is left to fail and to give one.
        if validity == kinds.INVALID and (error := invalid(plan, self.backend, self.device.name, diagnostics)):
            raise error


_open: WeakValueDictionary[tuple[int, int], TrtRuntime] = WeakValueDictionary()
_opening = threading.Lock()


def shared_runtime(backend: Backend, device: Device) -> TrtRuntime:
    """The one of this library and device; it goes with the last engine that holds it."""
    key = id(backend.trt), id(device)  # it holds both, so their numbers are theirs as long as it lives
    with _opening:
        runtime = _open.get(key)
        if runtime is None:
            _open[key] = runtime = TrtRuntime(backend, device)
        return runtime
