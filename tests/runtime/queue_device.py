"""A device like a GPU, over host memory: work is queued and done when the host waits, memory goes back in that order.

Memory is part of one heap. A tensor's bytes are there from the moment of its allocation until its last reference is
dropped, as the queue sees it; work that touches others fails when its turn comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tts_trt.errors import EngineError
from tts_trt.runtime.device import Array, Device, Reading, Tensor, check_alike, contiguous_strides

HEAP = 1 << 20
ALIGNMENT = 256
Work = Callable[[], None]


class QueueDevice(Device):
    host = False
    name = "queue"

    def __init__(self, size: int = HEAP) -> None:
        self.stream_handle, self.index = 0x5EA, 0
        self.lock = threading.RLock()
        self.charged = 0
        self.waits = 0
        self.launched: list[str] = []
        self._heap = np.zeros(size + ALIGNMENT, np.uint8)
        self.base = -(-self._heap.ctypes.data // ALIGNMENT) * ALIGNMENT
        self._size, self._top = size, 0
        self._idle: dict[int, list[int]] = {}
        self._queue: list[Work] = []
        self._captured: list[Work] | None = None
        self._live: dict[int, int] = {}  # address -> bytes, as the queue has come to

    @property
    def used(self) -> int:
        """Bytes that tensors hold now."""
        return self._top - sum(size * len(addresses) for size, addresses in self._idle.items())

    @contextmanager
    def active(self) -> Iterator[None]:
        with self.lock:
            yield

    @contextmanager
    def launching(self, what: str, *tensors: Tensor) -> Iterator[int]:
        with self.lock:
            for tensor in tensors:
                if tensor.device is not self:
                    raise EngineError(f"{what}: a tensor of {tensor.device.name} on {self.name}")
            self.launched.append(what)
            yield self.stream_handle

    def charge(self, nbytes: int) -> None:
        self.charged += nbytes

    def queue(self, work: Work) -> None:
        """What a library queues on the stream."""
        (self._queue if self._captured is None else self._captured).append(work)

    def require(self, address: int, size: int) -> None:
        """By queued work, of its memory."""
        for start, length in self._live.items():
            if start <= address and address + size <= start + length:
                return
        raise AssertionError(f"{size} bytes at {address:#x} are nobody's")

    def view(
        self, address: int, shape: Sequence[int], dtype: Any, strides: Sequence[int] | None = None
    ) -> Array:
        """By queued work."""
        kind = np.dtype(dtype)
        strides = tuple(strides or contiguous_strides(shape, kind))
        span = sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + kind.itemsize
        self.require(address, span)
        offset = address - self._heap.ctypes.data
        return np.ndarray(tuple(shape), kind, self._heap, offset, strides)

    def empty(self, shape: Sequence[int], dtype: Any) -> Tensor:
        assert self._captured is None, "an allocation in recorded work"
        kind = np.dtype(dtype)
        size = -(-int(np.prod(shape)) * kind.itemsize // ALIGNMENT) * ALIGNMENT
        idle = self._idle.setdefault(size, [])
        if idle:
            address = idle.pop()
        else:
            if self._top + size > self._size:
                raise EngineError(f"no room for {size} bytes")
            address, self._top = self.base + self._top, self._top + size
        self._queue.append(lambda: self._begin(address, size))
        return Tensor(
            self, address, tuple(shape), contiguous_strides(shape, kind), kind, _Block(self, address, size)
        )

    def _begin(self, address: int, size: int) -> None:
        self._live[address] = size
        self.view(address, (size,), np.uint8)[...] = 0xEE

    def _end(self, address: int, size: int) -> None:
        self.view(address, (size,), np.uint8)[...] = 0xDD
        del self._live[address]

    def _view(self, tensor: Tensor) -> Array:
        return self.view(tensor.address, tensor.shape, tensor.dtype, tensor.strides)

    def zero(self, target: Tensor) -> None:
        self.queue(lambda: self._view(target).fill(0))

    def write(self, target: Tensor, array: Array) -> None:
        check_alike(target, array)
        values = array.copy()
        self.queue(lambda: np.copyto(self._view(target), values))

    def copy(self, target: Tensor, source: Tensor) -> None:
        if source.device is not self:
            raise EngineError(f"copy: a tensor of {source.device.name} on {self.name}")
        check_alike(target, source)
        self.queue(lambda: np.copyto(self._view(target), self._view(source)))

    def download(self, tensor: Tensor) -> Array:
        return self.read(tensor).value()

    def read(self, tensor: Tensor) -> Reading:
        values: list[Array] = []
        self.queue(lambda: values.append(self._view(tensor).copy()))
        return _QueueReading(self, values)

    def record(self, work: Work) -> Work:
        captured: list[Work] = []
        with self.lock:
            self._captured = captured
            try:
                work()
            finally:
                self._captured = None
        return _Recording(self, captured, work)

    def synchronize(self) -> None:
        with self.lock:
            self.waits += 1
            while self._queue:
                self._queue.pop(0)()

    def close(self) -> None:
        self.synchronize()


class _Recording:
    def __init__(self, device: QueueDevice, captured: list[Work], work: Work) -> None:
        self._device, self._captured, self._work = device, captured, work

    def __call__(self) -> None:
        self._device._queue.extend(self._captured)


class _Block:
    def __init__(self, device: QueueDevice, address: int, size: int) -> None:
        self.device, self.address, self.size = device, address, size

    def __del__(self) -> None:
        device, address, size = self.device, self.address, self.size
        device._queue.append(lambda: device._end(address, size))
        device._idle[size].append(address)


class _QueueReading:
    def __init__(self, device: QueueDevice, values: list[Array]) -> None:
        self._device, self._values = device, values

    def value(self) -> Array:
        if not self._values:
            self._device.synchronize()
        return self._values[0]
