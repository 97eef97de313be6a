"""The stages in order, each from artefact to artefact: what `make engines` and the command line call."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tts_trt.artifacts import load_manifest, sha256_file
from tts_trt.build.bundle import BundlePlan, GraphSource, build_bundle
from tts_trt.doctor import diagnose
from tts_trt.errors import BuildError, BundleError, UsageError
from tts_trt.export.record import ExportRecord, GraphRecord, export_fingerprint, is_current, read_record
from tts_trt.frontend.audio import write_wav
from tts_trt.manifest import Manifest, RecipeRef
from tts_trt.models import ModelFolder
from tts_trt.quality.verify import DEMO, verify_bundle
from tts_trt.runtime.bundle import obstacle
from tts_trt.runtime.executors import ONNXRUNTIME
from tts_trt.runtime.request import Request
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import FLOAT_TYPES, Limits, graph_specs

if TYPE_CHECKING:
    from tts_trt.quant.calibration import Calibration

PRECISIONS = tuple(FLOAT_TYPES)
INT8 = "int8"
"""The recipe of every model: its own where it has one, else the one that ships."""
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
    """Precision and executor of every bundle `make engines` builds: those of ONNX Runtime, which run everywhere and are
    what the others are compared with, those of this machine's best executor, and TensorRT-RTX plans, which are built
    ahead of time for other machines."""
    executors = [ONNXRUNTIME, choose_executor("auto"), *(["tensorrt-rtx"] if can_build_rtx() else [])]
    return [
        (precision, executor) for executor in dict.fromkeys(executors) for precision in (*PRECISIONS, INT8)
    ]


def can_build_rtx() -> bool:
    return importlib.util.find_spec("tensorrt_rtx") is not None


def missing_builders() -> str | None:
    if can_build_rtx():
        return None
    return "no portable TensorRT-RTX plans were built; for them: pip install 'tts-trt[rtx]'"


def find_baseline(bundle: Path) -> Path | None:
    """The FP32 ONNX Runtime bundle of the same model beside ``bundle``."""
    found = bundle.parent / f"{load_manifest(bundle).model.name}-fp32-{ONNXRUNTIME}"
    return found if found != bundle and (found / "manifest.json").is_file() else None


def choose_executor(name: str) -> str:
    """``auto`` becomes the best executor that builds and runs here. BuildError where there is none."""
    if name != "auto":
        return name
    found = diagnose()
    best = next((executor.name for executor in found.executors if executor.builds and executor.runs), None)
    if best is None:
        raise BuildError("nothing can run engines here", hint="; ".join(found.advice))
    return best


def export(folder: ModelFolder, out: Path, limits: Limits, progress: Progress | None = None) -> ExportRecord:
    """The record of an up-to-date export, made anew only where something changed; see ``export/model.py``."""
    record = read_record(out)
    if record is not None and is_current(record, export_fingerprint(folder, limits, PRECISIONS), out):
        return record
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("onnx") is None:
        raise BuildError("exporting needs torch and onnx", hint="pip install 'tts-trt[export]'")
    from tts_trt.export.model import export_model

    return export_model(folder, out, PRECISIONS, limits, progress)


def calibrate(
    folder: ModelFolder,
    out: Path,
    *,
    corpus: Path | None = None,
    exports: Path,
    limits: Limits | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Export where needed, then let the corpus be spoken into ``out``; what is up to date is left alone."""
    _require_onnx()
    from tts_trt.quant.calibration import calibrate as collect
    from tts_trt.quant.corpus import read_corpus
    from tts_trt.quant.corpus_config import default_corpus

    spoken = read_corpus(corpus or default_corpus(), folder, folder.dims())
    record = export(folder, exports, limits or Limits(), progress)
    graphs = {name: exports / graph.file for name, graph in record.of("fp32").items()}
    return collect(folder, graphs, spoken, out, limits=limits, threads=threads, progress=progress)


@dataclass(frozen=True)
class Quantising:
    """What a quantised build may be told. ``caches``: graph -> TensorRT calibration cache, whose scales go first."""

    corpus: Path | None = None  # None: the one that ships
    caches: Mapping[str, Path] = field(default_factory=dict)


def build(
    folder: ModelFolder,
    precision: str,
    executor: str,
    out: Path,
    limits: Limits | None = None,
    progress: Progress | None = None,
    quantising: Quantising | None = None,
) -> Built:
    """Export, calibrate and quantise where needed, then build and verify one bundle under ``out``. ``precision``: fp32,
    fp16, or a recipe by name or path."""
    limits = limits or Limits()
    exports, executor = out / EXPORTS / folder.name, choose_executor(executor)
    if precision in PRECISIONS:
        record = export(folder, exports, limits, progress)
        plan = _plan(folder, precision, executor, limits, exports, record)
    else:
        plan = _quantised_plan(
            folder, precision, executor, limits, exports, quantising or Quantising(), progress
        )
    target = out / plan.name
    before = _created(target)
    baseline = out / f"{folder.name}-fp32-{ONNXRUNTIME}"
    comparable = baseline != target and (baseline / "manifest.json").is_file()

    def verify(made: Path) -> dict[str, Any]:
        return verify_bundle(made, baseline if comparable else None)

    manifest = build_bundle(plan, target, verify=verify, progress=progress)
    return Built(target, manifest, before != manifest.created)


def demo(built: Built, out: Path) -> Path | None:
    """A WAV of the demo sentences by the first voice; None where the bundle cannot run here."""
    if obstacle(built.folder, built.manifest):
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
    dims = folder.dims()
    return BundlePlan(
        folder,
        precision,
        executor,
        dims.latents,
        FLOAT_TYPES[precision],
        limits,
        _sources(folder, limits, exports, record.of(precision)),
        exports / "plans",
    )


def _quantised_plan(
    folder: ModelFolder,
    name: str,
    executor: str,
    limits: Limits,
    exports: Path,
    quantising: Quantising,
    progress: Progress | None,
) -> BundlePlan:
    _require_onnx()
    from tts_trt.quant.apply import quantise_graphs
    from tts_trt.quant.calibration import SCALES, imported_scales
    from tts_trt.quant.recipe import load_recipe, recipe_sha256

    recipe = load_recipe(name, folder)  # before any work: a name may be wrong
    record = export(folder, exports, limits, progress)
    stats, binding, table = {}, None, None
    if recipe.needs_statistics:
        place = exports / "calibration"
        found = calibrate(
            folder, place, corpus=quantising.corpus, exports=exports, limits=limits, progress=progress
        )
        stats, binding, table = found.stats, found.binding, place / SCALES
    elif quantising.caches:
        raise UsageError(f"recipe {recipe.name} quantises no activations, so it has no use for caches")
    cpu = executor == ONNXRUNTIME
    files = exports / "quantised" / f"{recipe.name}-{'cpu' if cpu else 'tensorrt'}"
    made = quantise_graphs(
        recipe,
        {precision: record.of(precision) for precision in PRECISIONS},
        exports,
        stats,
        files,
        cpu=cpu,
        scales=imported_scales(quantising.caches, binding) if binding else {},
    )
    return BundlePlan(
        folder,
        recipe.name,
        executor,
        folder.dims().latents,
        FLOAT_TYPES["fp32" if cpu else recipe.base],
        limits,
        _sources(folder, limits, files, made.of(recipe.name)),
        exports / "plans",
        recipe=RecipeRef(name=recipe.name, sha256=recipe_sha256(recipe)),
        corpus_sha256=binding.corpus if binding else None,
        calibration_sha256=sha256_file(table) if table else None,
    )


def _sources(
    folder: ModelFolder, limits: Limits, files: Path, records: Mapping[str, GraphRecord]
) -> dict[str, GraphSource]:
    return {
        name: GraphSource(spec, files / records[name].file, records[name].census)
        for name, spec in graph_specs(folder.dims(), limits).items()
    }


def _require_onnx() -> None:
    if importlib.util.find_spec("onnx") is None:
        raise BuildError("quantising needs onnx", hint="pip install 'tts-trt[export]'")
