"""One GPU through PyCUDA: its primary context, one stream, one lock, and its errors in our words.

The primary context is the one TensorRT and the CUDA runtime use too, so addresses and the stream are theirs as well. A
context is current per thread; here it is made current for each operation, so any thread may ask for one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tts_trt.errors import EngineError
from tts_trt.nvidia import load_pycuda

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no hidden wait for whatever uses the default stream

REOPEN = "close the device and open it again; if the error stays, start the process again"


@dataclass(frozen=True)
class CudaFacts:
    """What a manifest or a report says of a GPU."""

    gpu: str
    compute_capability: tuple[int, int]
    cuda_driver: str  # the newest CUDA release that the driver serves
    total_bytes: int


def mebibytes(nbytes: int) -> int:
    """Rounded up."""
    return -(-nbytes >> 20)


class CudaContext:
    """``driver`` is pycuda.driver, loaded unless given. EngineError where it, the GPU or its driver is missing."""

    def __init__(self, index: int, driver: Any = None) -> None:
        self.driver = driver or load_pycuda()
        self.lock = threading.RLock()
        self.index, self.waits = index, 0
        self.capturing = False
        self._local = threading.local()
        self._lost: str | None = None
        self._handle: Any = None
        self.facts = self._open()
        self.name = f"cuda:{index} {self.facts.gpu}"
        with self.current():
            self.stream = self.driver.Stream(NON_BLOCKING)

    def _open(self) -> CudaFacts:
        try:
            self.driver.init()
            count = self.driver.Device.count()
            if not 0 <= self.index < count:
                raise EngineError(
                    f"there is no GPU {self.index}, this machine has {count}",
                    hint="see nvidia-smi --list-gpus",
                )
            device = self.driver.Device(self.index)
            version = self.driver.get_driver_version()
            facts = CudaFacts(
                gpu=device.name(),
                compute_capability=tuple(device.compute_capability()),
                cuda_driver=f"{version // 1000}.{version % 1000 // 10}",
                total_bytes=int(device.total_memory()),
            )
            self._handle = device.retain_primary_context()
        except self.driver.Error as error:
            raise EngineError(
                f"no GPU can be used here: {error}", hint="see nvidia-smi, or take device cpu"
            ) from error
        return facts

    @contextmanager
    def operation(self) -> Iterator[None]:
        """One unit across threads, with the context current. Errors of the driver leave as EngineError."""
        with self.lock, self.current():
            yield

    @contextmanager
    def current(self) -> Iterator[None]:
        """``operation`` without the lock, for waits: while one thread waits, others may queue."""
        self.check()
        with self._current():
            try:
                yield
            except self.driver.Error as error:
                raise self._failure(error) from error

    @contextmanager
    def _current(self) -> Iterator[None]:
        depth = getattr(self._local, "depth", 0)
        if depth == 0:
            self._handle.push()
        self._local.depth = depth + 1
        try:
            yield
        finally:
            self._local.depth = depth
            if depth == 0:
                self._pop()

    def _pop(self) -> None:
        try:
            self.driver.Context.pop()
        except self.driver.Error:
            if self._handle is not None:  # detaching has popped it already
                raise

    def check(self) -> None:
        """EngineError once the device is closed or lost."""
        if self._lost is not None:
            raise EngineError(f"{self.name} is lost: {self._lost}", hint=REOPEN)
        if self._handle is None:
            raise EngineError(f"{self.name} is closed", hint="open the device again")

    def new_event(self, *, timed: bool = False) -> Any:
        flags = self.driver.event_flags
        return self.driver.Event(int(flags.DEFAULT if timed else flags.DISABLE_TIMING))

    def wait(self, event: Any) -> None:
        """Until everything queued before the event's record is done."""
        with self.current():
            if not event.query():
                with self.lock:
                    self.waits += 1
                event.synchronize()

    def finish(self) -> None:
        """Wait for everything queued so far. On an event, not on the stream: another thread may be capturing on that
        one by the time this one waits."""
        with self.operation():
            event = self.new_event()
            event.record(self.stream)
        self.wait(event)

    def _failure(self, error: Exception) -> EngineError:
        if isinstance(error, self.driver.MemoryError):
            free, total = self.driver.mem_get_info()
            return EngineError(
                f"{self.name} is out of memory, {mebibytes(free)} of {mebibytes(total)} MiB are free: {error}",
                hint="a smaller batch or a lower precision, or end what else runs on the GPU",
            )
        # A capturing stream cannot be asked, and a call that it refuses harms no more than the capture.
        if not self.capturing:
            self.probe(error)
        return EngineError(f"{self.name} refuses: {error}")

    def probe(self, why: object) -> None:
        """EngineError if the device is lost: an error such as an illegal address comes back from every later call."""
        try:
            self.stream.is_done()
        except self.driver.Error as error:
            self._lost = str(error)
            raise EngineError(f"{self.name} is lost: {why}", hint=REOPEN) from error

    @property
    def closed(self) -> bool:
        return self._handle is None

    @contextmanager
    def ending(self) -> Iterator[bool]:
        """For giving things back when all work is done; whether the device still answers."""
        with self.lock, self._current():
            try:
                self.stream.synchronize()
            except self.driver.Error as error:
                self._lost = str(error)
            yield self._lost is None

    def close(self) -> None:
        """Give the context back."""
        with self.lock:
            with self._current():
                self.stream = None
            handle, self._handle = self._handle, None
            # PyCUDA gives back a context where it is current, and leaves it current for CUDA: in a thread that ends.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(_detach, handle).result()


def _detach(handle: Any) -> None:
    handle.push()
    handle.detach()
