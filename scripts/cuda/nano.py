"""One bundle of nano on the GPU beside the CPU: the same requests, the same codes?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.cuda.measure import device_bytes
from scripts.cuda.runtime import ONNXRUNTIME, counted, counters, open_synthesizer
from scripts.cuda.settings import Report, Settings
from tts_trt.artifacts import load_manifest
from tts_trt.dims import ModelDims
from tts_trt.quality.distance import log_spectral_distance_db
from tts_trt.runtime.request import Request, Result
from tts_trt.runtime.sampling import SamplingParams

TEXTS = (
    "The morning train was late again.",
    "She read the letter twice and put it away.",
    "Seven ships left the harbour before dawn.",
    "Nobody knew who had painted the door.",
)
WARM_UP = 2


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    """``part``: the bundle's folder name."""
    folder = next(Path(bundle) for bundle in settings.bundles if Path(bundle).name == part)
    twin = cpu_twin(folder)
    with open_synthesizer(twin, "cpu") as cpu:
        asked = requests(cpu.dims, next(iter(cpu.voices)), settings.sizes.requests)
        expected = [cpu.synthesize(request) for request in asked]
    before, began = device_bytes(), time.perf_counter()
    with open_synthesizer(folder, "cuda") as tts:
        found: dict[str, Any] = {
            "precision": load_manifest(folder).precision,
            "against": twin.name,
            "open_seconds": time.perf_counter() - began,
            "opened_bytes": device_bytes() - before,
        }
        results = [tts.synthesize(request) for request in asked]
        found["agreement"] = summary(asked, [agreement(a, b) for a, b in zip(expected, results, strict=True)])
        report(found)
        return found | {"speed": speed(tts, asked)} | {"memory_bytes": device_bytes() - before}


def cpu_twin(folder: Path) -> Path:
    """The bundle of the same model and precision that a CPU runs; FP32 where there is none of that precision."""
    manifest = load_manifest(folder)
    if manifest.executor.name == ONNXRUNTIME:
        return folder
    model = manifest.model.name
    same = folder.parent / f"{model}-{manifest.precision}-{ONNXRUNTIME}"
    return same if same.is_dir() else folder.parent / f"{model}-fp32-{ONNXRUNTIME}"


def requests(dims: ModelDims, voice: str, count: int) -> list[Request]:
    """``count`` greedy ones, and as many sampled."""
    made = []
    for n in range(2 * count):
        sampling = SamplingParams.of(dims, seed=n, greedy=n < count)
        made.append(Request(TEXTS[n % len(TEXTS)], voice, sampling=sampling))
    return made


def agreement(expected: Result, found: Result) -> dict[str, Any]:
    """Codes up to the first difference; sound only where all codes are alike, since the noise then is, too."""
    a, b = (np.concatenate(one.codes) for one in (expected, found))
    shorter = min(len(a), len(b))
    differs = np.flatnonzero(a[:shorter] != b[:shorter])
    same = int(differs[0]) if len(differs) else shorter
    made: dict[str, Any] = {
        "codes": len(a),
        "identical": len(a) == len(b) == same,
        "same_share": same / max(len(a), 1),
        "length_ratio": len(b) / max(len(a), 1),
    }
    if made["identical"] and len(expected.wave) == len(found.wave):
        gap = np.sqrt(np.mean((expected.wave - found.wave) ** 2) / np.mean(expected.wave**2))
        made["wave_difference"] = float(gap)
        made["spectral_distance_db"] = log_spectral_distance_db(expected.wave, found.wave, found.sample_rate)
    return made


def summary(asked: Sequence[Request], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, greedy in (("greedy", True), ("sampled", False)):
        some = [f for r, f in zip(asked, found, strict=True) if r.sampling and r.sampling.greedy == greedy]
        made[name] = {
            "identical": sum(f["identical"] for f in some),
            "of": len(some),
            "same_share": statistics.mean(f["same_share"] for f in some),
            "length_ratio": statistics.mean(f["length_ratio"] for f in some),
            "each": some,
        }
    return made


def speed(tts: Any, asked: Sequence[Request]) -> dict[str, Any]:
    """Medians over the requests, after a warm-up of each; and what was counted over all of them."""
    device = tts.engines.device
    for request in asked:
        tts.synthesize(request)
        first_audio(tts, request)
    before, memory = counters(device), device_bytes()
    totals, steps, rtfs, codes = [], [], [], 0
    for request in asked:
        began = time.perf_counter()
        result = tts.synthesize(request)
        totals.append(time.perf_counter() - began)
        drawn = sum(map(len, result.codes))
        codes += drawn
        rtfs.append(totals[-1] / result.seconds)
        steps.append(1e3 * result.timings["decode"] / max(drawn, 1))
    return {
        "seconds": statistics.median(totals),
        "rtf": statistics.median(rtfs),
        "step_ms": statistics.median(steps),
        "first_audio_seconds": statistics.median(first_audio(tts, request) for request in asked),
        "codes": codes,
        "requests": len(asked),
        "counted": counted(before, counters(device)),
        "grown_bytes": device_bytes() - memory,
    }


def first_audio(tts: Any, request: Request) -> float:
    """Seconds until the first chunk."""
    began = time.perf_counter()
    stream = tts.stream(request)
    next(stream)
    took = time.perf_counter() - began
    stream.close()
    return took
