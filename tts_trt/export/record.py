"""What an export was made from and what it made: decides, without torch, whether it has to be made again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from tts_trt.artifacts import fingerprint, sha256_file
from tts_trt.models import ModelFolder
from tts_trt.spec import Limits

RECORD = "export.json"
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class GraphRecord:
    """One exported file, ``bytes`` with the weights beside it. ``error`` is the worst relative RMS against torch; ``census`` counts compute nodes by type."""

    graph: str
    precision: str
    file: str
    sha256: str
    bytes: int
    error: float
    census: dict[str, int]


@dataclass(frozen=True)
class ExportRecord:
    fingerprint: str
    graphs: tuple[GraphRecord, ...]
    complete: bool  # False: the export was stopped between two graphs

    def of(self, precision: str) -> dict[str, GraphRecord]:
        return {g.graph: g for g in self.graphs if g.precision == precision}


def export_fingerprint(folder: ModelFolder, limits: Limits, precisions: Iterable[str]) -> str:
    """Of everything that decides the graphs: weights, dimensions, limits, the code that makes them, library versions."""
    sources = [
        PACKAGE / "spec.py",
        PACKAGE / "dims.py",
        *(PACKAGE / "model").glob("*.py"),
        *(PACKAGE / "export").glob("*.py"),
    ]
    return fingerprint(
        {
            "weights": folder.weights_sha256,
            "config": folder.config_sha256,
            "limits": asdict(limits),
            "precisions": sorted(precisions),
            "sources": {str(p.relative_to(PACKAGE)): sha256_file(p) for p in sources},
            "libraries": {name: version(name) for name in ("torch", "onnx", "onnxscript")},
        }
    )


def read_record(out: Path) -> ExportRecord | None:
    """The record of an earlier export, or None where there is none that can be read."""
    try:
        raw = json.loads((out / RECORD).read_text())
        return ExportRecord(
            raw["fingerprint"], tuple(GraphRecord(**g) for g in raw["graphs"]), raw["complete"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_current(record: ExportRecord | None, wanted: str, out: Path) -> bool:
    if record is None or record.fingerprint != wanted or not record.complete:
        return False
    return all(is_intact(graph, out) for graph in record.graphs)


def is_intact(graph: GraphRecord, out: Path) -> bool:
    return file_bytes(out / graph.file) == graph.bytes


def file_bytes(path: Path) -> int:
    """Size of an ONNX file and its weights; 0 where it is missing."""
    parts = (path, path.with_name(path.name + ".data"))
    return sum(part.stat().st_size for part in parts if part.is_file())
