"""pycuda.driver and cuda.bindings.runtime without a GPU, stricter than either.

Device memory is host memory behind addresses of its own. Work on a stream waits in a queue until the host waits for it (or
a test says ``advance``), so whoever reads or overwrites too early does so for certain. What a GPU would punish at random is
a ``Violation`` here: memory touched beyond its bounds or after it was freed, calls without a current context, copies from
memory that is not page-locked, and everything a capture forbids. Engines' stand-ins queue functions with ``enqueue`` and
reach memory through ``view``.

    driver = FakeDriver()
    device = CudaDevice(driver=driver, runtime=driver.runtime)
    ...
    driver.check_all_returned()
"""

from __future__ import annotations

import bisect
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.runtime.fake_driver_parts import Copy, EventFlags, Host, Violation, host_of, make_copy_class
from tests.runtime.fake_runtime import FakeRuntime

Bytes = NDArray[np.uint8]
Task = Callable[[], None]

FRESH = 0xA5  # fills memory that was never written
PAGE = 512  # bytes; between allocations lies one that nobody may touch


class CudaError(Exception):
    """pycuda.driver.Error; its subclasses are no relatives of Python's exceptions of the same names."""


class CudaMemoryError(CudaError):
    pass


class CudaLogicError(CudaError):
    pass


class CudaLaunchError(CudaError):
    pass


class FakeStream:
    def __init__(self, driver: FakeDriver, flags: int) -> None:
        driver.need_context("Stream")
        self.driver, self.flags = driver, flags
        self.queue: deque[Task] = deque()
        self.recorded: list[Task] | None = None  # of a capture
        self.handle = driver.new_handle()
        driver.streams[self.handle] = self

    def synchronize(self) -> None:
        self.driver.call("cuStreamSynchronize", capturable=False, stream=self)
        self.driver.run(self, len(self.queue))

    def is_done(self) -> bool:
        self.driver.call("cuStreamQuery", capturable=False, stream=self)
        return not self.queue

    def put(self, task: Task) -> None:
        self.driver.launched += 1
        (self.queue if self.recorded is None else self.recorded).append(task)


class FakeEvent:
    def __init__(self, driver: FakeDriver, flags: int) -> None:
        driver.call("cuEventCreate", capturable=False)
        assert flags in (EventFlags.DISABLE_TIMING, EventFlags.DEFAULT)
        self.driver, self.stream, self.timed = driver, None, flags == EventFlags.DEFAULT
        self.recorded = self.passed = 0
        self.passed_at = 0  # pieces of work the driver had done by then

    def record(self, stream: FakeStream) -> FakeEvent:
        self.driver.call("cuEventRecord", capturable=False, stream=stream)
        self.recorded += 1
        self.stream, number = stream, self.recorded
        stream.queue.append(lambda: self._pass(number))
        return self

    def _pass(self, number: int) -> None:
        self.passed, self.passed_at = number, self.driver.done

    def time_since(self, start: FakeEvent) -> float:
        """A millisecond for each piece of work in between."""
        self.driver.call("cuEventElapsedTime", capturable=False)
        if not (self.timed and start.timed):
            raise Violation("events without timing have no time between them")
        if self.passed != self.recorded or start.passed != start.recorded:
            raise self.driver.LogicError("cuEventElapsedTime failed: device not ready")
        return float(self.passed_at - start.passed_at)

    def query(self) -> bool:
        self.driver.call("cuEventQuery", capturable=False)
        return self.passed == self.recorded

    def synchronize(self) -> FakeEvent:
        self.driver.call("cuEventSynchronize", capturable=False)
        wanted = self.recorded
        while self.passed < wanted:
            self.driver.run(self.stream, 1)
        return self


class FakeAllocation:
    def __init__(self, driver: FakeDriver, address: int, size: int) -> None:
        self.driver, self.address, self.size = driver, address, size

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.driver.call("cuMemFree", capturable=False, lasting=False)
        if self.driver.memory.pop(self.address, None) is None:
            raise Violation(f"memory at {self.address:#x} is freed twice")
        self.driver.used -= self.size


class FakeContext:
    """A retained primary context. As in PyCUDA there are two stacks per thread, CUDA's and its own, and detaching leaves
    the context on CUDA's."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver, self.valid, self.thread = driver, True, threading.get_ident()
        driver.retained += 1

    def push(self) -> None:
        if not self.valid:
            raise self.driver.LogicError("cuCtxPushCurrent failed: context is destroyed")
        self.driver.stack().append(self)
        self.driver.stack("cuda").append(self)

    def detach(self) -> None:
        stack = self.driver.stack()
        if not self.valid:
            raise self.driver.LogicError("context::detach failed: invalid device context")
        if (not stack or stack[-1] is not self) and self.thread != threading.get_ident():
            raise Violation("PyCUDA does not give back the context of another thread that is not current")
        self.valid = False
        self.driver.retained -= 1
        self.drop_invalid(stack)

    @staticmethod
    def drop_invalid(stack: list[FakeContext]) -> None:
        while stack and not stack[-1].valid:
            stack.pop()


class FakeDriver:
    """One GPU of ``total`` bytes, ``used`` of them taken. Set at any time: ``fail_alloc`` the number of the mem_alloc that
    fails (1 is the next), ``fail_wait`` an error text that the next wait raises, and every call after it."""

    Error, MemoryError, LogicError, LaunchError = CudaError, CudaMemoryError, CudaLogicError, CudaLaunchError
    event_flags = EventFlags

    def __init__(self, total: int = 1 << 30, used: int = 0, gpus: int = 1) -> None:
        self.total, self.used, self.gpus = total, used, gpus
        self.fail_alloc, self.fail_wait = 0, ""
        self.lasting: str | None = None
        self.calls: list[str] = []
        self.launched = self.retained = self.done = 0
        self.memory: dict[int, Bytes] = {}
        self.hosts: list[Host] = []
        self.streams: dict[int, FakeStream] = {}
        self.runtime = FakeRuntime(self)
        self._top, self._handles = 1 << 40, 0x1000
        self._local = threading.local()
        self._lock = threading.RLock()
        driver = self

        class Device:
            def __init__(self, index: int) -> None:
                if not 0 <= index < driver.gpus:
                    raise driver.LogicError("cuDeviceGet failed: invalid device ordinal")

            @staticmethod
            def count() -> int:
                return driver.gpus

            def name(self) -> str:
                return "NVIDIA Fake"

            def compute_capability(self) -> tuple[int, int]:
                return 8, 9

            def total_memory(self) -> int:
                return driver.total

            def retain_primary_context(self) -> FakeContext:
                return FakeContext(driver)

        class Context:
            @staticmethod
            def pop() -> None:
                if driver.stack():
                    driver.stack("cuda").pop()
                FakeContext.drop_invalid(driver.stack())
                if not driver.stack():
                    raise driver.LogicError("context::pop failed: invalid device context")
                driver.stack().pop()

        self.Device, self.Context = Device, Context
        self.Memcpy2D, self.Memcpy3D = make_copy_class(self, 2), make_copy_class(self, 3)

    def init(self) -> None:
        if not self.gpus:
            raise self.Error("cuInit failed: no CUDA-capable device is detected")

    def get_driver_version(self) -> int:
        return 13010

    def Stream(self, flags: int = 0) -> FakeStream:
        return FakeStream(self, flags)

    def Event(self, flags: int = 0) -> FakeEvent:
        return FakeEvent(self, flags)

    def mem_get_info(self) -> tuple[int, int]:
        self.call("cuMemGetInfo")
        return self.total - self.used, self.total

    def mem_alloc(self, size: int) -> FakeAllocation:
        self.call("cuMemAlloc", capturable=False)
        self.fail_alloc -= 1
        if self.fail_alloc == 0 or self.used + size > self.total:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        address, self._top = self._top, self._top + (size // PAGE + 2) * PAGE
        self.memory[address] = np.full(size, FRESH, np.uint8)
        self.used += size
        return FakeAllocation(self, address, size)

    def pagelocked_empty(self, shape: int, dtype: Any) -> NDArray[Any]:
        self.call("cuMemHostAlloc", capturable=False)
        freeing = partial(self.call, "cuMemFreeHost", capturable=False, lasting=False)
        host = Host(shape * np.dtype(dtype).itemsize, freeing)
        self.hosts.append(host)
        return np.ndarray(shape, dtype, buffer=host)

    def memcpy_htod_async(self, dest: int, src: NDArray[Any], stream: FakeStream) -> None:
        self._row("cuMemcpyHtoDAsync", dest, src, src.nbytes, stream)

    def memcpy_dtoh_async(self, dest: NDArray[Any], src: int, stream: FakeStream) -> None:
        self._row("cuMemcpyDtoHAsync", dest, src, dest.nbytes, stream)

    def memcpy_dtod_async(self, dest: int, src: int, size: int, stream: FakeStream) -> None:
        self._row("cuMemcpyDtoDAsync", dest, src, size, stream)

    def memset_d8_async(self, dest: int, data: int, size: int, stream: FakeStream) -> None:
        self.call("cuMemsetD8Async")
        self.view(dest, size)
        stream.put(lambda: self.view(dest, size).fill(data))

    def _row(self, name: str, target: Any, source: Any, width: int, stream: FakeStream) -> None:
        self.call(name)
        stream.put(Copy(self, target, source, width))

    # What tests and engines' stand-ins use.

    def enqueue(self, stream_handle: int, function: Task) -> None:
        """Queue (or record) work like a kernel's."""
        self.call("cuLaunchKernel")
        self.streams[stream_handle].put(function)

    def view(self, address: int, nbytes: int, alignment: int = 1) -> Bytes:
        """The bytes at a device address. Violation unless they are all of one allocation that is not freed."""
        if nbytes <= 0:
            raise Violation(f"{nbytes} bytes at {address:#x}")
        if address % alignment:
            raise Violation(f"address {address:#x} is not aligned to {alignment} bytes")
        starts = sorted(self.memory)
        place = bisect.bisect_right(starts, address) - 1
        start = starts[place] if place >= 0 else 0
        if place < 0 or address + nbytes > start + len(self.memory[start]):
            raise Violation(f"{nbytes} bytes at {address:#x} are not (or no longer) allocated")
        return self.memory[start][address - start : address - start + nbytes]

    def bytes_of(self, end: Any, offset: int, nbytes: int) -> Bytes:
        """Of a device address or an array in page-locked memory."""
        if isinstance(end, int):
            return self.view(end + offset, nbytes)
        return host_of(end).bytes_of(end, offset, nbytes)

    def advance(self, count: int | None = None) -> None:
        """Carry out the next pieces of queued work of every stream, or all."""
        for stream in self.streams.values():
            self.run(stream, len(stream.queue) if count is None else min(count, len(stream.queue)))

    def run(self, stream: FakeStream | None, count: int) -> None:
        if self.fail_wait:
            self.lasting = self.fail_wait
            raise self.LogicError(f"cuEventSynchronize failed: {self.lasting}")
        with self._lock:
            for _ in range(min(count, len(stream.queue)) if stream else 0):
                stream.queue.popleft()()
                self.done += 1

    def call(
        self, name: str, *, capturable: bool = True, lasting: bool = True, stream: FakeStream | None = None
    ) -> None:
        """A call to the driver: needs a context and fails after a lasting error. One that is not capturable ends the
        capture of its own thread, and if it concerns the stream that of any thread."""
        self.need_context(name)
        self.calls.append(name)
        if self.lasting and lasting:
            raise self.LogicError(f"{name} failed: {self.lasting}")
        if not capturable and self.runtime.invalidate(stream):
            raise self.LogicError(f"{name} failed: operation not permitted when stream is capturing")

    def need_context(self, name: str) -> None:
        if not self.stack() or not self.stack()[-1].valid:
            raise Violation(f"{name} without a current context in this thread")

    def stack(self, whose: str = "pycuda") -> list[FakeContext]:
        """Contexts of the calling thread, the current one last."""
        if not hasattr(self._local, whose):
            setattr(self._local, whose, [])
        return getattr(self._local, whose)

    def new_handle(self) -> int:
        self._handles += 1
        return self._handles

    def check_all_returned(self) -> None:
        """After close: nothing is held any longer."""
        left = sum(len(stream.queue) for stream in self.streams.values())
        assert self.lasting or not left, (
            f"{left} pieces of work were never waited for, and their memory is gone"
        )
        assert not self.memory, f"{len(self.memory)} device allocations are left"
        assert all(host.freed for host in self.hosts), "page-locked memory is left"
        assert self.retained == 0, f"the primary context is retained {self.retained} times"
        assert not self.stack() + self.stack("cuda"), "a context is left current"
        self.runtime.check_all_returned()
