"""Memory of a GPU and page-locked memory of the host, taken once and used again.

Both are served in classes of sizes, eight to each doubling, so that the same work finds the same memory a second time.
Device memory may be used again as soon as it is given back: all work is on one stream, in order. Page-locked memory is
also touched by the host, and is used again once the event after its last copy has passed.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tts_trt.errors import EngineError
from tts_trt.runtime.cuda_driver import CudaContext, mebibytes
from tts_trt.runtime.device import Array

ALIGNMENT = 256  # bytes; what TensorRT asks of an address
SMALLEST_STAGE = 4096  # bytes
STAGING_LIMIT = 64 << 20  # bytes of page-locked memory before a write waits for an earlier one


def size_class(nbytes: int) -> int:
    """The bytes taken for ``nbytes``: at most an eighth more, or the alignment."""
    step = max(ALIGNMENT, 1 << max(0, (nbytes - 1).bit_length() - 4))
    return max(1, -(-nbytes // step)) * step


class Block:
    """Device memory that goes back to its pool when nothing refers to it any longer."""

    def __init__(self, address: int, size: int, returned: deque[tuple[int, int]]) -> None:
        self.address, self.size, self._returned = address, size, returned

    def __del__(self) -> None:
        # A finalizer runs anywhere: in any thread, inside a capture, after the end. It makes no call to the driver.
        self._returned.append((self.size, self.address))


class DevicePool:
    """Serves one device, under its lock."""

    def __init__(self, context: CudaContext, limit_bytes: int | None) -> None:
        self._context, self._driver, self._limit = context, context.driver, limit_bytes
        self._taken: dict[int, Any] = {}  # address -> the driver's allocation
        self._idle: defaultdict[int, list[int]] = defaultdict(list)  # size -> addresses
        self._returned: deque[tuple[int, int]] = deque()
        self.held_bytes = 0
        self.foreign_bytes = 0  # taken by libraries beside the pool
        self.allocations = 0

    def take(self, nbytes: int) -> Block:
        """EngineError, in MiB, when there is no room."""
        size = size_class(nbytes)
        self._sort()
        address = self._idle[size].pop() if self._idle[size] else self._allocate(size)
        return Block(address, size, self._returned)

    @property
    def idle_bytes(self) -> int:
        self._sort()
        return sum(size * len(addresses) for size, addresses in self._idle.items())

    @property
    def used_bytes(self) -> int:
        return self.held_bytes - self.idle_bytes

    def available(self) -> int:
        """Bytes that can be had: the GPU's free memory and what the pool keeps idle, within the limit."""
        free, _ = self._driver.mem_get_info()
        available = int(free) + self.idle_bytes
        if self._limit is not None:
            available = min(available, self._limit - self.used_bytes - self.foreign_bytes)
        return max(0, available)

    def require(self, needs: Mapping[str, int], keep_free: int) -> None:
        """EngineError with every item in MiB unless all of ``needs`` fit and ``keep_free`` bytes stay."""
        wanted, available = sum(needs.values()), self.available()
        if wanted + keep_free <= available:
            if wanted + keep_free > int(self._driver.mem_get_info()[0]):
                self._trim()  # libraries cannot take what the pool keeps idle
            return
        items = ", ".join(f"{name} {mebibytes(size)}" for name, size in needs.items())
        raise EngineError(
            f"{self._context.name} has room for {mebibytes(max(0, available - keep_free))} MiB, "
            f"{mebibytes(wanted)} MiB are needed: {items}; {self._state()}, {mebibytes(keep_free)} MiB are kept free",
            hint="a smaller batch, a lower precision, a GPU with more memory, or end what else runs on it",
        )

    def close(self) -> None:
        """Free everything, what is in use too."""
        for allocation in self._taken.values():
            allocation.free()
        self._taken.clear()
        self._idle.clear()
        self.held_bytes = 0

    def _sort(self) -> None:
        while self._returned:
            size, address = self._returned.popleft()
            self._idle[size].append(address)

    def _allocate(self, size: int) -> int:
        if self._limit is not None and self.held_bytes + self.foreign_bytes + size > self._limit:
            self._trim()
            if self.held_bytes + self.foreign_bytes + size > self._limit:
                raise self._no_room(size)
        try:
            allocation = self._driver.mem_alloc(size)
        except self._driver.MemoryError:
            self._trim()
            try:
                allocation = self._driver.mem_alloc(size)
            except self._driver.MemoryError as error:
                raise self._no_room(size) from error
        address = int(allocation)
        self._taken[address] = allocation
        self.held_bytes += size
        self.allocations += 1
        return address

    def _trim(self) -> None:
        self._context.finish()  # nothing queued may still use what is freed
        for size, addresses in self._idle.items():
            for address in addresses:
                self._taken.pop(address).free()
                self.held_bytes -= size
        self._idle.clear()

    def _no_room(self, size: int) -> EngineError:
        return EngineError(
            f"{self._context.name} has no room for {mebibytes(size)} MiB: {self._state()}",
            hint="a smaller batch or a lower precision, or end what else runs on the GPU",
        )

    def _state(self) -> str:
        free, total = self._driver.mem_get_info()
        text = f"{mebibytes(free)} of {mebibytes(total)} MiB are free"
        used = self.used_bytes + self.foreign_bytes
        if self._limit is not None:
            return (
                f"{text}, {mebibytes(used)} of this process's limit of {mebibytes(self._limit)} MiB are used"
            )
        return f"{text}, {mebibytes(used)} MiB are used here"


@dataclass(eq=False)
class Stage:
    """Page-locked bytes and the event that passes after the last copy from or to them."""

    array: Array
    event: Any


class StagingPool:
    """Serves one device, under its lock. ``give_back`` alone may be called from anywhere."""

    def __init__(self, context: CudaContext) -> None:
        self._context, self._driver = context, context.driver
        self._idle: defaultdict[int, list[Stage]] = defaultdict(list)
        self._in_flight: deque[Stage] = deque()
        self._passed: deque[Stage] = deque()
        self._all: list[Stage] = []
        self.held_bytes = 0
        self.allocations = 0

    def take(self, nbytes: int) -> Stage:
        """Waits only when more than STAGING_LIMIT is on its way."""
        size = size_class(max(nbytes, SMALLEST_STAGE))
        self._sort()
        while not self._idle[size] and self._in_flight and self.held_bytes + size > STAGING_LIMIT:
            self._context.wait(self._in_flight[0].event)
            self._sort()
        if self._idle[size]:
            return self._idle[size].pop()
        if self.held_bytes + size > STAGING_LIMIT:
            self._trim()
        stage = Stage(self._driver.pagelocked_empty(size, "u1"), self._context.new_event())
        self._all.append(stage)
        self.held_bytes += size
        self.allocations += 1
        return stage

    def give_back(self, stage: Stage, *, passed: bool) -> None:
        """``passed``: its event has been waited for."""
        (self._passed if passed else self._in_flight).append(stage)

    def close(self) -> None:
        """Nothing may be on its way any longer."""
        for stage in self._all:
            _free(stage)
            stage.event = None  # destroyed while its context is there, whoever holds the stage
        self._all.clear()
        self._idle.clear()
        self._in_flight.clear()
        self._passed.clear()
        self.held_bytes = 0

    def _sort(self) -> None:
        for stage in self._back():
            self._idle[len(stage.array)].append(stage)

    def _back(self) -> Iterator[Stage]:
        while self._passed:
            yield self._passed.popleft()
        while self._in_flight and self._in_flight[0].event.query():
            yield self._in_flight.popleft()

    def _trim(self) -> None:
        for stages in self._idle.values():
            for stage in stages:
                self._all.remove(stage)
                self.held_bytes -= len(stage.array)
                _free(stage)
        self._idle.clear()


def _free(stage: Stage) -> None:
    host: Any = stage.array.base
    host.free()
