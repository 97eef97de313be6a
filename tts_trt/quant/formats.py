"""Number formats of quantised tensors: symmetric, per tensor for activations, per output channel for weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tts_trt.quant.scales import SMALLEST_SCALE

Array = NDArray[Any]
Scale = Array | np.float32


@dataclass(frozen=True)
class Format:
    """``largest``: the magnitude that a threshold or the largest weight is mapped to."""

    name: str
    onnx_type: int
    largest: float

    @property
    def dtype(self) -> np.dtype[Any]:
        return helper.tensor_dtype_to_np_dtype(self.onnx_type)

    def scale_of(self, threshold: Any, half: bool = False) -> Any:
        """float32, or float16 where ``half``; 1 for a threshold of 0, so that nothing divides by zero."""
        threshold = np.asarray(threshold, np.float64)
        scale = np.where(threshold > 0, threshold / self.largest, 1.0)
        return store_scale(scale, half)

    def encode(self, values: Array, scale: Scale) -> Array:
        """Codes of ``values``, rounded to nearest even and saturated; ``scale`` broadcasts."""
        scaled = np.asarray(values, np.float32) / np.asarray(scale, np.float32)
        if self.onnx_type == TensorProto.INT8:
            scaled = np.rint(scaled)
        return np.clip(scaled, -self.largest, self.largest).astype(self.dtype)

    def imitate(self, values: Array, scale: Scale) -> NDArray[np.float32]:
        """What ``values`` become by quantising and dequantising."""
        return self.encode(values, scale).astype(np.float32) * np.asarray(scale, np.float32)


INT8 = Format("int8", TensorProto.INT8, 127.0)
FP8 = Format("fp8", TensorProto.FLOAT8E4M3FN, 448.0)


@dataclass(frozen=True)
class Scheme:
    """How a layer computes. ``activations``: whether its data input is quantised too, or its weight alone."""

    format: Format
    activations: bool


SCHEMES: Mapping[str, Scheme] = {
    "w8a8": Scheme(INT8, True),
    "w8": Scheme(INT8, False),
    "fp8": Scheme(FP8, True),
}


def store_scale(scale: Any, half: bool) -> Any:
    """In the type the graph has at that place. A subnormal half has few bits left and may be flushed to zero."""
    scale = np.asarray(scale, np.float32)
    return np.maximum(scale, SMALLEST_SCALE).astype(np.float16) if half else scale


def weight_scales(weight: Array, axis: int, format: Format, half: bool = False) -> Array:
    """(N,) from the largest magnitude of each slice along ``axis``."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scales: Array = format.scale_of(np.abs(np.asarray(weight, np.float32)).max(axis=others), half)
    return scales


def along(vector: Array, axis: int, rank: int) -> Array:
    """(N,) -> (1, .., N, .., 1) with N at ``axis``."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)
