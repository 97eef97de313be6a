"""Page-locked memory and the copies of ``fake_driver``."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRESH_HOST, FREED_HOST = 0xC3, 0xED


class Violation(AssertionError):
    """A GPU would have done anything at all."""


class EventFlags(IntEnum):
    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2


class Host(bytearray):
    """Page-locked memory, the base of the array that pagelocked_empty hands out."""

    def __init__(self, size: int, on_free: Callable[[], None]) -> None:
        super().__init__(bytes([FRESH_HOST]) * size)
        self.freed, self._on_free = False, on_free

    def free(self) -> None:
        if self.freed:
            raise Violation("page-locked memory is freed twice")
        self._on_free()
        self.freed = True
        self[:] = bytes([FREED_HOST]) * len(self)

    def bytes_of(self, array: NDArray[Any], offset: int, nbytes: int) -> NDArray[np.uint8]:
        if self.freed:
            raise Violation("page-locked memory is used after it was freed")
        whole = np.frombuffer(self, np.uint8)
        first = array.ctypes.data - whole.ctypes.data + offset
        if not 0 <= first <= first + nbytes <= len(self):
            raise Violation(f"{nbytes} bytes beyond the {len(self)} of page-locked memory")
        return whole[first : first + nbytes]


def host_of(array: NDArray[Any]) -> Host:
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if not isinstance(base, Host):
        raise Violation("an asynchronous copy needs page-locked memory")
    return base


class Copy:
    """``depth`` slices of ``height`` rows of ``width`` bytes, read and written when it is carried out."""

    def __init__(self, driver: Any, target: Any, source: Any, width: int) -> None:
        self.driver, self.target, self.source, self.width = driver, target, source, width
        self.height = self.depth = 1
        self.target_pitch = self.source_pitch = self.target_rows = self.source_rows = 0
        for end in (target, source):  # at least now it must be there
            driver.bytes_of(end, 0, width)

    def __call__(self) -> None:
        for z in range(self.depth):
            for y in range(self.height):
                target = (z * self.target_rows + y) * self.target_pitch
                source = (z * self.source_rows + y) * self.source_pitch
                rows = self.driver.bytes_of(self.source, source, self.width)
                self.driver.bytes_of(self.target, target, self.width)[...] = rows


def make_copy_class(driver: Any, dimensions: int) -> type:
    """Memcpy2D or Memcpy3D: only the attributes of the real ones can be set."""

    class Memcpy:
        __slots__ = (
            *"_source _target src_pitch dst_pitch width_in_bytes height".split(),
            *("src_height dst_height depth".split() if dimensions == 3 else ()),
        )

        def set_src_device(self, address: int) -> None:
            assert isinstance(address, int)
            self._source = address

        def set_dst_device(self, address: int) -> None:
            assert isinstance(address, int)
            self._target = address

        def set_src_host(self, array: NDArray[Any]) -> None:
            host_of(array)
            self._source = array

        def set_dst_host(self, array: NDArray[Any]) -> None:
            host_of(array)
            self._target = array

        def __call__(self, stream: Any) -> None:
            driver.call(f"cuMemcpy{dimensions}DAsync")
            copy = Copy(driver, self._target, self._source, self.width_in_bytes)
            copy.height, copy.target_pitch, copy.source_pitch = self.height, self.dst_pitch, self.src_pitch
            if min(self.src_pitch, self.dst_pitch) < self.width_in_bytes:
                raise driver.LogicError("cuMemcpy failed: invalid argument (pitch below width)")
            if dimensions == 3:
                copy.depth, copy.target_rows, copy.source_rows = self.depth, self.dst_height, self.src_height
                if min(self.src_height, self.dst_height) < self.height:
                    raise driver.LogicError("cuMemcpy failed: invalid argument (slice below its rows)")
            stream.put(copy)

    return Memcpy
