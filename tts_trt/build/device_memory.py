"""Where calibration batches lie on the GPU: a seam, and PyCUDA behind it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import BuildError
from tts_trt.nvidia import load_pycuda

Layout = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Input -> shape and dtype."""


class DeviceMemory(Protocol):
    """One device buffer per input for as long as the block lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def upload(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        """Input -> device address of its values, which are all there on return and stay until the next upload. The
        addresses never change."""
        ...


class PyCudaMemory:
    """Through PyCUDA, in the device's primary context, which TensorRT uses too. Per input one page-locked host buffer
    and one device buffer, taken at the start and given back at the end, also when taking one of them fails.

    ``driver`` is pycuda.driver. BuildError where PyCUDA or the memory is lacking."""

    def __init__(self, layout: Layout, device: int = 0, driver: Any = None) -> None:
        self._layout = layout
        self._device = device
        self._driver = driver
        self._stack = ExitStack()
        self._host: dict[str, Any] = {}
        self._buffers: dict[str, Any] = {}

    def __enter__(self) -> Self:
        driver = self._driver or load_pycuda()
        with ExitStack() as stack:  # undone here if any step fails, else by __exit__
            try:
                self._take(driver, stack)
            except driver.Error as error:
                wanted = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self._layout.values())
                raise BuildError(
                    f"the GPU gives no room for calibration batches of {wanted} bytes: {error}",
                    hint="a smaller calibration shape, or free GPU memory",
                ) from error
            self._stack = stack.pop_all()
        self._driver = driver
        return self

    def _take(self, driver: Any, stack: ExitStack) -> None:
        driver.init()
        # Not a context of our own: addresses are only valid in the context they were made in.
        context = driver.Device(self._device).retain_primary_context()
        context.push()
        stack.callback(driver.Context.pop)
        stack.callback(self._host.clear)
        stack.callback(self._buffers.clear)
        self._stream = driver.Stream()
        for name, (shape, dtype) in self._layout.items():
            self._host[name] = host = driver.pagelocked_empty(shape, dtype)
            stack.callback(host.base.free)
            self._buffers[name] = buffer = driver.mem_alloc(host.nbytes)
            stack.callback(buffer.free)
        # Undone first: no copy may be under way when its buffers go.
        stack.callback(self._stream.synchronize)

    def upload(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, int]:
        for name, (shape, dtype) in self._layout.items():
            if (batch[name].shape, batch[name].dtype) != (shape, dtype):
                raise BuildError(
                    f"input {name} is {batch[name].dtype} {batch[name].shape}, its buffer {dtype} {shape}"
                )
            self._host[name][...] = batch[name]
        try:
            for name, buffer in self._buffers.items():
                self._driver.memcpy_htod_async(buffer, self._host[name], self._stream)
            self._stream.synchronize()  # the library reads on a stream of its own
        except self._driver.Error as error:
            raise BuildError(f"a calibration batch cannot be copied to the GPU: {error}") from error
        return {name: int(buffer) for name, buffer in self._buffers.items()}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
