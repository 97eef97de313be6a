"""What this machine can build and run, and what to install for more.

Everything is read from package metadata, /proc and the driver's own library: no heavy package is imported, so a
broken one cannot break the diagnosis, and the answer comes in well under two seconds. Nothing here raises.
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

GIB = 1 << 30
PYTHONS = ((3, 11), (3, 13))  # first supported, first unsupported
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
INT8_FLAGS = {"avx512_vnni", "avx_vnni", "amx_int8"}
RTX_SM = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Compute capabilities TensorRT-RTX 1.7 has (its ComputeCapability enum); data-centre 9.0 and 10.0 are not there."""

PACKAGES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # import name, distributions that provide it, extra that installs it ("" for a core dependency)
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu"), ""),
    ("torch", ("torch",), "export"),
    ("onnx", ("onnx",), "export"),
    ("onnxscript", ("onnxscript",), "export"),
    ("safetensors", ("safetensors",), "export"),
    ("tensorrt_rtx", ("tensorrt-rtx", "tensorrt-rtx-cu13"), "rtx"),
    ("tensorrt", ("tensorrt-cu13", "tensorrt", "tensorrt-cu12", "tensorrt-cu13-bindings"), "tensorrt11"),
    ("pycuda", ("pycuda",), "cuda"),
    ("cuda", ("cuda-python", "cuda-bindings"), "cuda"),
    ("pocketsphinx", ("pocketsphinx",), "quality"),
    ("jiwer", ("jiwer",), "quality"),
    ("pystoi", ("pystoi",), "quality"),
    ("pyloudnorm", ("pyloudnorm",), "quality"),
    ("pesq", ("pesq",), "pesq"),
    ("pyworld", ("pyworld",), "quality"),
    ("fastapi", ("fastapi",), "serve"),
    ("uvicorn", ("uvicorn",), "serve"),
    ("cryptography", ("cryptography",), "sign"),
)

CUDA_TOOLS_MISSING = "builds; running needs PyCUDA and cuda-python"


@dataclass(frozen=True)
class Cpu:
    model: str
    cores: int  # this process may use
    flags: tuple[str, ...]  # those of CPU_FLAGS it has


@dataclass(frozen=True)
class Gpu:
    name: str
    sm: str  # compute capability, as in "8.9"
    memory_bytes: int


@dataclass(frozen=True)
class Package:
    name: str  # as it is imported
    version: str | None  # None: not installed
    install: str | None  # the command that installs it; None where it is installed


@dataclass(frozen=True)
class Executor:
    """``builds``: makes engines here. ``runs``: runs them here. ``note`` says on what, or why not."""

    name: str
    version: str | None
    builds: bool
    runs: bool
    note: str


@dataclass(frozen=True)
class Diagnosis:
    tts_trt: str | None
    python: str
    platform: str
    cpu: Cpu
    memory_bytes: int | None
    memory_available_bytes: int | None
    disk_free_bytes: int | None  # of the current directory's file system
    driver: str | None
    gpus: tuple[Gpu, ...]
    packages: tuple[Package, ...]
    executors: tuple[Executor, ...]
    best_executor: str | None
    advice: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def diagnose() -> Diagnosis:
    cpu = read_cpu(_text("/proc/cpuinfo"))
    memory = read_memory(_text("/proc/meminfo"))
    driver, gpus = read_gpus()
    packages = tuple(find_package(*row) for row in PACKAGES)
    cuda_provider = _has_file("onnxruntime", "capi/libonnxruntime_providers_cuda.so")
    executors = find_executors(packages, gpus, cuda_provider=cuda_provider)
    disk = _disk_free()
    return Diagnosis(
        tts_trt=_version(("tts-trt",)),
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu,
        memory_bytes=memory.get("MemTotal"),
        memory_available_bytes=memory.get("MemAvailable"),
        disk_free_bytes=disk,
        driver=driver,
        gpus=gpus,
        packages=packages,
        executors=executors,
        best_executor=next((e.name for e in executors if e.runs), None),
        advice=tuple(advise(cpu, disk, packages, executors, gpus, sys.version_info[:2])),
    )


def read_cpu(cpuinfo: str) -> Cpu:
    """From the text of /proc/cpuinfo, empty where there is none."""
    fields = [line.partition(":") for line in cpuinfo.splitlines()]
    values = {key.strip(): value.strip() for key, _, value in reversed(fields)}
    flags = set(values.get("flags", "").split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    model = values.get("model name") or platform.machine()
    return Cpu(model, cores, tuple(flag for flag in CPU_FLAGS if flag in flags))


def read_memory(meminfo: str) -> dict[str, int]:
    """Bytes by name, from the text of /proc/meminfo."""
    rows = [line.split() for line in meminfo.splitlines()]
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def read_gpus() -> tuple[str | None, tuple[Gpu, ...]]:
    """The driver's version and its GPUs, asked of libcuda; (None, ()) without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, ()
    driver = _text("/sys/module/nvidia/version").strip() or "unknown"
    count = ctypes.c_int()
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return driver, ()
    return driver, tuple(_gpu(cuda, index) for index in range(count.value))


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    name = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t()
    cuda.cuDeviceGetName(name, len(name), index)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), index)
    parts = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        part = ctypes.c_int()
        cuda.cuDeviceGetAttribute(ctypes.byref(part), attribute, index)
        parts.append(str(part.value))
    return Gpu(name.value.decode(errors="replace"), ".".join(parts), memory.value)


def find_package(name: str, distributions: Sequence[str], extra: str) -> Package:
    version = _version(distributions) if _spec(name) else None
    install = None if version else f"pip install 'tts-trt[{extra}]'" if extra else f"pip install {name}"
    return Package(name, version, install)


def find_executors(
    packages: Sequence[Package], gpus: Sequence[Gpu], *, cuda_provider: bool
) -> tuple[Executor, ...]:
    """All three executors, the one to prefer first."""
    versions = {package.name: package.version for package in packages}
    cuda_tools = bool(versions.get("pycuda") and versions.get("cuda"))
    return (
        _tensorrt(versions.get("tensorrt"), gpus, cuda_tools),
        _tensorrt_rtx(versions.get("tensorrt_rtx"), gpus, cuda_tools),
        _onnxruntime(versions.get("onnxruntime"), gpus, cuda_provider),
    )


def _tensorrt(version: str | None, gpus: Sequence[Gpu], cuda_tools: bool) -> Executor:
    builds = bool(version and gpus)
    if not version:
        note = "not installed"
    elif not gpus:
        note = "needs an NVIDIA GPU to build and to run"
    else:
        note = f"on {gpus[0].name}" if cuda_tools else CUDA_TOOLS_MISSING
    return Executor("tensorrt", version, builds, builds and cuda_tools, note)


def _tensorrt_rtx(version: str | None, gpus: Sequence[Gpu], cuda_tools: bool) -> Executor:
    fitting = [gpu for gpu in gpus if gpu.sm in RTX_SM]
    if not version:
        note = "not installed"
    elif fitting:
        note = f"on {fitting[0].name}" if cuda_tools else CUDA_TOOLS_MISSING
    elif gpus:
        note = f"builds ahead of time; cannot run on SM {gpus[0].sm}, only on {', '.join(RTX_SM)}"
    else:
        note = "builds ahead of time for RTX GPUs; running needs one"
    return Executor("tensorrt-rtx", version, bool(version), bool(version and fitting and cuda_tools), note)


def _onnxruntime(version: str | None, gpus: Sequence[Gpu], cuda_provider: bool) -> Executor:
    note = "not installed"
    if version:
        note = "CPU and CUDA providers" if cuda_provider and gpus else "CPU provider"
    return Executor("onnxruntime", version, bool(version), bool(version), note)


def advise(
    cpu: Cpu,
    disk_free: int | None,
    packages: Sequence[Package],
    executors: Sequence[Executor],
    gpus: Sequence[Gpu],
    python: tuple[int, ...],
) -> list[str]:
    """What to change for more, the most limiting first."""
    by_name = {executor.name: executor for executor in executors}
    missing = {package.name for package in packages if package.version is None}
    lines = []
    if not PYTHONS[0] <= python < PYTHONS[1]:
        lines.append("this Python is not supported: use 3.11 or 3.12")
    if not any(executor.runs for executor in executors):
        lines.append("nothing can run engines here: pip install onnxruntime")
    if disk_free is not None and disk_free < 2 * GIB:
        lines.append(f"only {disk_free / GIB:.1f} GiB of disk are free here: engines may not fit")
    if missing & {"torch", "onnx", "onnxscript", "safetensors"}:
        lines.append("models cannot be exported here: pip install 'tts-trt[export]'")
    if gpus and not any(by_name[name].runs for name in ("tensorrt", "tensorrt-rtx")):
        lines.append(f"the {gpus[0].name} is idle: {_gpu_install(by_name, gpus[0])}")
    if not gpus:
        lines.append("no NVIDIA GPU with a driver: synthesis runs on the CPU")
        if by_name["tensorrt-rtx"].version is None:
            lines.append("engines for RTX GPUs can still be built here: pip install 'tts-trt[rtx]'")
        if not INT8_FLAGS & set(cpu.flags):
            lines.append("this CPU has no INT8 dot-product instructions: INT8 saves memory but little time")
    return lines


def _gpu_install(executors: Mapping[str, Executor], gpu: Gpu) -> str:
    suitable = "tensorrt-rtx" if gpu.sm in RTX_SM else "tensorrt"
    if executors[suitable].version or executors["tensorrt"].version:
        return "pip install 'tts-trt[cuda]'"
    return f"pip install 'tts-trt[{'rtx' if suitable == 'tensorrt-rtx' else 'tensorrt11'},cuda]'"


def render(diagnosis: Diagnosis) -> RenderableType:
    """The diagnosis for a terminal."""
    machine = Table.grid(padding=(0, 2))
    for label, value in _machine_rows(diagnosis):
        machine.add_row(f"[bold]{label}", value)
    executors = Table(
        "executor", "version", "builds", "runs", "note", title="Executors", title_justify="left"
    )
    for executor in diagnosis.executors:
        name = f"[bold green]{executor.name}" if executor.name == diagnosis.best_executor else executor.name
        marks = ("yes" if executor.builds else "no", "yes" if executor.runs else "no")
        executors.add_row(name, executor.version or "-", *marks, executor.note)
    packages = Table("package", "version", "install", title="Packages", title_justify="left")
    for package in diagnosis.packages:
        install = (package.install or "").replace("[", r"\[")
        packages.add_row(package.name, package.version or "-", install)
    advice = ["- " + line.replace("[", r"\[") for line in diagnosis.advice]
    return Group(machine, "", executors, "", packages, "", *advice)


def _machine_rows(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    cpu = diagnosis.cpu
    flags = f" ({', '.join(cpu.flags)})" if cpu.flags else ""
    gpus = [f"{gpu.name}, SM {gpu.sm}, {_size(gpu.memory_bytes)}" for gpu in diagnosis.gpus]
    return [
        ("tts-trt", diagnosis.tts_trt or "not installed, run from its source tree"),
        ("Python", f"{diagnosis.python} on {diagnosis.platform}"),
        ("CPU", f"{cpu.model}, {cpu.cores} cores{flags}"),
        ("memory", f"{_size(diagnosis.memory_bytes)}, {_size(diagnosis.memory_available_bytes)} available"),
        ("disk", f"{_size(diagnosis.disk_free_bytes)} free"),
        ("GPU", "; ".join(gpus) or "none"),
        ("driver", diagnosis.driver or "none"),
        ("default", diagnosis.best_executor or "none"),
    ]


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / GIB:.1f} GiB"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _disk_free() -> int | None:
    try:
        return shutil.disk_usage(".").free
    except OSError:
        return None


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: a module put into sys.modules without a spec
        return None


def _has_file(name: str, relative: str) -> bool:
    spec = _spec(name)
    folders = spec.submodule_search_locations if spec else None
    return any((Path(folder) / relative).is_file() for folder in folders or ())


def _version(distributions: Sequence[str]) -> str | None:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
