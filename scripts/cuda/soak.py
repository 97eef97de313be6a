"""Nano speaks short texts over and over: does memory grow, do counters run away?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from scripts.cuda.measure import device_bytes, resident_bytes
from scripts.cuda.runtime import counters, open_synthesizer
from scripts.cuda.settings import GROWTH_BYTES, NotHere, Report, Settings
from tts_trt.artifacts import load_manifest
from tts_trt.errors import TtsTrtError
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams

TEXTS = ("Yes.", "Not today.", "Where is it?", "The door is open.", "Count to three, then go.")
WARM_UP = 20
SPARE_SECONDS = 5.0
SAMPLES = 10
PREFERRED = ("fp16", "fp32")


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    refused: dict[str, str] = {}
    for folder in candidates([Path(bundle) for bundle in settings.bundles]):
        try:
            tts = open_synthesizer(folder, "cuda")
        except TtsTrtError as error:
            refused[folder.name] = str(error)
            continue
        with tts:
            return soak(tts, settings, report, {"bundle": folder.name, "refused": refused})
    raise NotHere(f"no bundle of nano runs on the GPU here: {refused or 'there is none'}")


def candidates(bundles: list[Path]) -> list[Path]:
    """TensorRT's engines before ONNX Runtime's, plain precisions before the others."""
    manifests = {bundle: load_manifest(bundle) for bundle in bundles}

    def order(bundle: Path) -> tuple[bool, int]:
        precision = manifests[bundle].precision
        place = PREFERRED.index(precision) if precision in PREFERRED else len(PREFERRED)
        return manifests[bundle].executor.name == "onnxruntime", place

    return sorted(bundles, key=order)


def soak(tts: Any, settings: Settings, report: Report, head: dict[str, Any]) -> dict[str, Any]:
    """As many as asked for, or as the time allows. A sample at the start, after every tenth, and at the end."""
    wanted, voice = settings.sizes.decodes, tts.voice(next(iter(tts.voices)))
    for n in range(WARM_UP):
        tts.synthesize(_request(tts, voice, n))
    began, codes, samples = time.perf_counter(), 0, [_sample(tts, 0)]
    every = max(1, wanted // SAMPLES)
    done = 0
    while done < wanted and settings.left() > SPARE_SECONDS:
        result = tts.synthesize(_request(tts, voice, done))
        codes, done = codes + sum(map(len, result.codes)), done + 1
        if done % every == 0:
            samples.append(_sample(tts, done))
            report(head | {"decodes": done, "samples": samples})
    if samples[-1]["decodes"] != done:
        samples.append(_sample(tts, done))
    return head | {
        "decodes": done,
        "wanted": wanted,
        "codes": codes,
        "seconds": time.perf_counter() - began,
        "samples": samples,
        "growth": growth(samples),
    }


def _request(tts: Any, voice: Any, n: int) -> Request:
    sampling = SamplingParams.of(tts.dims, seed=n)
    return Request(TEXTS[n % len(TEXTS)], voice, sampling=sampling, steps=1)


def _sample(tts: Any, decodes: int) -> dict[str, Any]:
    return {
        "decodes": decodes,
        "device_bytes": device_bytes(),
        "resident_bytes": resident_bytes(),
        "counted": counters(tts.engines.device),
    }


def growth(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """From start to middle and from middle to end: what settles grows in the first half alone."""
    first, middle, last = samples[0], samples[len(samples) // 2], samples[-1]
    made: dict[str, Any] = {}
    for name in ("device_bytes", "resident_bytes"):
        halves = [middle[name] - first[name], last[name] - middle[name]]
        made[name] = {"halves": halves, "grows": halves[1] > GROWTH_BYTES}
    return made
