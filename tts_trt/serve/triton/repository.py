"""A bundle as a model repository of Triton, written whole or not at all.

REPOSITORY/<bundle>/            text to speech: config.pbtxt, 1/model.py, 1/bundle/ (everything, manifest and signature too)
REPOSITORY/<bundle>-<graph>/    one graph: config.pbtxt, 1/<graph>.onnx or .plan
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tts_trt.atomic import DISK_ERRORS, atomic_directory
from tts_trt.errors import BundleError, UsageError
from tts_trt.manifest import MANIFEST, SIGNATURE
from tts_trt.runtime.executors import ONNXRUNTIME
from tts_trt.runtime.loading import Bundle
from tts_trt.serve.triton.config import PLATFORMS, Message, graph_config, pipeline_config, to_text

VERSION = "1"
MODEL = 'from tts_trt.serve.triton.model import TritonPythonModel\n\n__all__ = ["TritonPythonModel"]\n'


@dataclass(frozen=True)
class Exported:
    """Names of the models written, and why graphs were left out."""

    models: tuple[str, ...]
    notes: tuple[str, ...]


def export(bundles: Sequence[Bundle], repository: Path, *, graphs: bool = True, threads: int = 0) -> Exported:
    """``graphs``: each graph as a model of its own, too. UsageError where something is at ``repository`` already or two
    bundles have one name, BundleError when it cannot be written."""
    names = [bundle.folder.resolve().name for bundle in bundles]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two bundles are called {twice[0]}; models are called by their bundle's folder")
    if repository.is_symlink() or repository.is_file() or (repository.is_dir() and any(repository.iterdir())):
        raise UsageError(f"{repository} is there already", hint="name a new folder, or remove that one first")
    models, notes = [], []
    try:
        with atomic_directory(repository) as folder:
            for bundle, name in zip(bundles, names, strict=True):
                models.append(_pipeline(bundle, folder / name, threads))
                if graphs:
                    served, left = _graphs(bundle, folder, name, threads)
                    models += served
                    notes += left
    except OSError as error:
        hint = "free some space" if error.errno in DISK_ERRORS else None
        raise BundleError(f"cannot write {repository}: {error.strerror}", hint=hint) from error
    return Exported(tuple(models), tuple(notes))


def _pipeline(bundle: Bundle, model: Path, threads: int) -> str:
    kept = model / VERSION / "bundle"
    extra = [SIGNATURE] if (bundle.folder / SIGNATURE).is_file() else []
    for file in [MANIFEST, *extra, *bundle.manifest.files]:
        (kept / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / file, kept / file)
    (model / VERSION / "model.py").write_text(MODEL)
    parameters = {"threads": str(threads)}
    if bundle.signed_by:
        parameters["public_key"] = str(bundle.signed_by.resolve())
    executor = bundle.manifest.executor.name
    return _configured(model, pipeline_config(model.name, executor=executor, parameters=parameters))


def _graphs(bundle: Bundle, folder: Path, name: str, threads: int) -> tuple[list[str], list[str]]:
    """Models written, and notes on graphs that Triton cannot serve."""
    executor = bundle.manifest.executor.name
    if executor not in PLATFORMS:
        return [], [
            f"{name}: Triton has no backend for {executor}, so its graphs run inside the pipeline only"
        ]
    models, notes = [], []
    for graph, spec in bundle.specs.items():
        if spec.aliases and executor != ONNXRUNTIME:
            notes.append(f"{name}-{graph}: left out, as Triton cannot bind its caches in place")
            continue
        model = folder / f"{name}-{graph}"
        file = Path(bundle.manifest.graph(graph).file)
        (model / VERSION).mkdir(parents=True)
        for beside in bundle.manifest.files:  # a graph's weights lie beside it under its name
            if beside.startswith(str(file)):
                _link(folder / name / VERSION / "bundle" / beside, model / VERSION / Path(beside).name)
        config = graph_config(
            model.name,
            spec,
            executor=executor,
            float_type=bundle.manifest.float_type,
            batch=bundle.limits.batch,
            file=file.name,
            threads=threads,
        )
        models.append(_configured(model, config))
    return models, notes


def _link(source: Path, target: Path) -> None:
    """The same bytes twice in a repository take their space once, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _configured(model: Path, config: Message) -> str:
    (model / "config.pbtxt").write_text(to_text(config))
    return model.name
