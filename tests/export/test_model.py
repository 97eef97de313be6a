"""Exporting a folder: what has not changed is not done again, what was stopped goes on, what is off is not recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.model.tiny import TINY
from tts_trt.dims import to_dict
from tts_trt.errors import ExportError
from tts_trt.export import model as exporting
from tts_trt.export.record import export_fingerprint, read_record
from tts_trt.model.family import TtsModel
from tts_trt.models import ModelFolder
from tts_trt.spec import Limits, graph_specs

FEW = ("semantic_codec", "prompt")
PRECISIONS = ("fp32", "fp16")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFolder:
    """A tiny model of which only two quick graphs are exported."""
    path = tmp_path / "model"
    path.mkdir()
    torch.manual_seed(0)
    save_file(
        {k: v.contiguous() for k, v in TtsModel(TINY).state_dict().items()}, path / "weights.safetensors"
    )
    (path / "config.json").write_text(json.dumps(to_dict(TINY)))
    monkeypatch.setattr(
        exporting, "graph_specs", lambda dims, limits: {n: graph_specs(dims, limits)[n] for n in FEW}
    )
    return ModelFolder(path)


def stamps(out: Path) -> dict[str, int]:
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in out.rglob("*.onnx*")}


def test_an_export_is_recorded_kept_and_repaired(folder: ModelFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    record = exporting.export_model(folder, out, PRECISIONS)
    assert record.complete and read_record(out) == record
    assert {(g.graph, g.precision) for g in record.graphs} == {(n, p) for n in FEW for p in PRECISIONS}
    assert all(g.error < 1e-3 for g in record.graphs)
    before = stamps(out)
    assert exporting.export_model(folder, out, PRECISIONS) == record
    assert stamps(out) == before

    damaged = out / "fp16" / "prompt.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    exporting.export_model(folder, out, PRECISIONS)
    changed = {name for name, stamp in stamps(out).items() if before[name] != stamp}
    assert changed and all("prompt" in name for name in changed)


def test_a_stopped_export_goes_on_where_it_was(folder: ModelFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def stop(graph: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exporting.export_model(folder, out, PRECISIONS, progress=stop)
    stopped = read_record(out)
    assert stopped is not None and not stopped.complete
    first = stamps(out)
    record = exporting.export_model(folder, out, PRECISIONS)
    assert record.complete and len(record.graphs) == 4
    assert all(stamps(out)[name] == stamp for name, stamp in first.items())
    assert not [p for p in out.iterdir() if p.is_dir() and p.name not in PRECISIONS]


def test_a_graph_that_is_off_is_not_recorded(
    folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(found: object) -> float:
        raise ExportError("off")

    monkeypatch.setattr(exporting, "require_parity", refuse)
    with pytest.raises(ExportError):
        exporting.export_model(folder, tmp_path / "out", PRECISIONS)
    assert read_record(tmp_path / "out") is None


def test_the_fingerprint_follows_weights_dimensions_and_limits(folder: ModelFolder) -> None:
    base = export_fingerprint(folder, Limits(), PRECISIONS)
    assert export_fingerprint(folder, Limits(), PRECISIONS) == base
    assert export_fingerprint(folder, Limits(batch=2), PRECISIONS) != base
    assert export_fingerprint(folder, Limits(), ("fp32",)) != base
    raw = bytearray(folder.weights.read_bytes())
    raw[-1] ^= 1
    folder.weights.write_bytes(raw)
    assert export_fingerprint(folder, Limits(), PRECISIONS) != base
