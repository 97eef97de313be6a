"""A flow step and the vocoder at the official size, random weights: through our engines and in eager torch."""

from __future__ import annotations

import time
from typing import Any

import torch

from scripts.cuda.gpt_step import recorded
from scripts.cuda.measure import Meter, device_bytes
from scripts.cuda.prepare import specs_of
from scripts.cuda.runtime import open_device, open_engine
from scripts.cuda.settings import NO_CUDA, NotHere, Report, Settings, Sizes, has_cuda
from scripts.random_graphs import random_model
from tts_trt.errors import EngineError
from tts_trt.export.graphs import example_inputs, graph_module
from tts_trt.runtime.engine import Engine

GRAPHS = ("flow_step", "vocoder")
REPEATS = 20
WARM_UP = 3
LEAST_SECONDS = 3.0
TORCH = "torch"
MIXED = ("flow_step",)
"""Graphs that torch runs under autocast: they compute in single on the way, which plain half modules refuse."""


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    """``part``: torch:graph, or executor:graph:scheme."""
    if part.startswith(TORCH):
        return _torch(part.partition(":")[2], settings, report)
    executor, graph, scheme = part.split(":")
    sizes, spec = settings.sizes, specs_of(settings.sizes)[graph]
    with open_device() as device:
        before, began = device_bytes(), time.perf_counter()
        with open_engine(settings, executor, spec, scheme, device) as engine:
            found: dict[str, Any] = {
                "device": device.name,
                "open_seconds": time.perf_counter() - began,
                "opened_bytes": device_bytes() - before,
                "cases": [],
            }
            for batch in sizes.acoustic_batches:
                if settings.left() < LEAST_SECONDS:
                    return found | {"cut": "no time was left for more"}
                found["cases"].append(_sizes(sizes, graph, batch) | _case(engine, sizes, batch))
                report(found)
    return found


def _sizes(sizes: Sizes, graph: str, batch: int) -> dict[str, int]:
    return {"batch": batch, "frames": sizes.frames[graph]}


def _case(engine: Engine, sizes: Sizes, batch: int) -> dict[str, Any]:
    before, frames, device = device_bytes(), sizes.frames[engine.spec.name], engine.device
    axes = {"B": batch, "T": frames, "W": frames * sizes.dims.audio.hop}
    try:
        inputs = {k: device.upload(v) for k, v in example_inputs(engine.spec, axes).items()}
        outputs = {tensor.name: engine.allocate(tensor.name, axes) for tensor in engine.spec.outputs}
        again = recorded(device, engine.bind(inputs, outputs))
        for _ in range(WARM_UP):
            again()
        return {"ms": Meter.of(device).ms(again, REPEATS), "more_bytes": device_bytes() - before}
    except EngineError as error:
        return {"refusal": str(error)}


def _torch(graph: str, settings: Settings, report: Report) -> dict[str, Any]:
    cuda, sizes = has_cuda(), settings.sizes
    if not (cuda or settings.small):
        raise NotHere(NO_CUDA)
    place = torch.device("cuda" if cuda else "cpu")
    torch.set_num_threads(torch.get_num_threads() if cuda else 1)
    module = graph_module(graph, random_model(sizes.dims, graph)).half().to(place)
    meter = Meter(torch.cuda.current_stream().cuda_stream if cuda else None)
    found: dict[str, Any] = {"device": str(place), "torch": torch.__version__, "cases": []}
    with torch.inference_mode(), torch.autocast(place.type, torch.float16, enabled=graph in MIXED):
        for batch in sizes.acoustic_batches:
            if settings.left() < LEAST_SECONDS:
                return found | {"cut": "no time was left for more"}
            found["cases"].append(
                _sizes(sizes, graph, batch) | _eager(module, graph, sizes, batch, meter, place)
            )
            report(found)
    return found


def _eager(
    module: Any, graph: str, sizes: Sizes, batch: int, meter: Meter, place: torch.device
) -> dict[str, Any]:
    before = device_bytes()
    arrays = example_inputs(specs_of(sizes)[graph], {"B": batch, "T": sizes.frames[graph]})
    fed = [torch.from_numpy(array).to(place) for array in arrays.values()]
    fed = [one.half() if one.is_floating_point() else one for one in fed]
    try:
        for _ in range(WARM_UP):
            module(*fed)
        return {"ms": meter.ms(lambda: module(*fed), REPEATS), "more_bytes": device_bytes() - before}
    except torch.cuda.OutOfMemoryError as error:
        return {"refusal": str(error)}
