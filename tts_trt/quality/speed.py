"""How fast a bundle is on this machine, beside what its memory bandwidth would allow.

Bundles are measured in turn, run by run, so that a busy machine slows all of them alike; medians are reported. The
ceiling of a decode step is (bytes of weights + bytes of cache read) / measured copy bandwidth.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Group, RenderableType
from rich.table import Table

from tts_trt.quality.verify import DEMO
from tts_trt.runtime.device import HOST, Device
from tts_trt.runtime.executors import AUTO
from tts_trt.runtime.request import Request
from tts_trt.runtime.synthesizer import Synthesizer

SENTENCE = DEMO[1]
COPY_BYTES = 256 * 2**20
COPIES = 2  # between two looks at the clock
STEPS_AT = (50, 200, 400)
"""Cache positions whose step times are compared: without growth they are equal."""

RECOMPUTED_ROWS = 200
"""Rows that decoding without a cache would run through the transformer again for the next code."""

Report = Callable[[str, int, int], None]


@dataclass
class Speed:
    """Seconds unless named otherwise; medians over the runs."""

    bundle: str
    audio_seconds: float
    total: float
    rtf: float
    first_audio: float
    stages: dict[str, float]
    step_ms: dict[int, float]
    recompute_ms: float
    ceiling_ms: float
    cache_mib: float
    graph_mib: float
    resident_mib: float
    load: float
    runs: list[float] = field(default_factory=list)


def copy_bandwidth(device: Device = HOST) -> float:
    """Bytes a second that copies of a large tensor within a device move, reads and writes counted; best of five."""
    source, target = (device.zeros((COPY_BYTES // 8,), np.float64) for _ in range(2))

    def copies() -> None:
        for _ in range(COPIES):
            device.copy(target, source)
        device.synchronize()

    copies()
    return 2 * COPIES * COPY_BYTES / min(_timed(copies) for _ in range(5))


def measure(
    bundles: Sequence[Path], runs: int, threads: int, device: str = AUTO, report: Report | None = None
) -> dict[str, Any]:
    """One dictionary, ready for JSON: machine, bandwidth, and a Speed per bundle."""
    opened, loads, residents = [], [], []
    for bundle in bundles:
        before, began = _resident(), time.perf_counter()
        opened.append(Synthesizer.from_bundle(bundle, threads=threads, device=device))
        opened[-1].synthesize(_request(opened[-1]))  # warm-up: memory arenas, the voice's cache
        loads.append(time.perf_counter() - began)
        residents.append((_resident() - before) / 2**20)
    try:
        samples: list[list[tuple[float, float, float, dict[str, float]]]] = [[] for _ in opened]
        for run in range(runs):
            for i, synthesizer in enumerate(opened):
                if report:
                    report(bundles[i].name, run * len(opened) + i, runs * len(opened))
                samples[i].append(_one_run(synthesizer))
        bandwidths = {s.engines.device.name: 0.0 for s in opened}
        for synthesizer in opened:
            place = synthesizer.engines.device
            bandwidths[place.name] = bandwidths[place.name] or copy_bandwidth(place)
        found = [
            asdict(_summary(b, s, runs_of, bandwidths[s.engines.device.name], load, resident))
            for b, s, runs_of, load, resident in zip(bundles, opened, samples, loads, residents, strict=True)
        ]
    finally:
        for synthesizer in opened:
            synthesizer.close()
    return {
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "threads": threads or os.cpu_count(),
        },
        "date": time.strftime("%Y-%m-%d"),
        "copy_bandwidth_gb_s": {name: bandwidth / 1e9 for name, bandwidth in bandwidths.items()},
        "sentence": SENTENCE,
        "bundles": found,
    }


def _request(synthesizer: Synthesizer) -> Request:
    return Request(SENTENCE, next(iter(synthesizer.voices)))


def _one_run(synthesizer: Synthesizer) -> tuple[float, float, float, dict[str, float]]:
    """-> total, audio seconds, time to first audio, stages."""
    began = time.perf_counter()
    result = synthesizer.synthesize(_request(synthesizer))
    total = time.perf_counter() - began
    began = time.perf_counter()
    stream = synthesizer.stream(_request(synthesizer))
    next(stream)
    first = time.perf_counter() - began
    stream.close()  # type: ignore[attr-defined]
    return total, result.seconds, first, result.timings


def _summary(
    bundle: Path,
    synthesizer: Synthesizer,
    samples: list[tuple[float, float, float, dict[str, float]]],
    bandwidth: float,
    load: float,
    resident: float,
) -> Speed:
    total = statistics.median(s[0] for s in samples)
    seconds = statistics.median(s[1] for s in samples)
    steps, recompute, cache_bytes = step_times(synthesizer)
    gpt = sum(p.stat().st_size for p in (bundle / "graphs").glob("gpt.*"))
    return Speed(
        bundle=bundle.name,
        audio_seconds=seconds,
        total=total,
        rtf=total / seconds,
        first_audio=statistics.median(s[2] for s in samples),
        stages={name: statistics.median(s[3].get(name, 0.0) for s in samples) for name in samples[0][3]},
        step_ms=steps,
        recompute_ms=recompute,
        ceiling_ms=1e3 * (gpt + cache_bytes) / bandwidth,
        cache_mib=cache_bytes / 2**20,
        graph_mib=sum(p.stat().st_size for p in (bundle / "graphs").iterdir()) / 2**20,
        resident_mib=resident,
        load=load,
        runs=[s[0] for s in samples],
    )


def step_times(synthesizer: Synthesizer, repeats: int = 12) -> tuple[dict[int, float], float, int]:
    """Median ms of a decode step of the transformer at given cache positions, ms of a step without a cache (all rows
    again), and the bytes of the cache."""
    dims = synthesizer.dims
    rows = np.zeros((1, RECOMPUTED_ROWS, dims.gpt.dim), np.float32)
    times: dict[int, float] = {}
    with synthesizer.decode_slots() as slots:

        def median_ms(work: Callable[[], object]) -> float:
            return 1e3 * statistics.median(_timed(work) for _ in range(repeats))

        def recompute() -> None:
            slots.cache.reset()
            slots.cache.append(rows, np.full(1, RECOMPUTED_ROWS, np.int64))[0].numpy()

        for position in STEPS_AT:
            times[position] = median_ms(partial(slots.step_at, position))
        return times, median_ms(recompute), slots.cache.bytes


def render(found: dict[str, Any]) -> RenderableType:
    table = Table(title=f"{found['sentence']!r}, {found['machine']['threads']} threads", title_justify="left")
    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        "RTF": lambda s: f"{s['rtf']:.2f}",
        "time to first audio": lambda s: f"{1e3 * s['first_audio']:.0f} ms",
        **{f"decode step at {p}": _step_cell(p) for p in STEPS_AT},
        f"the same without a cache, {RECOMPUTED_ROWS} rows": lambda s: f"{s['recompute_ms']:.2f} ms",
        "ceiling of a step": lambda s: f"{s['ceiling_ms']:.2f} ms",
        "cache": lambda s: f"{s['cache_mib']:.1f} MiB",
        "graphs": lambda s: f"{s['graph_mib']:.1f} MiB",
        "resident memory": lambda s: f"{s['resident_mib']:.0f} MiB",
        "loading, first run": lambda s: f"{s['load']:.2f} s",
    }
    stages = list(found["bundles"][0]["stages"])
    rows |= {f"  {stage}": _stage_cell(stage) for stage in stages}
    table.add_column("")
    for speed in found["bundles"]:
        table.add_column(speed["bundle"], justify="right")
    for name, cell in rows.items():
        table.add_row(name, *(cell(speed) for speed in found["bundles"]))
    bandwidths = (f"{name} {rate:.1f} GB/s" for name, rate in found["copy_bandwidth_gb_s"].items())
    return Group(table, f"copy bandwidth: {', '.join(bandwidths)}")


def _step_cell(position: int) -> Callable[[dict[str, Any]], str]:
    return lambda speed: f"{speed['step_ms'][position]:.2f} ms"


def _stage_cell(stage: str) -> Callable[[dict[str, Any]], str]:
    return lambda speed: f"{1e3 * speed['stages'].get(stage, 0.0):.1f} ms"


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)
