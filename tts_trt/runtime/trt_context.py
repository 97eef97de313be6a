"""One execution context: a plan on one profile, with shapes, addresses and a workspace."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tts_trt.atomic import write_atomic
from tts_trt.errors import EngineError
from tts_trt.runtime.engine import Tensors
from tts_trt.runtime.trt_contract import Shapes
from tts_trt.runtime.trt_runtime import Arena, TrtRuntime, Workspace
from tts_trt.spec import GraphSpec

_log = logging.getLogger(__name__)


class Kernels:
    """What TensorRT-RTX has compiled for one engine on this GPU, for all its contexts, in ``path`` from process to
    process. Other libraries have no such thing, and ``apply`` does nothing there."""

    def __init__(self, config: Any, path: Path | None) -> None:
        self._path, self._stored = path, b""
        self._cache: Any = config.create_runtime_cache() if hasattr(config, "create_runtime_cache") else None
        if self._cache is not None and path and path.is_file():
            try:
                stored = path.read_bytes()
            except OSError as error:
                _log.warning("%s cannot be read, kernels are compiled anew: %s", path, error)
                return
            if self._cache.deserialize(stored):
                self._stored = stored
            else:
                _log.info("%s is of another GPU, driver or version; kernels are compiled anew", path)

    def apply(self, config: Any) -> None:
        if self._cache is not None:
            config.set_runtime_cache(self._cache)

    def close(self) -> None:
        """Once no context uses it any longer: stores what is new. A failure costs the next process the compiling, and
        this one a warning."""
        if self._cache is not None and self._path is not None:
            self._store(self._path)
        self._cache = None

    def _store(self, path: Path) -> None:
        try:
            memory = self._cache.serialize()
            compiled = bytes(memory) if memory is not None else b""
            if compiled not in (b"", self._stored):
                write_atomic(path, [compiled])
        except (OSError, RuntimeError) as error:
            _log.warning("%s cannot be written, kernels will be compiled again: %s", path, error)


class Context:
    """Everything in a turn of the device. EngineError in the library's words for whatever it refuses."""

    def __init__(self, runtime: TrtRuntime, engine: Any, config: Any, spec: GraphSpec, profile: int) -> None:
        self.name, self._spec, self._runtime, self._config = spec.name, spec, runtime, config
        self._most: int = engine.get_device_memory_size_for_profile_v2(profile)
        self._shapes: Shapes = {}
        self._results: dict[str, tuple[int, ...]] = {}
        self._need = 0
        runtime.recorder.clear()
        self._handle = engine.create_execution_context(config)
        if self._handle is None:
            raise self._failure("gives no execution context")
        self._handle.error_recorder = runtime.recorder
        if self._handle.active_optimization_profile != profile:
            # On the stream of every later execution, as it may copy.
            switched = self._handle.set_optimization_profile_async(profile, runtime.device.stream_handle)
            self._require(switched, f"cannot change to profile {profile}")

    def shape(self, inputs: Tensors) -> Mapping[str, tuple[int, ...]]:
        """For inputs of these shapes; -> the shape of every output."""
        shapes = {name: tensor.shape for name, tensor in inputs.items()}
        if shapes != self._shapes:
            self._shapes = {}
            handle = self._opened()
            self._runtime.recorder.clear()
            for tensor in self._spec.inputs:
                if any(isinstance(axis, str) for axis in tensor.shape):
                    shape = shapes[tensor.name]
                    set_ = handle.set_input_shape(tensor.name, shape)
                    self._require(set_, f"refuses shape {shape} of {tensor.name}")
            self._infer(handle)
            self._need = handle.update_device_memory_size_for_shapes()
            self._results = {t.name: tuple(handle.get_tensor_shape(t.name)) for t in self._spec.outputs}
            if unknown := [name for name, shape in self._results.items() if min(shape, default=0) < 0]:
                raise self._failure(f"does not tell the shape of {', '.join(unknown)} before it runs")
            self._shapes = shapes
        return self._results

    def _infer(self, handle: Any) -> None:
        try:
            missing = handle.infer_shapes()
        except RuntimeError as error:
            raise self._failure(f"cannot infer its shapes ({error})") from error
        self._require(not missing, f"asks for more than the shapes of its inputs: {', '.join(missing)}")

    def place(self, tensors: Tensors, arena: Arena) -> Workspace:
        """On these tensors, all inputs and outputs, at the shapes set. -> what it works in, of ``arena``; the caller
        keeps it if it queues more than once."""
        handle = self._opened()
        self._runtime.recorder.clear()
        for name, tensor in tensors.items():
            self._require(handle.set_tensor_address(name, tensor.address), f"refuses the address of {name}")
        workspace = arena.take(self._need, self._most)
        handle.set_device_memory(workspace.address, workspace.size)
        return workspace

    def queue(self, stream: int) -> None:
        """Returns at once."""
        handle = self._opened()
        self._runtime.recorder.clear()
        self._require(handle.execute_async_v3(stream), "cannot run")

    def close(self) -> None:
        """Nothing of it may be queued any more."""
        self._handle = self._config = None

    def _opened(self) -> Any:
        if self._handle is None:
            raise closed(self._spec)
        return self._handle

    def _require(self, done: bool, what: str) -> None:
        if not done:
            raise self._failure(what)

    def _failure(self, what: str) -> EngineError:
        backend = self._runtime.backend
        reason = self._runtime.recorder.reason(fallback="")
        text = f"graph {self._spec.name}: {backend.name} {backend.version} {what}"
        return EngineError(f"{text}:\n  {reason}" if reason else text)


def closed(spec: GraphSpec) -> EngineError:
    return EngineError(f"graph {spec.name} is closed", hint="open the bundle again")
