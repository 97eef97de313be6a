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
from tts_trt.model.official import modules_of
from tts_trt.model.weight_norm import fold_weight_norm
from tts_trt.model.weights import load_model
from tts_trt.models import ModelFolder, OfficialFolder
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
    source = Modules(folder)
    specs = graph_specs(folder.dims(), limits)
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{SCRATCH}*"):  # of an export that was killed
        shutil.rmtree(left, ignore_errors=True)
    for i, spec in enumerate(specs.values()):
        if progress:
            progress(spec.name, i, len(specs))
        if not any(g.graph == spec.name for g in made):
            made += export_one(source.of(spec.name), spec, out, precisions)
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


class Modules:
    """A model with its weight norms folded, as its graphs need it. Of an official directory only what the graph in hand is made of is
    in memory: all of it is more than 6 GB, and exporting takes a multiple of a graph's share."""

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._kept: tuple[tuple[str, ...], TtsModel] | None = None

    def of(self, graph: str) -> TtsModel:
        parts = modules_of(graph) if isinstance(self._folder, OfficialFolder) else ()
        if self._kept is None or self._kept[0] != parts:
            self._kept = None  # let go before more is read
            model = load_model(self._folder, graph)
            fold_weight_norm(model)
            self._kept = parts, model
        return self._kept[1]


def export_one(model: TtsModel, spec: GraphSpec, out: Path, precisions: tuple[str, ...]) -> list[GraphRecord]:
    """One graph to ``out`` in every precision, each checked against torch. ExportError where it does not match."""
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
