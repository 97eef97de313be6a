"""Plans of TensorRT 10, TensorRT 11 and TensorRT-RTX on a CUDA device.

Ad-hoc launches have one execution context per profile, all in one workspace. A bound graph has a context of its own,
whose addresses are set once, so that launching it is one call. TensorRT's may then be captured as part of a CUDA graph.
TensorRT-RTX is left to capture for itself: it replaces a fallback kernel by one for the shape in use whenever that has
been compiled, and knows when that is; whoever captures from outside may keep the slow one for good, and may only do so
with a plan that was built to leave all memory to the user.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from tts_trt.errors import EngineError
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.device import Array, Device, Tensor
from tts_trt.runtime.engine import Engine, Feed, Tensors
from tts_trt.runtime.trt_context import Context, Kernels, closed
from tts_trt.runtime.trt_contract import mismatches, profile_for
from tts_trt.runtime.trt_errors import rebuild
from tts_trt.runtime.trt_runtime import ALIGNMENT, TrtRuntime, Workspace, hold
from tts_trt.spec import GraphSpec
from tts_trt.trt import Backend


@dataclass(frozen=True)
class PlanMemory:
    """Bytes on the device: ``weights`` as long as the engine is open, and one of ``workspaces``, which engines share: per
    profile what its largest shapes take."""

    weights: int
    workspaces: tuple[int, ...] = ()

    @property
    def most(self) -> int:
        return self.weights + max(self.workspaces, default=0)

    @classmethod
    def of_file(cls, plan: Path) -> Self:
        """What can be known before it is opened: its file is weights for the most part. Workspaces cannot be."""
        return cls(plan.stat().st_size)


class TrtEngine(Engine):
    """The plan is trusted: it holds native code, so its hash is checked before it comes here.

    ``device`` is a CudaDevice: its memory begins at multiples of ALIGNMENT, and goes back in the order of its stream.
    ``runtime_cache``: where TensorRT-RTX keeps what it compiles for this GPU; nothing to the others.
    """

    def __init__(
        self,
        plan: Path,
        spec: GraphSpec,
        float_type: str,
        device: Device,
        backend: Backend,
        *,
        runtime_cache: Path | None = None,
    ) -> None:
        self.spec, self.float_type, self.device, self.path = spec, float_type, device, plan
        self._engine: Any = None
        with ExitStack() as stack:
            runtime = hold(backend, device)
            stack.callback(runtime.release)
            with runtime.device.active():
                self._engine = runtime.load(plan)
                if wrong := list(mismatches(backend.trt, self._engine, spec, float_type)):
                    self._engine = None  # here and now, in its context
                    raise EngineError(f"{plan}: " + "; ".join(wrong), hint=rebuild(backend))
                self._weights: int = self._engine.get_engine_stat()
                self._kernels = Kernels(self._engine.create_runtime_config(), runtime_cache)
            runtime.device.charge(self._weights)
            stack.pop_all()
        self._runtime: TrtRuntime | None = runtime
        self._contexts: list[Context] = []  # all there are, to be closed before the engine
        self._launching: dict[int, Context] = {}  # profile -> the context of its ad-hoc launches
        # Profile -> contexts of bound graphs that are gone, which may be queued still: not destroyed, but used again.
        self._free: defaultdict[int, deque[Context]] = defaultdict(deque)

    @property
    def memory(self) -> PlanMemory:
        """EngineError once closed."""
        with self._turn():
            profiles = range(self._engine.num_optimization_profiles)
            size_of = self._engine.get_device_memory_size_for_profile_v2
            return PlanMemory(self._weights, tuple(size_of(profile) for profile in profiles))

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        fed = {name: self._settled(tensor) for name, tensor in self.fed(inputs).items()}
        placed = self.given(outputs, fed)
        in_place = {name: inputs[name] for name in self.spec.aliases.values()}
        for name, tensor in (in_place | placed).items():
            self._check_place(name, tensor)
        profile = profile_for(self.spec, {name: tensor.shape for name, tensor in fed.items()})
        with self._turn() as runtime:
            context = self._launching.get(profile)
            if context is None:
                context = self._launching[profile] = self._create_context(runtime, profile, graphs=False)
            for name, shape in context.shape(fed).items():
                if name not in placed:
                    placed[name] = self.device.empty(shape, self.dtype(self.spec.output(name)))
                self._check_shape(name, placed[name], shape)
            context.place(fed | placed, runtime.launches)
            with runtime.device.launching(self.spec.name, *fed.values(), *placed.values()) as stream:
                context.queue(stream)
        return placed

    def bind(self, inputs: Tensors, outputs: Tensors) -> _TrtBound:
        fed, placed = self.bindings(inputs, outputs)
        for name, tensor in (*inputs.items(), *placed.items()):
            self._check_place(name, tensor)
        profile = profile_for(self.spec, {name: tensor.shape for name, tensor in fed.items()})
        with self._turn() as runtime:
            free = self._free[profile]
            context = free.popleft() if free else self._create_context(runtime, profile, graphs=True)
            try:
                for name, shape in context.shape(fed).items():
                    self._check_shape(name, placed[name], shape)
                workspace = context.place(fed | placed, runtime.bound)
            except EngineError:
                free.append(context)
                raise
            bound = _TrtBound(runtime, context, (*fed.values(), *placed.values()), workspace)
        weakref.finalize(bound, free.append, context).atexit = False
        return bound

    def close(self) -> None:
        if self._runtime is None:
            return
        runtime, self._runtime = self._runtime, None
        with ExitStack() as stack:
            stack.callback(runtime.release)
            stack.callback(runtime.device.charge, -self._weights)
            stack.callback(self._drop)  # where the device is lost, which grants no turn
            stack.enter_context(runtime.device.active())
            stack.callback(self._drop)
            self.device.synchronize()  # no context may go while it is in use

    def _drop(self) -> None:
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self._launching.clear()
        self._free.clear()
        self._engine = None
        self._kernels.close()

    @contextmanager
    def _turn(self) -> Iterator[TrtRuntime]:
        """One thread at a time, with the device's context current. EngineError once closed."""
        with cast(CudaDevice, self.device).active():
            if self._runtime is None:
                raise closed(self.spec)
            yield self._runtime

    def _create_context(self, runtime: TrtRuntime, profile: int, *, graphs: bool) -> Context:
        trt, config = runtime.backend.trt, self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if graphs and hasattr(config, "cuda_graph_strategy"):
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._kernels.apply(config)
        context = Context(runtime, self._engine, config, self.spec, profile)
        self._contexts.append(context)
        return context

    def _settled(self, tensor: Tensor) -> Tensor:
        """Where the library can read it: a row of something larger may begin anywhere."""
        return self.device.cloned(tensor) if tensor.address % ALIGNMENT else tensor

    def _check_place(self, name: str, value: Array | Tensor) -> None:
        """EngineError for a tensor that is to be written, or read again and again, where it lies, and cannot be."""
        if isinstance(value, Tensor) and (value.address % ALIGNMENT or not value.contiguous):
            raise EngineError(
                f"graph {self.spec.name}: {name} lies at {value.address:#x} with strides {value.strides}, expected a "
                f"contiguous tensor at a multiple of {ALIGNMENT} bytes"
            )

    def _check_shape(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tensor.shape != shape:
            raise EngineError(
                f"graph {self.spec.name}: output {name} is to go to {tensor.shape}, it has shape {shape}"
            )


class _TrtBound:
    """A context with everything set. The library keeps neither tensors nor workspace alive, so this does."""

    def __init__(
        self, runtime: TrtRuntime, context: Context, tensors: tuple[Tensor, ...], workspace: Workspace
    ) -> None:
        self._device, self._context, self._tensors, self._workspace = (
            runtime.device,
            context,
            tensors,
            workspace,
        )
        self.recordable = not hasattr(runtime.backend.trt, "CudaGraphStrategy")

    def launch(self) -> None:
        with self._device.launching(self._context.name, *self._tensors) as stream:
            self._context.queue(stream)
