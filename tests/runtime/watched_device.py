"""A CudaDevice that knows whose memory is whose: work of a library may only touch what somebody holds, both when it is
queued and, in the order of the stream, when it is carried out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.runtime.fake_driver import FakeDriver
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.device import Tensor

ALIGNMENT = 256


class WatchedDevice(CudaDevice):
    def __init__(self, driver: FakeDriver | None = None) -> None:
        self.driver = driver or FakeDriver()
        super().__init__(driver=self.driver, runtime=self.driver.runtime)
        self._numbers = itertools.count()
        self._held: dict[int, tuple[int, int]] = {}  # address -> bytes, number of the tensor that holds them
        self._live: set[int] = set()  # numbers of tensors, as the stream has come to

    @property
    def charged(self) -> int:
        return self._memory.foreign_bytes

    @property
    def sizes(self) -> list[int]:
        """Bytes of all tensors that somebody holds."""
        return sorted(size for size, _ in self._held.values())

    def mine(self) -> bool:
        """Does the calling thread have the device?"""
        self.driver.need_context("TensorRT")
        return self._context.lock._is_owned()

    def empty(self, shape: Sequence[int], dtype: Any) -> Tensor:
        tensor, number = super().empty(shape, dtype), next(self._numbers)
        self._held[tensor.address] = tensor.nbytes, number
        self._mark(lambda: self._live.add(number))
        return replace(tensor, owner=_Watch(self, tensor.owner, tensor.address, number))

    def claim(self, address: int, nbytes: int) -> int:
        """The number of the tensor that holds these bytes now."""
        for start, (size, number) in self._held.items():
            if start <= address and address + nbytes <= start + size:
                return number
        raise AssertionError(f"{nbytes} bytes at {address:#x} are nobody's")

    def array(self, number: int, address: int, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """For queued work: bytes it has claimed."""
        assert number in self._live, f"the memory at {address:#x} has been given back"
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.driver.view(address, size, ALIGNMENT).view(dtype).reshape(shape)

    def _mark(self, task: Any) -> None:
        if self._context.stream is not None:  # closed
            self._context.stream.queue.append(task)

    def _drop(self, address: int, number: int) -> None:
        if self._held[address][1] == number:
            del self._held[address]
        self._mark(lambda: self._live.remove(number))


class _Watch:
    def __init__(self, device: WatchedDevice, owner: object, address: int, number: int) -> None:
        self._device, self._owner, self._place = device, owner, (address, number)

    def __del__(self) -> None:
        self._device._drop(*self._place)
