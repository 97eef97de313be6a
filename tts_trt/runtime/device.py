"""Where tensors live: the ``Device`` interface and the host.

The pipeline is written once, in tensors. On a CPU a tensor is host memory and every operation is done when it returns; on
a GPU operations are queued on the device's one stream, in the order in which they were asked for, and the host waits only
where it reads: ``download``, ``Reading.value`` and ``synchronize``.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import EngineError

Array = NDArray[Any]
Index = int | slice

CACHE_LINE = 64  # bytes


@dataclass(frozen=True, eq=False)
class Tensor:
    """Elements in a device's memory, at any strides (bytes). The memory lives as long as a tensor refers to it."""

    device: Device
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object  # whatever frees the memory when it is no longer referenced

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def contiguous(self) -> bool:
        """In C order without gaps."""
        step = self.dtype.itemsize
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size > 1 and stride != step:
                return False
            step *= size
        return True

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Tensor:
        """A view: integers drop their axis, slices of step 1 keep it. IndexError for an integer out of range."""
        indices = index if isinstance(index, tuple) else (index,)
        address, shape, strides = self.address, list(self.shape), list(self.strides)
        axis = 0
        for one in indices:
            size, stride = shape[axis], strides[axis]
            if isinstance(one, slice):
                first, last, step = one.indices(size)
                if step != 1:
                    raise IndexError(f"a step of {step}, expected 1")
                address += first * stride
                shape[axis] = max(0, last - first)
                axis += 1
                continue
            if not -size <= one < size:
                raise IndexError(f"index {one} is out of range for an axis of {size}")
            address += (one % size) * stride
            del shape[axis], strides[axis]
        return replace(self, address=address, shape=tuple(shape), strides=tuple(strides))

    def transpose(self, *axes: int) -> Tensor:
        """A view with its axes in this order."""
        shape = tuple(self.shape[axis] for axis in axes)
        return replace(self, shape=shape, strides=tuple(self.strides[axis] for axis in axes))

    def numpy(self) -> Array:
        """On the host: a view where the memory is the host's, else a copy that is waited for."""
        return self.device.download(self)


class Reading(Protocol):
    """A tensor on its way to the host."""

    def value(self) -> Array:
        """Waits where it must. What later operations do to the tensor does not show."""


class Device(ABC):
    """Threads may share one; what one thread queues keeps its order."""

    name: str
    host: bool
    """Memory is the host's: operations are done when they return."""

    @abstractmethod
    def empty(self, shape: Sequence[int], dtype: Any) -> Tensor:
        """Of unknown content, in C order. EngineError when there is no room."""

    @abstractmethod
    def zero(self, target: Tensor) -> None:
        """Fill a contiguous tensor with zeros."""

    @abstractmethod
    def write(self, target: Tensor, array: Array) -> None:
        """Host to device; the array may be changed on return."""

    @abstractmethod
    def copy(self, target: Tensor, source: Tensor) -> None:
        """Same shape and dtype, any strides whose last one is the element's; the two do not overlap."""

    @abstractmethod
    def download(self, tensor: Tensor) -> Array:
        """See ``Tensor.numpy``."""

    @abstractmethod
    def read(self, tensor: Tensor) -> Reading:
        """Start copying to the host."""

    @abstractmethod
    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work, on the same tensors, to be repeated often: replayed as one launch where the device can. It
        only queues: it neither reads nor allocates."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for everything queued."""

    def launching(self, what: str, *tensors: Tensor) -> AbstractContextManager[int]:
        """For a library that queues one piece of work on these tensors: it has the device to itself, and the handle of
        its stream, 0 where there is none."""
        return nullcontext(0)

    def mark(self) -> Any:
        """A point in what is queued, to measure from or to."""
        return time.perf_counter()

    def seconds(self, start: Any, end: Any) -> float:
        """Between two marks, as the device came to them; waits for the later one."""
        return float(end - start)

    def section(self, name: str) -> AbstractContextManager[None]:
        """Names the work queued inside for a profiler."""
        return nullcontext()

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Tensors of the device are void afterwards."""

    def zeros(self, shape: Sequence[int], dtype: Any) -> Tensor:
        tensor = self.empty(shape, dtype)
        self.zero(tensor)
        return tensor

    def upload(self, array: Array) -> Tensor:
        """A new tensor with the array's values."""
        tensor = self.empty(array.shape, array.dtype)
        self.write(tensor, array)
        return tensor

    def lend(self, array: Array) -> Tensor:
        """A tensor of these values that is only read, while the array stays as it is; it may be the array itself."""
        return self.upload(array)

    def put(self, target: Tensor, source: Array | Tensor) -> None:
        """``write`` or ``copy``."""
        if isinstance(source, Tensor):
            self.copy(target, source)
        else:
            self.write(target, source)

    def cloned(self, source: Tensor) -> Tensor:
        """A contiguous copy."""
        tensor = self.empty(source.shape, source.dtype)
        self.copy(tensor, source)
        return tensor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def contiguous_strides(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Bytes from element to element along each axis in C order."""
    strides = [dtype.itemsize]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides)) if shape else ()


def check_alike(target: Tensor, source: Tensor | Array) -> None:
    """EngineError unless both have one shape and dtype."""
    if (target.shape, target.dtype) != (tuple(source.shape), source.dtype):
        raise EngineError(
            f"a copy of {source.dtype} {tuple(source.shape)} into {target.dtype} {target.shape}, expected the same"
        )


class HostDevice(Device):
    """Numpy arrays."""

    name = "cpu"
    host = True

    def empty(self, shape: Sequence[int], dtype: Any) -> Tensor:
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        # numpy aligns to 16 bytes, and vector instructions are slow across the border of a cache line
        memory = np.empty(size + CACHE_LINE, np.uint8)
        first = -memory.ctypes.data % CACHE_LINE
        return self.wrap(memory[first : first + size].view(kind).reshape(tuple(shape)))

    def wrap(self, array: Array) -> Tensor:
        """A tensor in the array's own memory."""
        return Tensor(self, array.ctypes.data, array.shape, array.strides, array.dtype, array)

    def lend(self, array: Array) -> Tensor:
        return self.wrap(np.ascontiguousarray(array))

    def zero(self, target: Tensor) -> None:
        target.numpy()[...] = 0

    def write(self, target: Tensor, array: Array) -> None:
        check_alike(target, array)
        target.numpy()[...] = array

    def copy(self, target: Tensor, source: Tensor) -> None:
        check_alike(target, source)
        target.numpy()[...] = source.numpy()

    def download(self, tensor: Tensor) -> Array:
        array = tensor.owner
        if isinstance(array, np.ndarray) and (array.shape, array.strides) == (tensor.shape, tensor.strides):
            return array  # all of it: no view of the same shape begins elsewhere
        return np.asarray(_HostView(tensor))

    def read(self, tensor: Tensor) -> Reading:
        return _Read(tensor.numpy().copy())

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        return work

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """The garbage collector does it."""


HOST = HostDevice()


class _HostView:
    """Lends a tensor's memory to numpy, which keeps this and so the memory alive."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.__array_interface__ = {
            "data": (tensor.address, False),
            "shape": tensor.shape,
            "strides": tensor.strides,
            "typestr": tensor.dtype.str,
            "version": 3,
        }


@dataclass(frozen=True)
class _Read:
    array: Array

    def value(self) -> Array:
        return self.array
