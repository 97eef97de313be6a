"""ONNX graph + contract -> TensorRT plan.

Precision is in the graph: networks are strongly typed and the builder has no precision switch. TF32 is off,
so that FP32 means FP32. The one exception is TensorRT 10's implicit INT8, see tts_trt/build/implicit.py.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tts_trt.atomic import write_atomic
from tts_trt.build.inspect import layer_census, precision_census
from tts_trt.build.network import ParsedNetwork, check_network, parse_onnx, settle_attentions
from tts_trt.build.profiles import Profile, resolve_profiles
from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec
from tts_trt.trt import Backend, Messages, Progress

# The contract already fixes these inputs as int64, and the runtime binds them so.
_INT64_NOTE = "has Int64 binding"


@dataclass(frozen=True)
class BuildConfig:
    workspace_bytes: int | None = None  # None: all device memory
    optimization_level: int | None = None  # 0 quick build .. 5 quick engine; None: the library's default, 3
    timing_cache: Path | None = None  # read and renewed where the library times kernels
    compute_capabilities: tuple[int, ...] | None = None  # SM numbers such as 89; None: the library's default
    verbose: bool = False  # keep layer names in the plan for inspection and profiling


@dataclass(frozen=True)
class PlanInfo:
    path: Path
    bytes: int
    seconds: float
    peak_rss: int  # bytes; of this process so far
    layers: dict[str, int]  # LayerType name -> count
    precisions: dict[str, int]  # precision -> compute layers
    profiles: list[Profile]
    warnings: list[str]


class Calibration(Protocol):
    """What implicit INT8 adds to a build, whose network is then weakly typed."""

    def attach(self, backend: Backend, builder: Any, options: Any) -> None:
        """Sets precision flags, calibrator and calibration profile."""

    def check(self) -> None:
        """Raises what went wrong in the library's calls to the calibrator."""


def build_plan(
    backend: Backend,
    onnx_path: Path,
    spec: GraphSpec,
    out_path: Path,
    config: BuildConfig | None = None,
    progress: Progress | None = None,
    calibration: Calibration | None = None,
) -> PlanInfo:
    """Writes ``out_path`` atomically. BuildError in the library's own words when the graph does not parse,
    does not match its contract or cannot be built, and when ``progress`` cancels; what ``progress`` or the
    calibration raises is raised."""
    started = time.monotonic()
    config = config or BuildConfig()
    profiles = resolve_profiles(spec)
    with backend.listening() as messages:
        parsed = open_network(backend, onnx_path, spec, strongly_typed=calibration is None)
        compiled = compile_network(backend, parsed, spec, config, messages, progress, calibration)
        _write(backend, compiled, out_path, config)
    return PlanInfo(
        path=out_path,
        bytes=out_path.stat().st_size,
        seconds=time.monotonic() - started,
        peak_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        layers=layer_census(parsed),
        precisions=precision_census(parsed),
        profiles=profiles,
        warnings=compiled.notes + _worth_telling(messages),
    )


@dataclass(frozen=True)
class Compiled:
    """``notes`` are on options that the library does not have."""

    plan: Any  # IHostMemory
    options: Any
    notes: list[str]


def open_network(
    backend: Backend, onnx_path: Path, spec: GraphSpec, *, strongly_typed: bool = True
) -> ParsedNetwork:
    parsed = parse_onnx(backend, onnx_path, strongly_typed=strongly_typed)
    check_network(parsed, spec)
    settle_attentions(parsed, backend)
    return parsed


def compile_network(
    backend: Backend,
    parsed: ParsedNetwork,
    spec: GraphSpec,
    config: BuildConfig,
    messages: Messages,
    progress: Progress | None = None,
    calibration: Calibration | None = None,
) -> Compiled:
    """Nothing is written. Errors as in ``build_plan``."""
    options = parsed.builder.create_builder_config()
    _apply(backend, options, config)
    _add_profiles(parsed.builder, options, spec, resolve_profiles(spec))
    notes = _load_timing_cache(backend, options, config.timing_cache)
    if calibration:
        calibration.attach(backend, parsed.builder, options)
    monitor = backend.create_monitor(progress) if progress else None
    if monitor:
        options.progress_monitor = monitor
    plan = parsed.builder.build_serialized_network(parsed.network, options)
    if calibration:
        calibration.check()
    if monitor and monitor.failure:
        raise monitor.failure
    if plan is None:
        if monitor and monitor.cancelled:
            raise BuildError(f"the build of graph {spec.name} was cancelled")
        reason = messages.reason("no reason given")
        raise BuildError(f"{backend.name} {backend.version} cannot build graph {spec.name}:\n  {reason}")
    return Compiled(plan, options, notes)


def _write(backend: Backend, compiled: Compiled, out_path: Path, config: BuildConfig) -> None:
    try:
        write_atomic(out_path, [memoryview(compiled.plan)])
        if config.timing_cache and backend.timing_cache:
            write_atomic(config.timing_cache, [memoryview(compiled.options.get_timing_cache().serialize())])
    except OSError as error:
        raise BuildError(f"cannot write {out_path}: {error.strerror}", hint="free some space") from error


def _apply(backend: Backend, options: Any, config: BuildConfig) -> None:
    trt = backend.trt
    options.clear_flag(trt.BuilderFlag.TF32)
    if config.workspace_bytes is not None:
        options.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_bytes)
    if config.optimization_level is not None:
        options.builder_optimization_level = config.optimization_level
    if config.verbose:
        options.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if config.compute_capabilities is None:
        return
    if unknown := set(config.compute_capabilities) - set(backend.targets):
        known = ", ".join(map(str, backend.targets)) or "the GPU of this machine alone"
        raise BuildError(f"{backend.name} cannot build for SM {sorted(unknown)}; it builds for {known}")
    options.num_compute_capabilities = len(config.compute_capabilities)
    for index, number in enumerate(config.compute_capabilities):
        options.set_compute_capability(trt.ComputeCapability.__members__[f"SM{number}"], index)


def _add_profiles(builder: Any, options: Any, spec: GraphSpec, profiles: list[Profile]) -> None:
    for number, profile in enumerate(profiles):
        entry = builder.create_optimization_profile()
        for tensor in spec.inputs:
            if any(isinstance(axis, str) for axis in tensor.shape):
                shapes = profile[tensor.name]
                entry.set_shape(tensor.name, shapes.min, shapes.opt, shapes.max)
        if options.add_optimization_profile(entry) < 0:
            raise BuildError(f"graph {spec.name}: the library refuses profile {number}: {profile}")


def _load_timing_cache(backend: Backend, options: Any, path: Path | None) -> list[str]:
    if path is None:
        return []
    if not backend.timing_cache:
        return [f"timing cache {path} ignored: {backend.name} compiles kernels on the user's GPU, not here"]
    stored = path.read_bytes() if path.exists() else b""
    if options.set_timing_cache(options.create_timing_cache(stored), ignore_mismatch=False):
        return []
    # Timings of another GPU or version; a fresh cache takes the file's place.
    options.set_timing_cache(options.create_timing_cache(b""), ignore_mismatch=False)
    return [f"timing cache {path} is of another GPU or version; started anew"]


def _worth_telling(messages: Messages) -> list[str]:
    return list(dict.fromkeys(text for text in messages.warnings if _INT64_NOTE not in text))
