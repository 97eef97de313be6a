"""An exported graph against its torch module, at shapes it was not traced with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from tts_trt.errors import ExportError
from tts_trt.export.graphs import example_inputs, graph_module
from tts_trt.model.family import TtsModel
from tts_trt.spec import FLOAT_TYPES, GraphSpec

SHAPES: tuple[dict[str, int], ...] = (
    {"B": 1, "L": 5, "S": 1, "M": 4, "F": 18, "E": 12, "K": 40, "T": 9},
    {"B": 2, "L": 12, "S": 14, "M": 17, "F": 33, "E": 40, "K": 123, "T": 40},
)

TOLERANCE = {"fp32": 2e-4, "fp16": 2e-2}
"""Largest relative RMS error of a float output: rounding of a chain of layers, far below a wrong one (about 1)."""

LOOSER = {("fp16", "vocoder"): 5e-2}
"""A deep chain without normalisation in between accumulates more in half precision."""

CODE_AGREEMENT = {"fp32": 1.0, "fp16": 0.9}
"""Least share of equal integers; half precision may flip ties between neighbouring codebook rows."""


@dataclass(frozen=True)
class Parity:
    """One output at one shape. ``error`` is relative RMS, or the share of unequal integers."""

    graph: str
    output: str
    sizes: dict[str, int]
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return bool(np.isfinite(self.error)) and self.error <= self.tolerance


def tolerance_of(precision: str, graph: str) -> float:
    return LOOSER.get((precision, graph), TOLERANCE[precision])


def compare_graph(
    model: TtsModel, spec: GraphSpec, path: Path, precision: str, seed: int = 1
) -> list[Parity]:
    """Parities of every output at every shape of ``SHAPES``, ragged rows included."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [
        parity for sizes in SHAPES for parity in _compare_at(model, spec, session, precision, sizes, seed)
    ]


def require_parity(found: list[Parity]) -> float:
    """The worst error relative to its tolerance; ExportError naming the worst output when it exceeds 1."""
    worst = max(found, key=lambda p: p.error / max(p.tolerance, 1e-12) if np.isfinite(p.error) else np.inf)
    if not all(p.passed for p in found):
        raise ExportError(
            f"graph {worst.graph}: output {worst.output} at {worst.sizes} is off by {worst.error:.3g}, "
            f"tolerated {worst.tolerance:g}",
            hint="export again; if it persists this is a fault of the exporter",
        )
    return max(p.error for p in found)


def _compare_at(
    model: TtsModel,
    spec: GraphSpec,
    session: onnxruntime.InferenceSession,
    precision: str,
    sizes: dict[str, int],
    seed: int,
) -> Iterator[Parity]:
    arrays = example_inputs(spec, sizes, seed)
    expected = run_torch(model, spec, arrays)
    fed = {k: v.astype(spec.input(k).resolved(FLOAT_TYPES[precision])) for k, v in arrays.items()}
    for tensor, got, want in zip(spec.outputs, session.run(None, fed), expected, strict=True):
        if tensor.dtype in ("int64", "bool"):
            error, tolerance = float(np.mean(got != want)), 1.0 - CODE_AGREEMENT[precision]
        else:
            error, tolerance = relative_rms(got, want), tolerance_of(precision, spec.name)
        yield Parity(spec.name, tensor.name, sizes, error, tolerance)


@torch.inference_mode()
def run_torch(model: TtsModel, spec: GraphSpec, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    cached = set(spec.aliases.values())
    args = [torch.from_numpy(arrays[t.name]) for t in spec.inputs if t.name not in cached]
    if cached:
        args.append([torch.from_numpy(arrays[t.name]) for t in spec.inputs if t.name in cached])  # type: ignore[arg-type]
    made = graph_module(spec.name, model).eval()(*args)
    return [x.numpy() for x in (made if isinstance(made, tuple) else (made,))]


def relative_rms(got: np.ndarray, want: np.ndarray) -> float:
    """RMS of the difference over RMS of the expected values; inf for a shape or a non-finite value that differs."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    gap = got.astype(np.float64) - want.astype(np.float64)
    return float(np.sqrt(np.mean(gap**2)) / max(float(np.sqrt(np.mean(want.astype(np.float64) ** 2))), 1e-6))
