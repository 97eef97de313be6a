"""A TensorRT that runs: the binding classes of one library, with a runtime, engines and contexts behind them that compute
in numpy on a WatchedDevice, from nothing but the addresses, shapes and workspace they were given.

They behave as the library's documentation says: a context starts on profile 0 without shapes, changing the profile
forgets them, the size of the workspace is known once profile and shapes are, whatever is wrong is reported and refused.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.bindings import StandIn
from tests.runtime.watched_device import ALIGNMENT, WatchedDevice
from tts_trt.spec import GraphSpec
from tts_trt.trt import Backend

Sizes = Mapping[str, int]
DTYPES = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64", "bool": "BOOL"}


@dataclass
class Plan:
    """What a plan file of the stand-in stands for. ``compute(arrays, profile)`` writes the outputs."""

    spec: GraphSpec
    compute: Callable[[Mapping[str, np.ndarray], int], None]
    workspace: Callable[[Sizes], int] = lambda sizes: 0  # bytes for these axes
    weights: int = 1000
    aliases: Mapping[str, str] | None = None  # as the spec, unless given
    dtypes: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    on_host: tuple[str, ...] = ()

    def most(self, profile: int) -> int:
        return self.workspace({axis: high for axis, (_, _, high) in self.spec.profiles[profile].items()})


def stand_in(cls: type, behind: Any) -> StandIn:
    """``behind``'s public attributes as those of ``cls``, as far as it has them."""
    has = {
        name: getattr(behind, name) for name in dir(behind) if not name.startswith("_") and hasattr(cls, name)
    }
    made = StandIn(cls, **has)
    object.__setattr__(made, "_behind", behind)
    return made


class Library:
    """The library's module with a Runtime that works. ``plans``: file content -> plan."""

    def __init__(self, trt: Any, device: WatchedDevice, plans: Mapping[bytes, Plan]) -> None:
        self._trt, self.device, self.plans = trt, device, plans
        self.contexts: list[Context] = []
        self.runtimes = self.freed = 0
        self.fail: dict[str, str] = {}  # call -> why it is refused
        self.unknown: tuple[str, ...] = ()  # outputs whose shape is not told
        self.validity: tuple[Any, int] | None = None
        self.saved = b""  # what a runtime cache holds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trt, name)

    def Runtime(self, logger: Any) -> StandIn:
        assert isinstance(logger, self._trt.ILogger)
        self.runtimes += 1
        return stand_in(self._trt.Runtime, _Runtime(self))


class _Runtime:
    error_recorder = None

    def __init__(self, library: Library) -> None:
        self._library = library
        self.engine_header_size = 64

    def get_engine_validity(self, header: bytes) -> tuple[Any, int]:
        assert len(header) == 64
        return self._library.validity or (self._library.EngineValidity.VALID, 0)

    def deserialize_cuda_engine(self, content: Any) -> StandIn | None:
        with memoryview(content) as view:
            plan = self._library.plans.get(bytes(view).rstrip())
        if plan is None:
            return None
        engine = _Engine(self._library, plan)
        made = stand_in(self._library.ICudaEngine, engine)
        engine._own = weakref.proxy(made)
        return made


class _Engine:
    error_recorder = None
    num_optimization_profiles = 0

    def __init__(self, library: Library, plan: Plan) -> None:
        self._library, self._plan, self._trt = library, plan, library._trt
        self._tensors = {t.name: t for t in (*plan.spec.inputs, *plan.spec.outputs)}
        self.num_io_tensors = len(self._tensors)
        self.num_optimization_profiles = max(1, len(plan.spec.profiles))

    def __del__(self) -> None:
        self._library.freed += 1

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        kinds = self._trt.TensorIOMode
        return kinds.INPUT if any(t.name == name for t in self._plan.spec.inputs) else kinds.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        resolved = self._tensors[name].resolved("float32")
        return getattr(self._trt.DataType, self._plan.dtypes.get(name, DTYPES[resolved]))

    def get_tensor_shape(self, name: str) -> Any:
        axes = [-1 if isinstance(axis, str) else axis for axis in self._tensors[name].shape]
        return self._trt.Dims(self._plan.shapes.get(name, axes))

    def get_tensor_location(self, name: str) -> Any:
        kinds = self._trt.TensorLocation
        return kinds.HOST if name in self._plan.on_host else kinds.DEVICE

    def get_aliased_input_tensor(self, name: str) -> str | None:
        aliases = self._plan.spec.aliases if self._plan.aliases is None else self._plan.aliases
        return aliases.get(name)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Any]:
        ranges = self._plan.spec.profiles[profile]
        axes = self._tensors[name].shape
        return [self._trt.Dims([ranges[a][i] if isinstance(a, str) else a for a in axes]) for i in range(3)]

    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return self._plan.most(profile)

    def get_engine_stat(self) -> int:
        return self._plan.weights

    def create_runtime_config(self) -> StandIn:
        return stand_in(self._trt.IRuntimeConfig, _Config(self._library))

    def create_execution_context(self, config: StandIn) -> StandIn:
        self._library.device.driver.call("cuMemAlloc", capturable=False)
        if why := self._library.fail.get("create_execution_context"):
            report = self._own.error_recorder.report_error
            report(self._library.ErrorCodeTRT.FAILED_ALLOCATION, why)
            return None
        context = Context(self._library, self._plan, config)
        self._library.contexts.append(context)
        return context.handle


class _Config:
    cuda_graph_strategy = None

    def __init__(self, library: Library) -> None:
        self._library = library
        self._cache: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        assert strategy == self._library.ExecutionContextAllocationStrategy.USER_MANAGED

    def create_runtime_cache(self) -> StandIn:
        return stand_in(self._library.IRuntimeCache, _Cache(self._library))

    def set_runtime_cache(self, cache: StandIn) -> bool:
        self._cache = cache
        return True


class _Cache:
    def __init__(self, library: Library) -> None:
        self._library = library

    def deserialize(self, blob: bytes) -> bool:
        fits = blob.startswith(b"kernels")
        self._library.saved = blob if fits else b""
        return fits

    def serialize(self) -> bytes:
        assert all(context.closed for context in self._library.contexts), "a context still compiles"
        return self._library.saved


class Context:
    """Behind an IExecutionContext. Every call comes while the calling thread has the device."""

    def __init__(self, library: Library, plan: Plan, config: StandIn) -> None:
        self.library, self.plan, self.config = library, plan, config
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.switches = self.runs = 0
        self.settled = False  # the first run of new shapes loads what cannot be loaded in a capture
        calls = ("set_optimization_profile_async set_input_shape infer_shapes update_device_memory_size_for_shapes "
                 "get_tensor_shape set_tensor_address set_device_memory execute_async_v3").split()  # fmt: skip
        own = {name: self._guarded(getattr(self, name)) for name in calls}
        self.handle_ref: Any = None
        self._handle = StandIn(library.IExecutionContext, active_optimization_profile=0, **own)

    @property
    def handle(self) -> StandIn:
        """Once: whether it is still held is seen from ``closed``."""
        handle, self._handle = self._handle, None
        self.handle_ref = weakref.ref(handle)
        return handle

    @property
    def closed(self) -> bool:
        return self.handle_ref() is None

    def _guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*args: Any) -> Any:
            assert self.library.device.mine(), f"{call.__name__} outside the device's turn"
            why = self.library.fail.get(call.__name__)
            return self._refuse(why) if why else call(*args)

        return guarded

    def _refuse(self, why: str) -> bool:
        self.handle_ref().error_recorder.report_error(self.library.ErrorCodeTRT.INVALID_ARGUMENT, why)
        return False

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream == self.library.device.stream_handle
        self.library.device.driver.call("cuMemcpyDtoDAsync")
        self.profile, self.shapes = profile, {}
        self.handle_ref()._values["active_optimization_profile"] = profile
        self.switches += 1
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        ranges = self.plan.spec.profiles[self.profile]
        for axis, size in zip(self.plan.spec.input(name).shape, shape, strict=True):
            low, _, high = ranges[axis] if isinstance(axis, str) else (axis, axis, axis)
            if not low <= size <= high:
                return self._refuse(f"{name}: {size} is not in {low}..{high} of profile {self.profile}")
        if self.shapes.get(name) != shape:
            self.shapes[name], self.settled = shape, False
        return True

    @property
    def sizes(self) -> dict[str, int]:
        pairs = [
            zip(t.shape, self.shapes[t.name], strict=True)
            for t in self.plan.spec.inputs
            if t.name in self.shapes
        ]
        return {axis: size for pair in pairs for axis, size in pair if isinstance(axis, str)}

    def infer_shapes(self) -> list[str]:
        dynamic = [t.name for t in self.plan.spec.inputs if any(isinstance(a, str) for a in t.shape)]
        return [name for name in dynamic if name not in self.shapes]

    def update_device_memory_size_for_shapes(self) -> int:
        return 0 if self.infer_shapes() else self.plan.workspace(self.sizes)

    def get_tensor_shape(self, name: str) -> Any:
        spec = self.plan.spec
        if name in self.library.unknown:
            return self.library.Dims([-1])
        axes = next(t.shape for t in (*spec.inputs, *spec.outputs) if t.name == name)
        return self.library.Dims([self.sizes.get(a, -1) if isinstance(a, str) else a for a in axes])

    def set_tensor_address(self, name: str, address: int) -> bool:
        if address % ALIGNMENT:
            return self._refuse(f"{name} is not aligned")
        self.addresses[name] = address
        return True

    def set_device_memory(self, address: int, size: int) -> None:
        if address % ALIGNMENT or size < self.update_device_memory_size_for_shapes():
            self._refuse(f"{size} bytes of workspace at {address:#x}")
            self.memory = None
            return
        self.memory = address, size

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.library.device.stream_handle
        if not self.settled:
            self.library.device.driver.call("cuModuleLoadData", capturable=False)
            self.settled = True
        spec = self.plan.spec
        names = [t.name for t in (*spec.inputs, *spec.outputs)]
        if missing := [name for name in names if name not in self.addresses]:
            return self._refuse(f"no address for {missing}")
        if self.infer_shapes() or (self.plan.most(self.profile) and not self.memory):
            return self._refuse("no shapes or no workspace")
        for output, source in spec.aliases.items():
            if self.addresses[output] != self.addresses[source]:
                return self._refuse(f"{output} is not at {source}")
        self._queue(names)
        return True

    def _queue(self, names: list[str]) -> None:
        device, spec, profile = self.library.device, self.plan.spec, self.profile
        shapes = {name: tuple(self.get_tensor_shape(name)) for name in names}
        addresses, memory = dict(self.addresses), self.memory
        dtypes = {t.name: t.resolved("float32") for t in (*spec.inputs, *spec.outputs)}

        sizes = {name: int(np.prod(shapes[name])) * np.dtype(dtypes[name]).itemsize for name in names}
        claims = {name: device.claim(addresses[name], sizes[name]) for name in names}
        claimed = device.claim(*memory) if memory else 0

        def work() -> None:
            arrays = {n: device.array(claims[n], addresses[n], shapes[n], dtypes[n]) for n in names}
            if memory:
                device.array(claimed, memory[0], (memory[1],), np.uint8)[...] = 0xAB
            self.plan.compute(arrays, profile)
            self.runs += 1

        device.driver.enqueue(device.stream_handle, work)


def backend_on(real: Backend, device: WatchedDevice, plans: Mapping[bytes, Plan]) -> tuple[Backend, Library]:
    library = Library(real.trt, device, plans)
    return dataclasses.replace(real, trt=library), library
