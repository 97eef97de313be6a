"""The part of cuda.bindings.runtime that captures and replays, on the streams of ``fake_driver``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from tests.runtime.fake_driver_parts import Violation

Task = Callable[[], None]


class Status(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class CaptureMode(IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


class FakeGraph:
    """A graph, or an executable one."""

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks, self.destroyed = tasks, False


class FakeRuntime:
    """``fail`` is the name of a function that fails each time it is called."""

    cudaError_t = Status
    cudaStreamCaptureMode = CaptureMode

    def __init__(self, driver: Any) -> None:
        self.driver, self.fail = driver, ""
        self.calls: list[str] = []
        self.alive: list[FakeGraph] = []
        self.last_error = Status.cudaSuccess
        self._capture: Any = None  # the stream
        self._thread, self._valid = 0, True

    def invalidate(self, stream: Any) -> bool:
        """A call came that a thread-local capture does not allow; whether there is one that it concerns."""
        if self._capture is None or (self._thread != threading.get_ident() and stream is not self._capture):
            return False
        self._valid = False
        return True

    def cudaStreamBeginCapture(self, handle: int, mode: CaptureMode) -> tuple[Status]:
        if (status := self._enter("cudaStreamBeginCapture")) == Status.cudaSuccess:
            assert mode is CaptureMode.cudaStreamCaptureModeThreadLocal
            stream = self.driver.streams[handle]
            if stream.recorded is not None:
                raise Violation("the stream is capturing already")
            stream.recorded = []
            self._capture, self._thread, self._valid = stream, threading.get_ident(), True
        return (status,)

    def cudaStreamEndCapture(self, handle: int) -> tuple[Status, FakeGraph | None]:
        status = self._enter("cudaStreamEndCapture")
        stream, self._capture = self._capture, None
        if stream is None or stream.handle != handle:
            raise Violation("no capture to end")
        tasks, stream.recorded = stream.recorded, None
        if not self._valid:
            status = self.last_error = Status.cudaErrorStreamCaptureInvalidated
        if status != Status.cudaSuccess:
            return status, None
        return status, self._made(tasks)

    def cudaGraphInstantiate(self, graph: FakeGraph, flags: int) -> tuple[Status, FakeGraph | None]:
        self._used(graph)
        assert flags == 0
        if (status := self._enter("cudaGraphInstantiate")) != Status.cudaSuccess:
            return status, None
        return status, self._made(list(graph.tasks))

    def cudaGraphLaunch(self, executable: FakeGraph, handle: int) -> tuple[Status]:
        self._used(executable)
        if (status := self._enter("cudaGraphLaunch")) == Status.cudaSuccess:
            stream = self.driver.streams[handle]
            if stream.recorded is not None:
                raise Violation("a graph is launched while its stream is capturing")
            stream.put(lambda: self._replay(executable))
        return (status,)

    def cudaGraphDestroy(self, graph: FakeGraph) -> tuple[Status]:
        return self._destroy("cudaGraphDestroy", graph)

    def cudaGraphExecDestroy(self, executable: FakeGraph) -> tuple[Status]:
        return self._destroy("cudaGraphExecDestroy", executable)

    def cudaGetLastError(self) -> tuple[Status]:
        found, self.last_error = self.last_error, Status.cudaSuccess
        return (found,)

    def cudaGetErrorString(self, status: Status) -> tuple[Status, bytes]:
        return Status.cudaSuccess, status.name.encode()

    def check_all_returned(self) -> None:
        assert not self.alive, f"{len(self.alive)} graphs are left"
        assert self._capture is None, "a capture is left open"
        assert self.last_error == Status.cudaSuccess, (
            f"an error is left for others to find: {self.last_error.name}"
        )

    def _enter(self, name: str) -> Status:
        self.driver.need_context(name)
        self.calls.append(name)
        if self.driver.lasting or self.fail == name:
            self.last_error = Status.cudaErrorMemoryAllocation
        return self.last_error

    def _made(self, tasks: list[Task]) -> FakeGraph:
        graph = FakeGraph(tasks)
        self.alive.append(graph)
        return graph

    def _used(self, graph: FakeGraph) -> None:
        if graph.destroyed:
            raise Violation("a graph is used after it was destroyed")

    def _replay(self, executable: FakeGraph) -> None:
        self._used(executable)
        for task in executable.tasks:
            task()

    def _destroy(self, name: str, graph: FakeGraph) -> tuple[Status]:
        self._used(graph)
        status = self._enter(name)
        graph.destroyed = True
        self.alive.remove(graph)
        return (status,)
