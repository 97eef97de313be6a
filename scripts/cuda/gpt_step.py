"""A decode step of the code model through our own engines: the official size with random weights, batch by batch.

gpt_ms       the transformer alone on fixed tensors, launched again and again
step_ms      chained on the device: transformer, greedy draw, state; the host looks at nothing
served_ms    as served: drawn with noise from the host, codes read back a few steps later
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scripts.cuda.document import Entry
from scripts.cuda.measure import Meter, device_bytes, resident_bytes
from scripts.cuda.prepare import reference, specs_of
from scripts.cuda.runtime import counted, counters, open_device, open_pair
from scripts.cuda.settings import Report, Settings, Sizes, graph_file
from tts_trt.errors import EngineError
from tts_trt.runtime.decode import LAG
from tts_trt.runtime.device import Device, Reading
from tts_trt.runtime.engine import Engine, Engines
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.slots import Slots

WARM_UP = 8
PREFILLS = 3
LEAST_SECONDS = 4.0  # left for one more case


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    """``part``: executor:scheme."""
    executor, _, scheme = part.partition(":")
    data = graph_file(settings, "gpt", scheme).with_suffix(".onnx.data")
    found = {"executor": executor, "scheme": scheme, "weights_bytes": data.stat().st_size, "cases": []}
    for graphs in (True, False):
        before, began = device_bytes(), time.perf_counter()
        with (
            open_device(graphs=graphs) as device,
            open_pair(settings, executor, specs_of(settings.sizes), scheme, device, graphs=graphs) as engines,
        ):
            if graphs:
                found |= {"device": device.name, "open_seconds": time.perf_counter() - began}
                found |= {"opened_bytes": device_bytes() - before}
                found["difference"] = difference(engines["gpt"], *reference(settings))
                report(found)
            if not cases(engines, settings, found, report, graphs=graphs):
                return found | {"cut": "no time was left for more"}
    return found


def cases(
    engines: Engines, settings: Settings, found: dict[str, Any], report: Report, *, graphs: bool
) -> bool:
    """Batch by batch into ``found``; whether the time was enough for all."""
    sizes = settings.sizes
    for batch in sizes.batches if graphs else sizes.plain_batches:
        if settings.left() < LEAST_SECONDS:
            return False
        found["cases"].append({"batch": batch, "graphs": graphs} | case(engines, sizes, batch))
        report(found)
    return True


def difference(gpt: Engine, rows_1SD: Any, logits_1V: Any) -> float:
    """Of the scores after a prompt from those of torch in FP32: RMS over RMS."""
    cache = KvCache(gpt, 1)
    logits, _ = cache.append(rows_1SD, np.array([rows_1SD.shape[1]]))
    return float(np.sqrt(np.mean((logits.numpy() - logits_1V) ** 2) / np.mean(logits_1V**2)))


def case(engines: Engines, sizes: Sizes, batch: int) -> Entry:
    """Times of one batch size; the reason where it does not run, such as too little memory."""
    before = device_bytes()
    try:
        return Case(engines, sizes, batch).measure() | {"more_bytes": device_bytes() - before}
    except (EngineError, torch.cuda.OutOfMemoryError) as error:
        return {"refusal": str(error)}


class Case:
    def __init__(self, engines: Engines, sizes: Sizes, batch: int) -> None:
        self.sizes, self.batch, self.device = sizes, batch, engines.device
        self.meter = Meter.of(self.device)
        self.slots = Slots(engines, sizes.dims, sizes.limits, batch)
        self.gpt = gpt = engines["gpt"]
        shape = (batch, sizes.position, sizes.dims.gpt.dim)
        rows = np.random.default_rng(1).standard_normal(shape)
        self.prompt_BSD = self.device.upload(rows.astype(gpt.dtype(gpt.spec.input("embeddings"))))
        self.lengths_B = np.full(batch, sizes.position)
        self.running = [False] * batch  # none has finished
        self.readings: deque[tuple[Reading, Reading]] = deque()

    def measure(self) -> dict[str, Any]:
        self.start(greedy=True)
        prefill = self.meter.ms(self.prefill, PREFILLS)
        chained = self.steps(self.queue)
        self.start(greedy=False)
        self.prefill()
        served = self.steps(self.serve)
        return {
            "prefill_ms": prefill,
            "step_ms": chained.pop("ms"),
            "step": chained,
            "served_ms": served.pop("ms"),
            "served": served,
            "gpt_ms": self.alone(),
            "cache_bytes": self.slots.cache.bytes,
            "cache_bytes_filled": self.slots.cache.bytes * self.sizes.position // self.slots.cache.slots,
        }

    def start(self, *, greedy: bool) -> None:
        sizes, batch = self.sizes, self.batch
        most = sizes.limits.codes_of(sizes.dims)
        params = [SamplingParams.of(sizes.dims, seed=b, greedy=greedy).forced(most) for b in range(batch)]
        self.slots.start(params, [0] * batch, self.lengths_B)
        self.readings.clear()

    def prefill(self) -> None:
        """All of the prompt; the scores of its last row are where the first draw takes them from."""
        self.slots.cache.reset()
        logits, _ = self.slots.cache.append(self.prompt_BSD, self.lengths_B)
        self.device.copy(self.slots.logits_BV, logits)

    def steps(self, step: Callable[[], None]) -> dict[str, Any]:
        """Times of one step, and what was counted and taken over all of them."""
        for _ in range(WARM_UP):
            step()
        self.device.synchronize()
        before, resident, memory = counters(self.device), resident_bytes(), device_bytes()
        began = time.perf_counter()
        ms = self.meter.ms(step, self.sizes.steps // 10, 10)
        wall, after = time.perf_counter() - began, counters(self.device)
        self.device.synchronize()
        return {
            "ms": ms,
            "wall_ms": 1e3 * wall / self.sizes.steps,
            "steps": self.sizes.steps,
            "counted": counted(before, after),
            "grown_bytes": {"resident": resident_bytes() - resident, "device": device_bytes() - memory},
        }

    def queue(self) -> None:
        self.slots.draw(self.running)

    def serve(self) -> None:
        self.readings.append(self.slots.draw(self.running))
        if len(self.readings) > (0 if self.device.host else LAG):
            for reading in self.readings.popleft():
                reading.value()

    def alone(self) -> dict[str, Any]:
        """The transformer at one position."""
        gpt, axes, cache = self.gpt, {"B": self.batch, "S": 1}, self.slots.cache.tensors
        inputs = {
            name: gpt.allocate(name, axes) for name in ("embeddings", "lengths", "pos", "start")
        } | cache
        self.device.write(inputs["lengths"], np.ones(self.batch, np.int64))
        self.device.write(inputs["pos"], np.full(self.batch, self.sizes.position))
        outputs = {out: cache[name] for out, name in gpt.spec.aliases.items()}
        outputs |= {name: gpt.allocate(name, axes) for name in ("logits", "hidden")}
        bound = gpt.bind(inputs, outputs)
        again = recorded(self.device, bound)
        for _ in range(WARM_UP):
            again()
        return self.meter.ms(again, self.sizes.steps // 10, 10)


def recorded(device: Device, bound: Any) -> Any:
    return device.record(bound.launch) if bound.recordable else bound.launch
