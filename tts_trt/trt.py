"""The TensorRT family behind one door, for building and for running: nothing else imports tensorrt or tensorrt_rtx.

TensorRT 10, TensorRT 11 and TensorRT-RTX share one API with pieces added and removed; what a library can do
is asked with hasattr, never read off its version.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tts_trt.errors import BuildError, EngineError, LibraryError

Progress = Callable[[str, int, int], bool | None]
"""(phase, steps done, steps in all) -> False to cancel."""

_MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_INSTALL = {
    "tensorrt": "pip install 'tts-trt[tensorrt11]', or 'tts-trt[tensorrt10]' for TensorRT 10",
    "tensorrt-rtx": "pip install 'tts-trt[rtx]'",
}

NEEDS_GPU = "an NVIDIA GPU and its driver; without them: tts-trt build --executor onnxruntime"

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Messages:
    """What the library said during one ``Backend.listening`` block, in its own words."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def reason(self, fallback: str) -> str:
        """The errors as one text of bounded length, for the message of an error."""
        return "\n  ".join(text.strip()[:600] for text in self.errors[:4]) or fallback


@dataclass(frozen=True)
class Backend:
    """``targets``: the SM numbers engines can be built for ahead of time; empty where a library builds for
    the GPU of this machine. ``timing_cache``: whether kernel timings are measured, and so worth keeping."""

    name: str
    version: str
    trt: Any
    logger: Any
    targets: tuple[int, ...]
    timing_cache: bool

    @contextmanager
    def listening(self) -> Iterator[Messages]:
        messages = Messages()
        self.logger.listeners.append(messages)
        try:
            yield messages
        finally:
            self.logger.listeners.remove(messages)

    def create_builder(self) -> Any:
        with self.listening() as messages:
            try:
                return self.trt.Builder(self.logger)
            except TypeError as error:  # pybind11's word for a null from the library
                raise BuildError(
                    f"{self.name} {self.version} cannot start a builder: {messages.reason(str(error))}",
                    hint="TensorRT needs a CUDA GPU to build; --executor tensorrt-rtx does not",
                ) from error

    def create_runtime(self) -> Any:
        with self.listening() as messages:
            try:
                return self.trt.Runtime(self.logger)
            except TypeError as error:
                raise EngineError(
                    f"{self.name} {self.version} cannot start: {messages.reason(str(error))}", hint=NEEDS_GPU
                ) from error

    def create_monitor(self, progress: Progress) -> Any:
        """An IProgressMonitor with ``failure``: what ``progress`` raised, to be raised again after the
        build."""
        return _monitor_class(self.trt)(progress)


@cache
def load_backend(name: str) -> Backend:
    """LibraryError when the library or its Python package is not installed here."""
    if name not in _MODULES:
        raise LibraryError(f"no such builder {name!r}; there are {', '.join(_MODULES)}")
    try:
        trt = importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise LibraryError(f"{name} cannot be loaded: {error}", hint=_INSTALL[name]) from error
    capability = getattr(trt, "ComputeCapability", None)
    members = capability.__members__ if capability else {}
    targets = sorted(int(member[2:]) for member in members if member.startswith("SM"))
    # A library with a runtime cache compiles on the user's GPU; its timing cache is an empty shell.
    timing_cache = not hasattr(trt, "IRuntimeCache")
    return Backend(name, trt.__version__, trt, _create_logger(trt), tuple(targets), timing_cache)


def _create_logger(trt: Any) -> Any:
    """The library keeps the first logger it meets for the life of the process, hence one, with listeners."""
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.INFO,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.listeners: list[Messages] = []

        def log(self, severity: Any, msg: str) -> None:
            level = levels[severity]
            # The library's errors and warnings reach the user once, through typed errors and PlanInfo.
            _log.log(min(level, logging.INFO), "%s", msg)
            for listener in list(self.listeners):
                if level == logging.ERROR:
                    listener.errors.append(msg)
                elif level == logging.WARNING:
                    listener.warnings.append(msg)

    return Logger()


@cache
def _monitor_class(trt: Any) -> type:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self, progress: Progress) -> None:
            trt.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self.cancelled = False
            self._progress = progress
            self._steps: dict[str, int] = {}
            self._lock = threading.Lock()  # the library may report from several threads

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._report(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._report(phase_name, step + 1)
            return not self.cancelled

        def phase_finish(self, phase_name: str) -> None:
            self._report(phase_name, self._steps[phase_name])

        def _report(self, phase: str, done: int) -> None:
            with self._lock:
                if self.cancelled:
                    return
                try:
                    self.cancelled = self._progress(phase, done, self._steps[phase]) is False
                except BaseException as error:  # noqa: BLE001  must not unwind through the library's C++ frames
                    self.failure, self.cancelled = error, True

    return Monitor
