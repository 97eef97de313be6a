"""The one place that knows how the runtime opens devices, engines and bundles, and where it counts."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from scripts.cuda.document import read_document, result_of
from scripts.cuda.settings import NotHere, Settings, graph_file, has_cuda
from tts_trt.build.builder import build_plan
from tts_trt.runtime.device import HOST, Device, Tensor
from tts_trt.runtime.engine import Bound, Engine, Engines, Feed, Tensors
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.spec import GraphSpec
from tts_trt.trt import load_backend

ONNXRUNTIME = "onnxruntime"


def open_device() -> Device:
    """The first GPU, or the host where there is none."""
    if not has_cuda():
        return HOST
    from tts_trt.runtime.cuda import CudaDevice

    return CudaDevice(0)


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


def need_executor(settings: Settings, executor: str) -> None:
    """NotHere where the probe found that it does not run on this GPU, in the words the probe got."""
    probe = result_of(read_document(Path(settings.document)).get("sections", {}), "probe", executor)
    if executor != ONNXRUNTIME and probe and not probe.get("runs"):
        raise NotHere(f"the probe could not run {executor}: {probe.get('refusal', 'for no reason given')}")


class Unrecorded(Engine):
    """An engine whose launches are not replayed as a CUDA graph. The inner one stays its owner's."""

    def __init__(self, inner: Engine) -> None:
        self.inner, self.spec, self.float_type, self.device = (
            inner,
            inner.spec,
            inner.float_type,
            inner.device,
        )

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        return self.inner.launch(inputs, outputs)

    def bind(self, inputs: Tensors, outputs: Tensors) -> Bound:
        return _Unrecorded(self.inner.bind(inputs, outputs))

    def close(self) -> None:
        """The inner engine's owner closes it."""


class _Unrecorded:
    recordable = False

    def __init__(self, bound: Bound) -> None:
        self.launch = bound.launch


def open_pair(
    settings: Settings,
    executor: str,
    specs: dict[str, GraphSpec],
    scheme: str,
    device: Device,
    *,
    graphs: bool,
) -> Engines:
    """The code model in ``scheme`` and the sampler in half, which their owner closes."""
    made: dict[str, Engine] = {}
    for name in ("gpt", "sampler"):
        one = open_engine(
            settings, executor, specs[name], scheme if name == "gpt" else "fp16", device, graphs=graphs
        )
        made[name] = one if graphs else Unrecorded(one)
    return Engines(made)


def open_synthesizer(folder: Path, device: str, threads: int = 0) -> Any:
    from tts_trt.runtime.synthesizer import Synthesizer

    return Synthesizer.from_bundle(folder, threads=threads, device=device)


def counters(device: Device) -> dict[str, int] | None:
    """What a device has counted so far, such as allocations and waits of the host; None where it does not count."""
    found = getattr(device, "counters", None)
    if found is None:
        return None
    found = found() if callable(found) else found
    values = found if isinstance(found, dict) else vars(found)
    return {name: int(value) for name, value in values.items()}


def counted(before: dict[str, int] | None, after: dict[str, int] | None) -> dict[str, int] | None:
    """The difference."""
    if before is None or after is None:
        return None
    return {name: after[name] - before.get(name, 0) for name in after}
