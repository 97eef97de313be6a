"""All graphs of a model to a folder, each checked against torch; what has not changed is not done again.

OUT/fp32/<graph>.onnx   and   OUT/fp16/<graph>.onnx   with weights beside them
OUT/export.json         what each graph was made from and how far it is from torch
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import onnx
import torch

from tts_trt.artifacts import sha256_file
from tts_trt.atomic import write_atomic
from tts_trt.export.parity import compare_graph, require_parity
from tts_trt.export.passes import census, name_by_module, save, strip, to_half
from tts_trt.export.record import (
    RECORD,
    ExportRecord,
    GraphRecord,
    export_fingerprint,
    file_bytes,
    is_current,
    is_intact,
    read_record,
)
from tts_trt.export.to_onnx import check_graph, export_graph
from tts_trt.model.family import TtsModel
from tts_trt.model.weight_norm import fold_weight_norm
from tts_trt.model.weights import load_model
from tts_trt.models import ModelFolder, read_dims
from tts_trt.spec import GraphSpec, Limits, graph_specs

SCRATCH = ".making-"
Progress = Callable[[str, int, int], None]


def export_model(
    folder: ModelFolder,
    out: Path,
    precisions: tuple[str, ...] = ("fp32", "fp16"),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ExportRecord:
    """Export, rewrite and check every graph; one that a stopped export has finished is kept. Raises ExportError when a
    graph does not match torch; it is not recorded and made anew next time."""
    limits = limits or Limits()
    wanted = export_fingerprint(folder, limits, precisions)
    record = read_record(out)
    if record is not None and is_current(record, wanted, out):
        return record
    made = _finished_graphs(record, wanted, out)
    torch.manual_seed(0)
    model = load_model(folder)
    fold_weight_norm(model)
    specs = graph_specs(read_dims(folder), limits)
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{SCRATCH}*"):  # of an export that was killed
        shutil.rmtree(left, ignore_errors=True)
    for i, spec in enumerate(specs.values()):
        if progress:
            progress(spec.name, i, len(specs))
        if not any(g.graph == spec.name for g in made):
            made += _export_one(model, spec, out, precisions)
            _write_record(ExportRecord(wanted, tuple(made), complete=False), out)
    final = ExportRecord(wanted, tuple(made), complete=True)
    _write_record(final, out)
    if progress:
        progress("done", len(specs), len(specs))
    return final


def _write_record(record: ExportRecord, out: Path) -> None:
    write_atomic(out / RECORD, [json.dumps(asdict(record), indent=1).encode()])


def _finished_graphs(record: ExportRecord | None, wanted: str, out: Path) -> list[GraphRecord]:
    """What an interrupted export of the same inputs has already written and checked."""
    if record is None or record.fingerprint != wanted:
        return []
    broken = {g.graph for g in record.graphs if not is_intact(g, out)}
    return [g for g in record.graphs if g.graph not in broken]


def _export_one(
    model: TtsModel, spec: GraphSpec, out: Path, precisions: tuple[str, ...]
) -> list[GraphRecord]:
    records = []
    with tempfile.TemporaryDirectory(dir=out, prefix=SCRATCH) as scratch:
        raw = export_graph(model, spec, Path(scratch) / f"{spec.name}.onnx")
        proto = onnx.load(str(raw))
        name_by_module(proto)
        strip(proto)
        plain = Path(scratch) / "plain" / f"{spec.name}.onnx"
        plain.parent.mkdir()
        save(proto, plain)
        for precision in precisions:
            path = out / precision / f"{spec.name}.onnx"
            path.parent.mkdir(exist_ok=True)
            if precision == "fp32":
                for part in plain.parent.iterdir():
                    shutil.copyfile(part, path.parent / part.name)
            else:
                to_half(plain, spec, path)
            check_graph(path, spec)
            error = require_parity(compare_graph(model, spec, path, precision))
            size = file_bytes(path)
            records.append(
                GraphRecord(
                    spec.name,
                    precision,
                    f"{precision}/{path.name}",
                    sha256_file(path),
                    size,
                    error,
                    census(path),
                )
            )
    return records
