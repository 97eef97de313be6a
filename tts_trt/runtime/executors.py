"""From a verified bundle's files to engines on a device: which executor, which device, and whether there is room."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tts_trt.errors import EngineError, UsageError
from tts_trt.manifest import Manifest
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.device import HOST, Device
from tts_trt.runtime.engine import Engine, Engines
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.runtime.trt_engine import TrtEngine
from tts_trt.spec import GraphSpec
from tts_trt.trt import load_backend

AUTO, CPU = "auto", "cpu"
ONNXRUNTIME = "onnxruntime"
TENSORRT = ("tensorrt", "tensorrt-rtx")

_CUDA = re.compile(r"cuda(?::(\d+))?")

Opener = Callable[[str, GraphSpec, Device], Engine]


def open_engines(
    folder: Path, manifest: Manifest, specs: Mapping[str, GraphSpec], *, threads: int = 0, device: str = AUTO
) -> Engines:
    """The engines of a verified bundle. EngineError for an executor or a device that is not to be had here, for too
    little room on it, and for a graph that does not keep its contract; UsageError for a device nobody knows."""
    executor = manifest.executor.name
    if executor not in (ONNXRUNTIME, *TENSORRT):
        raise EngineError(
            f"{folder} is built for {executor}, which cannot run here",
            hint=f"tts-trt build --executor {ONNXRUNTIME}",
        )
    index = device_index(device, executor)
    with ExitStack() as stack:  # whatever was opened is closed again when a later step fails
        place = HOST if index is None else stack.enter_context(CudaDevice(index))
        needed = needs(manifest, specs)
        if isinstance(place, CudaDevice):
            place.reserve(needed)
        open_one = _opener(folder, manifest, threads)
        opened = {name: stack.enter_context(open_one(name, spec, place)) for name, spec in specs.items()}
        if isinstance(
            place, CudaDevice
        ):  # only an engine that is open tells what it works in; all share the largest
            spaces = [w for e in opened.values() if isinstance(e, TrtEngine) for w in e.memory.workspaces]
            place.reserve({"cache": needed["cache"], "workspace": max(spaces, default=0)})
        stack.pop_all()
    return Engines(opened, owned=place)


def device_index(device: str, executor: str) -> int | None:
    """Number of the GPU; None for the CPU. ``auto`` is the GPU for TensorRT's engines, which run nowhere else, and the
    CPU for ONNX Runtime's."""
    if device == AUTO:
        return 0 if executor in TENSORRT else None
    if device == CPU:
        if executor in TENSORRT:
            raise UsageError(
                f"engines of {executor} need a GPU, not {device}",
                hint=f"tts-trt build --executor {ONNXRUNTIME}",
            )
        return None
    if not (match := _CUDA.fullmatch(device)):
        raise UsageError(f"there is no device {device!r}, only {AUTO}, {CPU}, cuda and cuda:N")
    return int(match[1] or 0)


def needs(manifest: Manifest, specs: Mapping[str, GraphSpec]) -> dict[str, int]:
    """Bytes by name that a bundle takes on a device at the least, known before anything is loaded: weights, as large as
    the files, and the cache of the largest batch."""
    weights = sum(entry.bytes for name, entry in manifest.files.items() if name.startswith("graphs/"))
    cache = 0
    for spec in specs.values():
        for name in spec.aliases.values():
            tensor = spec.input(name)
            sizes = [axis if isinstance(axis, int) else spec.profiles[0][axis][2] for axis in tensor.shape]
            cache += math.prod(sizes) * np.dtype(tensor.resolved(manifest.float_type)).itemsize
    return {"weights": weights, "cache": cache}


def kernel_cache(plan_sha256: str, version: str, device: Device) -> Path:
    """Where a library that compiles kernels on the user's GPU keeps those of one plan: in the user's cache folder, as a
    bundle is sealed."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    where = re.sub(r"[^\w.-]+", "-", f"{version}-{device.name}")
    return base / "tts_trt" / "kernels" / where / f"{plan_sha256[:32]}.bin"


def _opener(folder: Path, manifest: Manifest, threads: int) -> Opener:
    executor = manifest.executor.name

    def path(name: str) -> Path:
        return folder / manifest.graph(name).file

    def onnxruntime(name: str, spec: GraphSpec, device: Device) -> Engine:
        return OrtEngine(path(name), spec, manifest.float_type, threads, device, graphs=True)

    def tensorrt(name: str, spec: GraphSpec, device: Device) -> Engine:
        backend = load_backend(executor)
        kernels = kernel_cache(manifest.files[manifest.graph(name).file].sha256, backend.version, device)
        return TrtEngine(path(name), spec, manifest.float_type, device, backend, runtime_cache=kernels)

    return onnxruntime if executor == ONNXRUNTIME else tensorrt
