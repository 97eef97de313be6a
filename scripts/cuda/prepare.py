"""Random-weight graphs of the official family in a folder, and what the code model should answer.

FOLDER/gpt/       fp16, w8a8, w8 and fp8 .onnx (+ .data), reference.npz: rows of one prompt and their scores in FP32
FOLDER/sampler/   fp16.onnx
FOLDER/flow_step/, FOLDER/vocoder/    fp16.onnx, w8a8.onnx
        each with prepared.json: what it was made from and what that took; *.plan once an executor has built one
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from scripts.cuda.settings import EXECUTORS, Report, Settings, Sizes, graph_file
from tts_trt.artifacts import fingerprint
from tts_trt.atomic import atomic_directory
from tts_trt.errors import BuildError
from tts_trt.spec import GraphSpec, graph_specs

SCHEMES = {
    "gpt": ("fp16", "w8a8", "w8", "fp8"),
    "sampler": ("fp16",),
    "flow_step": ("fp16", "w8a8"),
    "vocoder": ("fp16", "w8a8"),
}
KEPT = ("gpt.mel_head",)
"""Layers that no scheme quantises: the scores."""

RECORD = "prepared.json"
REFERENCE = "reference.npz"
REFERENCE_ROWS = 32
PLANS = "plans"


def specs_of(sizes: Sizes) -> dict[str, GraphSpec]:
    """The graphs that are measured."""
    code, acoustic = graph_specs(sizes.dims, sizes.limits), graph_specs(sizes.dims, sizes.acoustic_limits)
    return {name: (code if name in ("gpt", "sampler") else acoustic)[name] for name in SCHEMES}


def run(part: str, settings: Settings, report: Report) -> dict[str, Any]:
    if part == PLANS:
        return _plans(settings, report)
    if record := prepared(settings, part):
        return record | {"kept": True}
    began = time.perf_counter()
    folder = Path(settings.folder) / part
    with atomic_directory(folder) as made:
        _make(part, settings.sizes, made)
        files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        record = {
            "key": _key(settings.sizes, part),
            "seconds": time.perf_counter() - began,
            "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "bytes": sum(files.values()),
            "files": files,
            "torch": version("torch"),
        }
        (made / RECORD).write_text(json.dumps(record, indent=1))
    return record


def prepared(settings: Settings, graph: str) -> dict[str, Any] | None:
    """The record of graphs that are there, whole and of these sizes."""
    folder = Path(settings.folder) / graph
    try:
        record = json.loads((folder / RECORD).read_bytes())
        whole = all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return record if whole and record["key"] == _key(settings.sizes, graph) else None


def _key(sizes: Sizes, graph: str) -> str:
    limits = sizes.limits if graph in ("gpt", "sampler") else sizes.acoustic_limits
    return fingerprint(
        {"dims": asdict(sizes.dims), "limits": asdict(limits), "schemes": SCHEMES[graph], "kept": KEPT}
    )


def _make(graph: str, sizes: Sizes, folder: Path) -> None:
    from scripts.random_graphs import random_model, write_forms

    tts = random_model(sizes.dims, graph)
    if graph == "gpt":
        _write_reference(tts, folder / REFERENCE)
    write_forms(tts, specs_of(sizes)[graph], folder, SCHEMES[graph], sizes.observed, skip=KEPT)


def _write_reference(tts: Any, path: Path) -> None:
    import torch

    dim = tts.dims.gpt.dim
    rows = np.random.default_rng(0).standard_normal((1, REFERENCE_ROWS, dim)).astype(np.float32)
    with torch.inference_mode():
        hidden = tts.gpt.final_norm(tts.gpt.gpt(torch.from_numpy(rows)))
        logits = tts.gpt.mel_head(hidden[:, -1])
    np.savez(path, rows=rows, logits=logits.numpy())


def reference(settings: Settings) -> tuple[Any, Any]:
    """-> rows (1,S,D), scores (1,V) after the last one, float32."""
    with np.load(Path(settings.folder) / "gpt" / REFERENCE) as found:
        return found["rows"], found["logits"]


def _plans(settings: Settings, report: Report) -> dict[str, Any]:
    """Portable plans of every graph, where a builder needs no GPU for them."""
    from scripts.cuda.runtime import plan_of

    found: dict[str, Any] = {}
    for executor in EXECUTORS:
        if executor == "onnxruntime":
            continue
        for name, spec in specs_of(settings.sizes).items():
            for scheme in SCHEMES[name]:
                try:
                    plan = plan_of(graph_file(settings, name, scheme), executor, spec)
                    answer = json.loads(plan.with_suffix(".json").read_bytes())
                except BuildError as error:
                    answer = {"refusal": str(error)}
                found[f"{executor}/{name}/{scheme}"] = answer
                report(found)
    return found
