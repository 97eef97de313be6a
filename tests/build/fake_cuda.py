"""The part of pycuda.driver that calibration uses, over host memory. Copies happen when their stream is waited for."""

from __future__ import annotations

from typing import Any

import numpy as np


class Host(bytearray):
    def __init__(self, driver: FakeCuda, size: int) -> None:
        super().__init__(b"\xee" * size)
        self.driver = driver

    def free(self) -> None:
        self.driver.release(f"host {len(self)}")


class Buffer:
    def __init__(self, driver: FakeCuda, size: int) -> None:
        driver.top += 0x1000
        self.driver, self.size, self.address = driver, size, driver.top
        driver.device[self.address] = b""

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.driver.release(f"device {self.size}")
        del self.driver.device[self.address]


class FakeCuda:
    """``calls`` in order; ``device``: address -> bytes there. ``fail``: raise Error at the n-th mem_alloc, or at the
    first wait."""

    class Error(Exception):
        pass

    def __init__(self, fail_alloc: int = 0, fail_wait: bool = False) -> None:
        self.calls: list[str] = []
        self.device: dict[int, bytes] = {}
        self.held: list[str] = []
        self.top = 1 << 40
        self.fail_alloc, self.fail_wait = fail_alloc, fail_wait
        driver = self

        class Context:
            @staticmethod
            def pop() -> None:
                driver.release("context")

            def push(self) -> None:
                driver.take("context")

        class Device:
            def __init__(self, number: int) -> None:
                driver.calls.append(f"Device {number}")

            def retain_primary_context(self) -> Context:
                driver.calls.append("retain_primary_context")
                return Context()

        class Stream:
            def __init__(self) -> None:
                driver.calls.append("Stream")
                self.pending: list[tuple[Buffer, Any]] = []

            def synchronize(self) -> None:
                driver.calls.append("synchronize")
                if driver.fail_wait:
                    driver.fail_wait = False
                    raise driver.Error("illegal address")
                for buffer, array in self.pending:
                    driver.device[buffer.address] = array.tobytes()
                self.pending.clear()

        self.Context, self.Device, self.Stream = Context, Device, Stream

    def init(self) -> None:
        self.calls.append("init")

    def take(self, what: str) -> None:
        self.calls.append(f"take {what}")
        self.held.append(what)

    def release(self, what: str) -> None:
        self.calls.append(f"free {what}")
        self.held.remove(what)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.take(f"host {size}")
        return np.ndarray(shape, dtype, buffer=Host(self, size))

    def mem_alloc(self, size: int) -> Buffer:
        self.fail_alloc -= 1
        if self.fail_alloc == 0:
            raise self.Error("out of memory")
        self.take(f"device {size}")
        return Buffer(self, size)

    def memcpy_htod_async(self, buffer: Buffer, array: np.ndarray, stream: Any) -> None:
        assert isinstance(array.base, Host), "an asynchronous copy needs page-locked memory"
        assert array.nbytes == buffer.size
        self.calls.append(f"copy {array.nbytes}")
        stream.pending.append((buffer, array))
