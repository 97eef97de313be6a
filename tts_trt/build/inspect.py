"""What is in a parsed network, and what the header of a plan says; neither needs a GPU."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tts_trt.build.network import ParsedNetwork, layer_inputs
from tts_trt.errors import BundleError

_TYPE_NAMES = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "BF16": "bf16",
    "INT8": "int8",
    "FP8": "fp8",
    "INT4": "int4",
    "FP4": "fp4",
}
_COMPUTE = {"MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION", "EINSUM", "ATTENTION_INPUT"}
_TRANSPARENT = {"SHUFFLE", "UNSQUEEZE", "SQUEEZE", "IDENTITY", "CAST", "SLICE"}

_RTX_MAGIC = b"vtrt"
# magic, padding, format, size of the plan, version as four bytes: as read off plans of TensorRT-RTX 1.7
_RTX_HEADER = struct.Struct("<4s4xQQ4B")


@dataclass(frozen=True)
class LayerInfo:
    name: str
    type: str  # a LayerType name
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dtype: str  # of the first output


@dataclass(frozen=True)
class PlanHeader:
    """``version`` is None where the layout is not known: plans of full TensorRT."""

    bytes: int
    version: str | None


def list_layers(parsed: ParsedNetwork) -> list[LayerInfo]:
    infos = []
    for layer in parsed.layers():
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        infos.append(
            LayerInfo(
                layer.name,
                layer.type.name,
                tuple(t.name for t in layer_inputs(layer)),
                tuple(t.name for t in outputs),
                _type_name(outputs[0]) if outputs else "",
            )
        )
    return infos


def layer_census(parsed: ParsedNetwork) -> dict[str, int]:
    """LayerType name -> count."""
    return dict(sorted(Counter(layer.type.name for layer in parsed.layers()).items()))


def precision_census(parsed: ParsedNetwork) -> dict[str, int]:
    """Precision -> number of matrix products, convolutions and attentions that the graph asks to compute in
    it: "fp32", "fp16", "int8" (activations and weights) or "int8-weights" (weights alone), and so on."""
    producers = {
        layer.get_output(i).name: layer for layer in parsed.layers() for i in range(layer.num_outputs)
    }
    census: Counter[str] = Counter()
    for layer in parsed.layers():
        if layer.type.name not in _COMPUTE:
            continue
        stored = [_quantised_type(tensor, producers) for tensor in layer_inputs(layer)][:2]
        if len(stored) == 2 and all(stored):
            census[str(stored[0])] += 1
        elif len(stored) == 2 and stored[1]:
            census[f"{stored[1]}-weights"] += 1
        else:
            census[_type_name(layer.get_output(0))] += 1
    return dict(sorted(census.items()))


def read_plan_header(path: Path) -> PlanHeader:
    """BundleError for a plan that is shorter or longer than its header says."""
    try:
        with path.open("rb") as file:
            head = file.read(_RTX_HEADER.size)
        size = path.stat().st_size
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if len(head) < _RTX_HEADER.size:
        raise BundleError(f"{path}: {size} bytes, too short for a plan", hint="tts-trt build")
    magic, _, recorded, *version = _RTX_HEADER.unpack(head)
    if magic != _RTX_MAGIC:
        return PlanHeader(size, None)
    if recorded != size:
        raise BundleError(f"{path}: {size} bytes, its header says {recorded}", hint="tts-trt build")
    return PlanHeader(size, ".".join(map(str, version)))


def _quantised_type(tensor: Any, producers: dict[str, Any]) -> str | None:
    """The stored type behind a tensor that comes out of a DequantizeLinear; None for any other tensor."""
    layer = producers.get(tensor.name)
    while layer is not None and layer.type.name in _TRANSPARENT:
        layer = producers.get(layer.get_input(0).name)
    if layer is None or layer.type.name != "DEQUANTIZE":
        return None
    return _type_name(layer.get_input(0))


def _type_name(tensor: Any) -> str:
    name: str = tensor.dtype.name
    return _TYPE_NAMES.get(name, name.lower())
