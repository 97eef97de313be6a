"""CUDA graphs: work that is queued again and again on the same tensors, captured once and replayed as one launch.

    call 1, 2     the work itself: libraries set themselves up in their first runs, which cannot be captured
    call 3        captured, then launched
    call 4 ...    launched

Every call has the effect of the work, once. Where capture fails, or cuda-python is not installed, every call is the work
itself. What is recorded belongs to its tensors: addresses and shapes are compared from run to run, and the tensors live
as long as the recording.
"""

from __future__ import annotations

import gc
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tts_trt.errors import EngineError
from tts_trt.runtime.cuda_driver import CudaContext
from tts_trt.runtime.device import Tensor

log = logging.getLogger(__name__)

Work = Callable[[], None]

WARM_UP = 2


class RecordingError(EngineError):
    """Recorded work that does what cannot be recorded."""


class CaptureError(EngineError):
    """cuda-python refused a step of capture or replay."""


def load_runtime() -> Any | None:
    """cuda.bindings.runtime; None where cuda-python is not installed."""
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        log.warning("no CUDA graphs, work is launched step by step: %s (pip install 'tts-trt[cuda]')", error)
        return None
    return runtime


class CudaGraphs:
    """The graphs of one device, by number. ``runtime`` is cuda.bindings.runtime."""

    def __init__(self, context: CudaContext, runtime: Any) -> None:
        self._context, self._runtime = context, runtime
        self._stream = int(context.stream.handle)
        self._numbers = itertools.count()
        self._executables: dict[int, Any] = {}
        self._discarded: deque[int] = deque()

    def capture(self, work: Work) -> int:
        """CaptureError, or whatever ``work`` raises; the stream is usable again in either case."""
        # Thread-local, as in trtexec: what other threads do meanwhile (allocate, say) must not break this capture, and
        # what this thread does must, if it could not be replayed.
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            with self._capturing():
                work()
        except BaseException:
            self._abandon()
            raise
        graph = self._call("cudaStreamEndCapture", self._stream)
        try:
            executable = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        number = next(self._numbers)
        self._executables[number] = executable
        return number

    def launch(self, number: int) -> None:
        self._call("cudaGraphLaunch", self._executables[number], self._stream)

    def discard(self, number: int) -> None:
        """From anywhere, a finalizer too: the graph goes at the next ``destroy_discarded``."""
        self._discarded.append(number)

    def destroy_discarded(self) -> None:
        """None of them may still be running."""
        while self._discarded:
            if executable := self._executables.pop(self._discarded.popleft(), None):
                self._call("cudaGraphExecDestroy", executable)

    def close(self) -> None:
        self._discarded.extend(self._executables)
        self.destroy_discarded()

    @contextmanager
    def _capturing(self) -> Iterator[None]:
        # The collector may finalize objects of other libraries, whose calls to the driver would end the capture.
        collecting = gc.isenabled()
        gc.disable()
        self._context.capturing = True
        try:
            yield
        finally:
            self._context.capturing = False
            if collecting:
                gc.enable()

    def _abandon(self) -> None:
        _, graph = self._runtime.cudaStreamEndCapture(
            self._stream
        )  # it fails, and ends the capture all the same
        if graph is not None:
            self._call("cudaGraphDestroy", graph)
        self._runtime.cudaGetLastError()

    def _call(self, name: str, *args: Any) -> Any:
        error, *values = getattr(self._runtime, name)(*args)
        if error != self._runtime.cudaError_t.cudaSuccess:
            self._runtime.cudaGetLastError()  # else it would be found by whoever asks next, TensorRT for one
            _, text = self._runtime.cudaGetErrorString(error)
            failure = f"{name} failed: {text.decode()}"
            self._context.probe(failure)
            raise CaptureError(failure)
        return values[0] if values else None


Signature = tuple[tuple[object, ...], ...]


class Trace:
    """What a run of recorded work touched."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._steps: list[tuple[object, ...]] = []

    def add(self, what: str, tensors: tuple[Tensor, ...]) -> None:
        self.tensors += tensors
        self._steps.append((what, *((t.address, t.shape, t.strides, t.dtype) for t in tensors)))

    @property
    def signature(self) -> Signature:
        return tuple(self._steps)


class Recording:
    """Work to be repeated. ``run`` runs it plainly and says what it touched; without ``graphs`` that is all there is."""

    def __init__(
        self,
        context: CudaContext,
        run: Callable[[], Trace],
        graphs: CudaGraphs | None,
        replayed: Callable[[], None],
        warm_up: int = WARM_UP,
    ) -> None:
        self._context, self._run, self._graphs, self._replayed = context, run, graphs, replayed
        self._plain_runs = warm_up
        self._number: int | None = None
        self._trace: Trace | None = None

    def __call__(self) -> None:
        with self._context.operation():
            if self._number is None and (self._graphs is None or self._plain_runs > 0):
                self._plain_runs -= 1
                self._checked()
            else:
                self._replay()

    def _replay(self) -> None:
        assert self._graphs is not None
        if self._number is None:
            try:
                self._number = self._graphs.capture(self._checked)
            except RecordingError:
                raise
            except EngineError as error:
                log.warning("no CUDA graph, work is launched step by step: %s", error)
                self._graphs = None
                self._checked()
                return
        self._graphs.launch(self._number)
        self._replayed()

    def _checked(self) -> None:
        trace = self._run()
        if self._trace is not None and trace.signature != self._trace.signature:
            raise RecordingError("recorded work is on other tensors than before, record it anew for these")
        self._trace = trace

    def __del__(self) -> None:
        if self._graphs is not None and self._number is not None:
            self._graphs.discard(self._number)
