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
from typing import Any, cast

import numpy as np

from tts_trt.errors import EngineError
from tts_trt.runtime.cuda import CudaDevice
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
        """``need`` bytes. It grows to twice its size, so that what it leaves behind does not add up to more than it has,
        but not beyond ``most`` that the asker could ever need. EngineError when there is no room."""
        need = aligned(max(need, 1))  # an engine may insist on some workspace for shapes that need none
        if self._memory is None or self._capacity < need:
            size = max(need, min(2 * self._capacity, aligned(most)))
            self.clear()  # first: the device gives it out again only for what is queued later
            self._memory, self._capacity = self._device.empty((size,), np.uint8), size
        return Workspace(self._memory.address, need, self._memory)

    def clear(self) -> None:
        self._memory, self._capacity = None, 0


class TrtRuntime:
    """Used in turns of the device (``active``, ``launching``): one thread at a time, with its context current."""

    def __init__(self, backend: Backend, device: Device) -> None:
        if device.host:
            raise EngineError(f"{backend.name} runs on a GPU, not on {device.name}", hint=NEEDS_GPU)
        self.backend, self.device, self.users = backend, cast(CudaDevice, device), 0
        self.recorder = create_recorder(backend)
        self.launches, self.bound = Arena(device), Arena(device)
        with self.device.active():
            self._runtime = backend.create_runtime()
            self._runtime.error_recorder = self.recorder

    def load(self, plan: Path) -> Any:
        """An ICudaEngine. EngineError that says what plan and machine have in the way of each other."""
        with self.device.active(), self.backend.listening() as messages:
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
        if validity == kinds.INVALID and (
            error := invalid(plan, self.backend, self.device.name, diagnostics)
        ):
            raise error

    def release(self) -> None:
        """By each who has called ``hold``; what is shared goes with the last."""
        with _opening:
            self.users -= 1
            if self.users:
                return
            del _open[_key(self.backend, self.device)]
        self.launches.clear()
        self.bound.clear()
        self._runtime = None


_open: dict[tuple[int, int], TrtRuntime] = {}
_opening = threading.Lock()


def hold(backend: Backend, device: Device) -> TrtRuntime:
    """The one of this library and device, until it is released."""
    key = _key(backend, device)
    with _opening:
        runtime = _open.get(key) or TrtRuntime(backend, device)
        _open[key] = runtime
        runtime.users += 1
        return runtime


def _key(backend: Backend, device: Device) -> tuple[int, int]:
    """The runtime holds both, so their numbers are theirs as long as it is open."""
    return id(backend.trt), id(device)
