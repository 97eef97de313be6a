"""Is a bundle what it says, and does it speak? Hashes, agreement with FP32, sanity of the audio it makes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.artifacts import load_manifest, verify_files
from tts_trt.errors import SynthesisError
from tts_trt.manifest import Manifest
from tts_trt.quality.forced import Teacher
from tts_trt.quality.numerics import Agreement, agreement
from tts_trt.runtime.bundle import obstacle
from tts_trt.runtime.executors import ONNXRUNTIME
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer

DEMO = (
    "Good morning, and thank you for coming.",
    "Where did the old man leave his green bag?",
    "We will walk to the river and wait for the boat.",
)
"""Sentences of the shipped voice's vocabulary; every verification speaks them."""

LEAST_RMS = 0.003  # -50 dBFS: below this a sentence was not spoken
CLIPPED = 0.999  # samples beyond this are at full scale
LEAST_TOP1 = {"fp32": 0.999, "fp16": 0.99, "int8": 0.95}
"""Of some two hundred best codes, where one is half a point and kernels differ from CPU to CPU; broken scales cost more."""

INT8_KERNELS = frozenset(
    {
        "MatMulIntegerToFloat", "MatMulNBits", "QLinearMatMul", "QGemm", "MatMulInteger", "DynamicQuantizeMatMul",
        "QLinearConv", "ConvInteger", "QLinearConvTranspose",
    }
)  # fmt: skip
"""What ONNX Runtime makes of products and convolutions that it computes from stored integers."""


@dataclass(frozen=True)
class AudioFigures:
    seconds: float
    rms: float
    peak: float
    clipped: int  # samples at full scale


def audio_figures(wave: NDArray[np.float32], sample_rate: int) -> AudioFigures:
    return AudioFigures(
        seconds=len(wave) / sample_rate,
        rms=float(np.sqrt(np.mean(wave.astype(np.float64) ** 2))) if len(wave) else 0.0,
        peak=float(np.abs(wave).max()) if len(wave) else 0.0,
        clipped=int(np.sum(np.abs(wave) >= CLIPPED)),
    )


def check_speech(wave: NDArray[np.float32], sample_rate: int, where: str) -> AudioFigures:
    """SynthesisError for audio that is empty, not finite, silent or clipped."""
    if not len(wave) or not np.isfinite(wave).all():
        raise SynthesisError(f"{where}: the audio is empty or holds NaN")
    figures = audio_figures(wave, sample_rate)
    if figures.rms < LEAST_RMS:
        raise SynthesisError(
            f"{where}: the audio is silent (RMS {figures.rms:.2g}, expected {LEAST_RMS} or more)"
        )
    if figures.clipped:
        raise SynthesisError(f"{where}: {figures.clipped} samples are clipped")
    return figures


def verify_bundle(folder: Path, baseline: Path | None = None, threads: int = 0) -> dict[str, Any]:
    """Figures of a bundle; raises BundleError for files that differ from the manifest and SynthesisError for audio
    that must not leave the program. ``baseline`` is an FP32 bundle of the same model to compare codes with."""
    manifest = load_manifest(folder)
    verify_files(folder, manifest)
    figures: dict[str, Any] = {"files": len(manifest.files)}
    if reason := obstacle(folder, manifest):
        return figures | {"executed": False, "reason": reason}
    with Synthesizer.from_bundle(folder, threads=threads) as candidate:
        figures |= {"executed": True, "audio": speak_demo(candidate)}
        if manifest.executor.name == ONNXRUNTIME and (quantised := graphs_in_int8(manifest)):
            figures["int8_kernels"] = check_int8(candidate, quantised, folder)
        if baseline is not None:
            verify_files(baseline, load_manifest(baseline))
            with Synthesizer.from_bundle(baseline, threads=threads) as reference:
                found = compare_codes(reference, candidate)
            figures["agreement"] = asdict(found)
            check_agreement(found, manifest.precision)
    return figures


def graphs_in_int8(manifest: Manifest) -> list[str]:
    """Graphs whose census names INT8 layers; all graphs of a bundle whose precision says INT8 and whose census does
    not."""
    found = [g.name for g in manifest.graphs if any(name.startswith("int8") for name in g.dtypes)]
    return found or ([g.name for g in manifest.graphs] if manifest.precision.startswith("int8") else [])


def check_int8(synthesizer: Synthesizer, graphs: list[str], where: Path) -> dict[str, int]:
    """Integer kernels that really run, by graph. SynthesisError for a bundle that has none."""
    counts = {}
    for name in graphs:
        engine = synthesizer.engines[name]
        if isinstance(engine, OrtEngine):
            counts[name] = sum(n for op, n in engine.kernels().items() if op in INT8_KERNELS)
    if not sum(counts.values()):
        raise SynthesisError(
            f"{where} claims INT8, but no product in it is computed in integers", hint="tts-trt inspect"
        )
    return counts


def speak_demo(synthesizer: Synthesizer) -> dict[str, Any]:
    voice = next(iter(synthesizer.voices))
    spoken = {}
    for text in DEMO:
        result = synthesizer.synthesize(Request(text, voice))
        spoken[text] = asdict(check_speech(result.wave, result.sample_rate, repr(text)))
    return spoken


def _one_segment(synthesizer: Synthesizer, text: str) -> str:
    """As many words of ``text`` as the model takes in one segment; all of them unless it is very small."""
    planner = Planner(synthesizer.bundle.tokenizer, synthesizer.dims, synthesizer.limits)
    words = text.split()
    while len(words) > 1 and len(planner.plan(Request(" ".join(words), "")).segments) > 1:
        words.pop()
    return " ".join(words)


def compare_codes(baseline: Synthesizer, candidate: Synthesizer, texts: tuple[str, ...] = DEMO) -> Agreement:
    """Teacher-forced agreement on codes the baseline draws, over all texts and the first voice."""
    voice, found = next(iter(baseline.voices)), []
    free, forced = Teacher(baseline.bundle), Teacher(candidate.bundle)
    for seed, text in enumerate(texts):
        # one step of the flow: only the code model is compared
        request = Request(
            _one_segment(baseline, text), voice, sampling=SamplingParams.of(baseline.dims, seed=seed), steps=1
        )
        base = free.free(request)
        found.append(agreement(base, forced.force(request, base.codes_M)))
    steps = sum(a.steps for a in found)
    return Agreement(
        steps=steps,
        top1=sum(a.top1 * a.steps for a in found) / steps,
        ties=sum(a.ties for a in found),
        kl=sum(a.kl * a.steps for a in found) / steps,
        sqnr_db=min(a.sqnr_db for a in found),
    )


def check_agreement(found: Agreement, precision: str) -> None:
    """SynthesisError for less than ``LEAST_TOP1``. Ties pass for agreement: rounding decides them, and of so few codes two would do."""
    least, agreed = LEAST_TOP1.get(precision), found.top1 + found.ties / found.steps
    if least is not None and agreed < least:
        raise SynthesisError(
            f"{precision} agrees with fp32 on {agreed:.1%} of {found.steps} best codes, expected {least:.1%} or more",
            hint="tts-trt inspect shows which nodes were lowered",
        )
