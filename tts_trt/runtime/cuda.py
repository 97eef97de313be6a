"""The GPU as a ``Device``: PyCUDA, one stream, memory that is taken once and used again.

Operations are queued and return. The host waits in ``download``, ``Reading.value`` and ``synchronize``, and in ``write``
where more than the staging memory holds is on its way; ``counters`` says how often, and what was allocated.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from tts_trt.errors import EngineError
from tts_trt.runtime.cuda_copy import Run, enqueue, runs
from tts_trt.runtime.cuda_driver import CudaContext, CudaFacts
from tts_trt.runtime.cuda_graph import CudaGraphs, Recording, RecordingError, Trace, load_runtime
from tts_trt.runtime.cuda_memory import DevicePool, Stage, StagingPool
from tts_trt.runtime.device import Array, Device, Tensor, check_alike, contiguous_strides

CHUNK = 8 << 20  # bytes of one write; larger ones are cut
KEEP_FREE = 256 << 20  # bytes left to the driver: modules, CUDA graphs, libraries' odds and ends


@dataclass(frozen=True)
class CudaCounters:
    """Since the device was opened."""

    allocations: int  # of device memory, by the driver
    page_locked_allocations: int
    held_bytes: int  # of device memory, in use or kept for later
    used_bytes: int
    page_locked_bytes: int
    waits: int  # times the host waited for the device
    launches: int  # pieces of work queued: copies, fills, engines, replays of a graph
    replays: int  # of graphs


class CudaDevice(Device):
    """GPU ``index``, at most ``limit_bytes`` of it. ``graphs=False`` launches recorded work step by step.

    ``driver`` is pycuda.driver and ``runtime`` cuda.bindings.runtime, loaded unless given. EngineError where there is no
    usable GPU; after an error of the driver that stays, every operation raises it.
    """

    host = False

    def __init__(
        self,
        index: int = 0,
        *,
        limit_bytes: int | None = None,
        graphs: bool = True,
        driver: Any = None,
        runtime: Any = None,
    ) -> None:
        self._context = CudaContext(index, driver)
        self.index, self.name = index, self._context.name
        self.facts: CudaFacts = self._context.facts
        self.stream_handle = int(self._context.stream.handle)
        self._memory = DevicePool(self._context, limit_bytes)
        self._staging = StagingPool(self._context)
        self._graphs: CudaGraphs | None = None
        if graphs and (runtime := runtime or load_runtime()):
            self._graphs = CudaGraphs(self._context, runtime)
        self._nvtx = _load_nvtx()
        self._trace: Trace | None = None  # of the recorded work that is being run
        self._launches = self._replays = 0

    @property
    def counters(self) -> CudaCounters:
        with self._context.lock:
            return CudaCounters(
                allocations=self._memory.allocations,
                page_locked_allocations=self._staging.allocations,
                held_bytes=self._memory.held_bytes,
                used_bytes=self._memory.used_bytes,
                page_locked_bytes=self._staging.held_bytes,
                waits=self._context.waits,
                launches=self._launches,
                replays=self._replays,
            )

    @property
    def free_bytes(self) -> int:
        """Of the whole GPU, now."""
        with self._context.operation():
            free, _ = self._context.driver.mem_get_info()
            return int(free)

    def reserve(self, needs: Mapping[str, int], keep_free: int = KEEP_FREE) -> None:
        """Is there room for these bytes by name? Before anything is loaded: EngineError with every item in MiB if not.
        Nothing is set aside."""
        with self._context.operation():
            self._memory.require(needs, keep_free)

    def charge(self, nbytes: int) -> None:
        """Count memory that a library took by itself (TensorRT's weights) towards ``limit_bytes``; negative when it
        gave it back."""
        with self._context.lock:
            self._memory.foreign_bytes += nbytes

    @contextmanager
    def active(self) -> Iterator[None]:
        """For what a library does on this GPU beside the stream (load, build, free): the context is current in this
        thread, no other thread is using the device, and errors of the driver leave as EngineError."""
        with self._context.operation():
            yield

    @contextmanager
    def launching(self, what: str, *tensors: Tensor) -> Iterator[int]:
        """As ``active``, for one piece of work on these tensors, to be queued on the stream whose handle this gives."""
        with self._context.operation():
            self._queue(what, *tensors)
            yield self.stream_handle

    def empty(self, shape: Sequence[int], dtype: Any) -> Tensor:
        shape, kind = tuple(int(size) for size in shape), np.dtype(dtype)
        with self._context.operation():
            self._unrecorded("allocate")
            block = self._memory.take(math.prod(shape) * kind.itemsize)
        return Tensor(self, block.address, shape, contiguous_strides(shape, kind), kind, block)

    def zero(self, target: Tensor) -> None:
        if not target.contiguous:
            raise EngineError(f"zeros for a tensor with gaps, {target.shape} at strides {target.strides}")
        with self._context.operation():
            self._queue("zero", target)
            if target.nbytes:
                self._context.driver.memset_d8_async(
                    int(target.address), 0, target.nbytes, self._context.stream
                )

    def copy(self, target: Tensor, source: Tensor) -> None:
        check_alike(target, source)
        with self._context.operation():
            self._queue("copy", target, source)
            self._move(
                int(target.address), int(source.address), _plan(target, target.strides, source.strides)
            )

    def write(self, target: Tensor, array: Array) -> None:
        check_alike(target, array)
        if target.nbytes > CHUNK:
            for half in _halves(target.shape):
                self.write(target[half], array[half])
            return
        plan = _plan(target, target.strides, contiguous_strides(target.shape, target.dtype))
        with self._context.operation():
            self._unrecorded("write from the host")
            self._queue("write", target)
            stage = self._staging.take(target.nbytes)
            _staged(stage, target.shape, target.dtype)[...] = array
            self._move(int(target.address), stage.array, plan)
            stage.event.record(self._context.stream)
            self._staging.give_back(stage, passed=False)

    def read(self, tensor: Tensor) -> CudaReading:
        plan = _plan(tensor, contiguous_strides(tensor.shape, tensor.dtype), tensor.strides)
        with self._context.operation():
            self._unrecorded("read")
            self._queue("read", tensor)
            stage = self._staging.take(tensor.nbytes)
            self._move(stage.array, int(tensor.address), plan)
            stage.event.record(self._context.stream)
        return CudaReading(self._context, self._staging, stage, tensor.shape, tensor.dtype)

    def download(self, tensor: Tensor) -> Array:
        return self.read(tensor).value()

    def record(self, work: Callable[[], None]) -> Recording:
        """See ``cuda_graph``. RecordingError, when it is run, for work that reads, writes from the host, allocates or
        waits, and for work that is on other tensors than the time before."""

        def run() -> Trace:
            self._unrecorded("run recorded work")
            self._trace = trace = Trace()
            try:
                work()
            finally:
                self._trace = None
            return trace

        return Recording(self._context, run, self._graphs, self._replayed)

    def synchronize(self) -> None:
        with self._context.operation():
            self._unrecorded("wait")
        self._context.finish()
        if self._graphs:
            with self._context.operation():
                self._graphs.destroy_discarded()

    def mark(self) -> Any:
        with self._context.operation():
            self._unrecorded("take the time")
            event = self._context.new_event(timed=True)
            event.record(self._context.stream)
        return event

    def seconds(self, start: Any, end: Any) -> float:
        self._context.wait(end)
        with self._context.operation():
            return float(end.time_since(start)) / 1e3

    def section(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self._nvtx is None else self._nvtx.annotate(name, domain="tts_trt")

    def close(self) -> None:
        with self._context.lock:
            if self._context.closed:
                return
            with self._context.ending() as answers:
                if self._graphs and answers:
                    self._graphs.close()
                self._staging.close()
                self._memory.close()
            self._context.close()

    def _replayed(self) -> None:
        self._launches += 1
        self._replays += 1

    def _queue(self, what: str, *tensors: Tensor) -> None:
        for tensor in tensors:
            if tensor.device is not self:
                raise EngineError(f"{what}: a tensor of {tensor.device.name} on {self.name}")
        if self._trace is not None:
            self._trace.add(what, tensors)
        self._launches += not self._context.capturing

    def _unrecorded(self, what: str) -> None:
        if self._trace is not None:
            raise RecordingError(
                f"recorded work may not {what}",
                hint="do it before, on tensors that the work has from the start",
            )

    def _move(self, target: int | Array, source: int | Array, plan: Sequence[Run]) -> None:
        for run in plan:
            enqueue(self._context.driver, self._context.stream, target, source, run)


class CudaReading:
    """A tensor on its way into page-locked memory."""

    def __init__(
        self,
        context: CudaContext,
        staging: StagingPool,
        stage: Stage,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._context, self._staging, self._shape, self._dtype = context, staging, shape, dtype
        self._stage: Stage | None = stage
        self._array: Array | None = None

    def value(self) -> Array:
        """The caller's own. EngineError when the device was closed or lost before."""
        if (stage := self._stage) is not None:
            self._context.wait(stage.event)
            with self._context.lock:
                self._context.check()
                self._take()
        assert self._array is not None
        return self._array

    def _take(self) -> None:
        if self._stage is None:  # another thread was first
            return
        self._array = _staged(self._stage, self._shape, self._dtype).copy()
        self._staging.give_back(self._stage, passed=True)
        self._stage = None

    def __del__(self) -> None:
        if self._stage is not None:
            self._staging.give_back(self._stage, passed=False)


def _staged(stage: Stage, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The stage's first bytes as an array in C order."""
    return stage.array[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def _plan(like: Tensor, target_strides: Sequence[int], source_strides: Sequence[int]) -> list[Run]:
    return list(runs(like.shape, target_strides, source_strides, like.dtype.itemsize))


def _halves(shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Along the first axis that has two or more."""
    axis = next(i for i, size in enumerate(shape) if size > 1)
    whole, middle = (slice(None),) * axis, shape[axis] // 2
    return (*whole, slice(None, middle)), (*whole, slice(middle, None))


def _load_nvtx() -> Any | None:
    try:
        return importlib.import_module("nvtx")
    except ImportError:
        return None
