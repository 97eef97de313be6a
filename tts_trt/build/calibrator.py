"""The calibrator of TensorRT 10: recorded inputs of a stratified corpus in, TensorRT's calibration cache out.

The library asks in this order: read_calibration_cache; where that gives nothing it can use (none yet, or one of
another library version), get_batch until None; then write_calibration_cache. It calls through C++ frames that
no exception may cross, so what goes wrong in a callback is kept in ``failure`` and raised by ``check``
once the build has returned. TensorRT 11 and TensorRT-RTX have no calibrators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, Self

from tts_trt.build.batches import Array, BatchSource, CalibrationShape, fitted_batches
from tts_trt.build.device_memory import DeviceMemory, Layout, PyCudaMemory
from tts_trt.errors import BuildError
from tts_trt.trt import Backend

OpenMemory = Callable[[Layout], DeviceMemory]


@dataclass(frozen=True)
class CacheStore:
    """Where the calibration cache of one graph is kept. ``read`` returns None where there is none yet, and raises a
    TtsTrtError for one of another model, graph or corpus; ``write`` is atomic."""

    read: Callable[[], bytes | None]
    write: Callable[[bytes], object]


class Calibrator(Protocol):
    """What the builder needs of a StratifiedEntropyCalibrator besides its callbacks."""

    shape: CalibrationShape
    failure: BaseException | None
    batches: int  # handed to the library so far
    cache: bytes | None  # as read from the store, or as the library wrote it

    def load(self) -> None:
        """Reads the store, once. Raises what the store raises."""

    def check(self) -> None:
        """Raises ``failure``."""

    def close(self) -> None:
        """Gives back the device memory."""


class BatchFeed:
    """Neither opens ``source`` nor takes device memory before the first batch is asked for."""

    def __init__(self, source: BatchSource, shape: CalibrationShape, open_memory: OpenMemory) -> None:
        self._source, self._shape, self._open = source, shape, open_memory
        self._stack = ExitStack()
        self._pending: Iterator[dict[str, Array]] | None = None
        self._memory: DeviceMemory | None = None
        self.batches = 0

    def next(self, names: Sequence[str]) -> list[int] | None:
        """Device addresses in the order of ``names``; None after the last batch, whose memory is then given back."""
        graph, layout = self._shape.spec.name, self._shape.layout
        if sorted(names) != sorted(layout):
            raise BuildError(
                f"graph {graph}: the library asks for inputs {', '.join(names)}, expected {', '.join(layout)}"
            )
        if self._pending is None:
            self._pending = fitted_batches(self._source, self._shape)
        batch = next(self._pending, None)
        if batch is None:
            self.close()
            if not self.batches:
                raise BuildError(f"graph {graph} has no recorded inputs to calibrate with")
            return None
        if self._memory is None:
            self._memory = self._stack.enter_context(self._open(layout))
        addresses = self._memory.upload(batch)
        self.batches += 1
        return [addresses[name] for name in names]

    def close(self) -> None:
        self._stack.close()
        self._memory = None


@cache
def calibrator_class(trt: Any) -> type:
    """StratifiedEntropyCalibrator, derived from the library's own IInt8EntropyCalibrator2."""

    class StratifiedEntropyCalibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        """A Calibrator. A context manager, so that device memory is given back however calibration ends."""

        def __init__(
            self,
            source: BatchSource,
            shape: CalibrationShape,
            store: CacheStore,
            open_memory: OpenMemory = PyCudaMemory,
        ) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)  # pybind11 refuses to go on without
            self.shape = shape
            self.failure: BaseException | None = None
            self.cache: bytes | None = None
            self._store = store
            self._loaded = False
            self._feed = BatchFeed(source, shape, open_memory)

        @property
        def batches(self) -> int:
            return self._feed.batches

        def get_batch_size(self) -> int:
            return self.shape.rows

        def get_batch(self, names: Sequence[str]) -> list[int] | None:
            # After a failure the library is told "no more", and what it makes of the rest is not stored.
            if self.failure is None:
                with self._kept_from_the_library():
                    return self._feed.next(names)
            return None

        def read_calibration_cache(self) -> bytes | None:
            with self._kept_from_the_library():
                self.load()
            return self.cache

        def write_calibration_cache(self, cache: Any) -> None:
            if self.failure is None:
                with self._kept_from_the_library():
                    written = bytes(cache)  # the view is of the library's memory, gone after this call
                    self._store.write(written)
                    self.cache = written

        @contextmanager
        def _kept_from_the_library(self) -> Iterator[None]:
            try:
                yield
            except BaseException as error:  # noqa: BLE001  must not unwind through the library's C++ frames
                self.failure = error
                self._feed.close()

        def load(self) -> None:
            if not self._loaded:
                self.cache, self._loaded = self._store.read(), True

        def check(self) -> None:
            if self.failure is not None:
                raise self.failure

        def close(self) -> None:
            self._feed.close()

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *exception: object) -> None:
            self.close()

    return StratifiedEntropyCalibrator


def create_calibrator(
    backend: Backend,
    source: BatchSource,
    shape: CalibrationShape,
    store: CacheStore,
    open_memory: OpenMemory = PyCudaMemory,
) -> Any:
    """A StratifiedEntropyCalibrator. BuildError on a library without calibrators."""
    require_calibrators(backend)
    return calibrator_class(backend.trt)(source, shape, store, open_memory)


def require_calibrators(backend: Backend) -> None:
    trt = backend.trt
    if not (hasattr(trt, "IInt8EntropyCalibrator2") and hasattr(trt.IBuilderConfig, "int8_calibrator")):
        raise BuildError(
            f"{backend.name} {backend.version} has no calibrators and no implicit INT8",
            hint="INT8 as Q/DQ nodes in the graph, or TensorRT 10: pip install 'tts-trt[tensorrt10]'",
        )
