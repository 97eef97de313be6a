"""The one place that knows how the runtime opens devices, engines and bundles, and where it counts."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.cuda.settings import Settings, graph_file, has_cuda
from tts_trt.build.builder import build_plan
from tts_trt.runtime.device import HOST, Device
from tts_trt.runtime.engine import Engine, Engines
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import GraphSpec
from tts_trt.trt import load_backend

ONNXRUNTIME = "onnxruntime"


def open_device(*, graphs: bool = True) -> Device:
    """The first GPU, with or without CUDA graphs, or the host where there is none."""
    if not has_cuda():
        return HOST
    from tts_trt.runtime.cuda import CudaDevice

    return CudaDevice(0, graphs=graphs)


def open_engine(
    settings: Settings, executor: str, spec: GraphSpec, scheme: str, device: Device, *, graphs: bool = True
) -> Engine:
    """A prepared graph. A plan that is not there yet is built first."""
    path, float_type = graph_file(settings, spec.name, scheme), "float16"
    if executor == ONNXRUNTIME:
        return OrtEngine(path, spec, float_type, device=device, graphs=graphs)
    from tts_trt.runtime.trt_engine import TrtEngine

    plan = plan_of(path, executor, spec)
    return TrtEngine(plan, spec, float_type, device, load_backend(executor))


def plan_of(path: Path, executor: str, spec: GraphSpec) -> Path:
    """The plan of an ONNX file, beside it, with what building it took; made where there is none of this version."""
    backend = load_backend(executor)
    plan = path.with_name(f"{path.stem}.{executor}-{backend.version}.plan")
    if not plan.is_file():
        began = time.perf_counter()
        info = build_plan(backend, path, spec, plan)
        took = {
            "seconds": time.perf_counter() - began,
            "bytes": info.bytes,
            "precisions": info.precisions,
            "warnings": info.warnings[:10],
        }
        plan.with_suffix(".json").write_text(json.dumps(took))
    return plan


def open_pair(
    settings: Settings,
    executor: str,
    specs: dict[str, GraphSpec],
    scheme: str,
    device: Device,
    *,
    graphs: bool,
) -> Engines:
    """The code model in ``scheme`` and the sampler in half."""
    with ExitStack() as stack:
        made = {
            name: stack.enter_context(
                open_engine(settings, executor, specs[name], form, device, graphs=graphs)
            )
            for name, form in (("gpt", scheme), ("sampler", "fp16"))
        }
        stack.pop_all()
    return Engines(made)


def open_synthesizer(folder: Path, device: str, threads: int = 0) -> Any:
    from tts_trt.runtime.synthesizer import Synthesizer

    return Synthesizer.from_bundle(folder, threads=threads, device=device)


def counters(device: Device) -> dict[str, int] | None:
    """What the device has counted so far, such as allocations and waits of the host; None of a host."""
    return None if device.host else asdict(device.counters)  # type: ignore[attr-defined]


def counted(before: dict[str, int] | None, after: dict[str, int] | None) -> dict[str, int] | None:
    """The difference."""
    if before is None or after is None:
        return None
    return {name: after[name] - before.get(name, 0) for name in after}
