"""Exports a module with dynamic axes and compares ONNX Runtime with torch at other sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
import torch
from torch import Tensor, nn

from tests.parity import assert_close

Inputs = dict[str, Tensor]


def assert_onnx_agrees(
    module: nn.Module,
    example: Inputs,
    dynamic: dict[str, Sequence[int]],
    others: Sequence[Inputs],
    folder: Path,
    tolerance: float = 1e-5,
) -> None:
    """``dynamic``: the axes of each input that may change; ``others``: inputs of other sizes."""
    path = folder / "module.onnx"
    shapes = tuple(dict.fromkeys(dynamic[name], torch.export.Dim.DYNAMIC) for name in example)
    torch.onnx.export(
        module.eval(),
        tuple(example.values()),
        path,
        input_names=list(example),
        dynamo=True,
        opset_version=24,
        dynamic_shapes=shapes,
        verbose=False,
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for inputs in others:
        (actual,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            expected = module(*inputs.values())
        assert_close(torch.from_numpy(actual), expected, tolerance)
