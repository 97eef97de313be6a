"""The stages in order, each from artefact to artefact: what `make engines` and the command line call."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tts_trt.artifacts import load_manifest
from tts_trt.build.bundle import BundlePlan, GraphSource, build_bundle
from tts_trt.errors import BuildError, BundleError, UsageError
from tts_trt.export.record import ExportRecord, export_fingerprint, is_current, read_record
from tts_trt.frontend.audio import write_wav
from tts_trt.manifest import Manifest
from tts_trt.models import ModelFolder, read_dims
from tts_trt.quality.verify import DEMO, verify_bundle
from tts_trt.runtime.bundle import EXECUTOR as RUNTIME_EXECUTOR
from tts_trt.runtime.request import Request
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import FLOAT_TYPES, Limits, graph_specs

PRECISIONS = tuple(FLOAT_TYPES)
EXPORTS = ".export"  # folder of ONNX files inside the folder of bundles

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Built:
    folder: Path
    manifest: Manifest
    fresh: bool  # built now, not found up to date

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.manifest.files.values())


def jobs() -> list[tuple[str, str]]:
    """Precision and executor of every bundle `make engines` builds: what runs here, and TensorRT-RTX plans, which are
    built ahead of time for other machines."""
    wanted = [(precision, choose_executor("auto")) for precision in PRECISIONS]
    if can_build_rtx():
        wanted += [(precision, "tensorrt-rtx") for precision in PRECISIONS]
    return wanted


def can_build_rtx() -> bool:
    return importlib.util.find_spec("tensorrt_rtx") is not None


def missing_builders() -> str | None:
    if can_build_rtx():
        return None
    return "no portable TensorRT-RTX plans were built; for them: pip install 'tts-trt[rtx]'"


def find_baseline(bundle: Path) -> Path | None:
    """The FP32 ONNX Runtime bundle of the same model beside ``bundle``."""
    found = bundle.parent / f"{load_manifest(bundle).model.name}-fp32-onnxruntime"
    return found if found != bundle and (found / "manifest.json").is_file() else None


def choose_executor(name: str) -> str:
    """``auto`` becomes the best executor the runtime has: bundles of the others can be built, not yet run."""
    return RUNTIME_EXECUTOR if name == "auto" else name


def export(folder: ModelFolder, out: Path, limits: Limits, progress: Progress | None = None) -> ExportRecord:
    """The record of an up-to-date export, made anew only where something changed; see ``export/model.py``."""
    record = read_record(out)
    if record is not None and is_current(record, export_fingerprint(folder, limits, PRECISIONS), out):
        return record
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnx") is None:
        raise BuildError("exporting needs torch and onnx", hint="pip install 'tts-trt[export]'")
    from tts_trt.export.model import export_model

    return export_model(folder, out, PRECISIONS, limits, progress)


def build(
    folder: ModelFolder,
    precision: str,
    executor: str,
    out: Path,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Built:
    """Export where needed, then build and verify one bundle under ``out``."""
    if precision not in PRECISIONS:
        raise UsageError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
    limits = limits or Limits()
    exports = out / EXPORTS / folder.name
    record = export(folder, exports, limits, progress)
    plan = _plan(folder, precision, choose_executor(executor), limits, exports, record)
    target = out / plan.name
    before = _created(target)
    baseline = out / f"{folder.name}-fp32-onnxruntime"

    def verify(made: Path) -> dict[str, Any]:
        return verify_bundle(made, baseline if (baseline / "manifest.json").is_file() else None)

    manifest = build_bundle(plan, target, verify=verify, progress=progress)
    return Built(target, manifest, before != manifest.created)


def demo(built: Built, out: Path) -> Path | None:
    """A WAV of the demo sentences by the first voice; None where the bundle cannot run here."""
    if built.manifest.executor.name != "onnxruntime":
        return None
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{built.folder.name}.wav"
    if path.is_file() and not built.fresh:
        return path
    with Synthesizer.from_bundle(built.folder) as synthesizer:
        result = synthesizer.synthesize(Request(" ".join(DEMO), next(iter(synthesizer.voices))))
    write_wav(path, result.wave, result.sample_rate)
    return path


def _created(target: Path) -> datetime | None:
    try:
        return load_manifest(target).created
    except BundleError:
        return None


def _plan(
    folder: ModelFolder, precision: str, executor: str, limits: Limits, exports: Path, record: ExportRecord
) -> BundlePlan:
    dims = read_dims(folder)
    records = record.of(precision)
    graphs = {
        name: GraphSource(spec, exports / records[name].file, records[name].census)
        for name, spec in graph_specs(dims, limits).items()
    }
    return BundlePlan(
        folder, precision, executor, dims.latents, FLOAT_TYPES[precision], limits, graphs, exports / "plans"
    )
