"""Modules to ONNX files: opset 24, dynamic axes from the contract, in-place cache, full checks."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxscript
import torch

from tts_trt.errors import ExportError
from tts_trt.export.graphs import example_inputs, graph_module
from tts_trt.model.family import TtsModel
from tts_trt.spec import GraphSpec

OPSET = 24
EXAMPLE_SIZES = {"B": 3, "L": 7, "S": 9, "M": 11, "F": 26, "E": 31, "K": 60, "T": 21}
"""Sizes while tracing: all above 1 (0 and 1 are specialised) and all different (equal ones could be merged)."""

_OP24 = onnxscript.values.Opset("", OPSET)
_TRANSLATION: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.tts_trt.kv_scatter.default: lambda cache, update, pos: _OP24.TensorScatter(
        cache, update, pos, axis=2, mode="linear"
    )
}


def export_graph(model: TtsModel, spec: GraphSpec, path: Path) -> Path:
    """Write graph ``spec.name`` of ``model`` (float32) to ``path``; large weights go to ``path``.data.

    Raises ExportError when torch cannot trace the module or the file does not check.
    """
    arrays = {k: torch.from_numpy(v) for k, v in example_inputs(spec, EXAMPLE_SIZES).items()}
    args, shapes = _grouped(spec, arrays)
    try:
        with torch.inference_mode(), _quiet():
            program = torch.onnx.export(
                graph_module(spec.name, model).eval(),
                args,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=shapes,
                input_names=[t.name for t in spec.inputs],
                output_names=[t.name for t in spec.outputs],
                custom_translation_table=_TRANSLATION,
                verbose=False,
            )
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"graph {spec.name} cannot be exported: {error}") from error
    assert program is not None
    program.save(str(path), external_data=True)
    check_graph(path, spec)
    return path


def check_graph(path: Path, spec: GraphSpec) -> None:
    """Checker, full shape inference, and the contract's names, in the contract's order."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{path} does not check: {error}") from error
    graph = onnx.load(str(path), load_external_data=False).graph
    for kind, found, expected in (
        ("inputs", graph.input, spec.inputs),
        ("outputs", graph.output, spec.outputs),
    ):
        names = [value.name for value in found]
        if names != [t.name for t in expected]:
            raise ExportError(f"{path}: {kind} are {names}, the contract says {[t.name for t in expected]}")


def _grouped(spec: GraphSpec, arrays: dict[str, torch.Tensor]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Positional arguments and dynamic shapes; the caches of ``gpt`` travel as one list."""
    # a reference needs three rows: the conformer's first convolution is three wide
    dims = {
        axis: torch.export.Dim(axis, min=3 if axis in "EF" else 1)
        for t in spec.inputs
        for axis in t.shape
        if isinstance(axis, str)
    }
    args: list[Any] = []
    shapes: list[Any] = []
    caches: tuple[list[Any], list[Any]] = ([], [])
    cached = set(spec.aliases.values())
    for tensor in spec.inputs:
        axes = {i: dims[a] for i, a in enumerate(tensor.shape) if isinstance(a, str)}
        into = caches if tensor.name in cached else (args, shapes)
        into[0].append(arrays[tensor.name])
        into[1].append(axes)
    if cached:
        args.append(caches[0])
        shapes.append(caches[1])
    return tuple(args), tuple(shapes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints progress and logs each missing optional optimiser; errors still raise."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
