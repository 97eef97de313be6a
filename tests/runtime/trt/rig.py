"""Two tiny contracts with plans that keep them, for the library this process has (see test_trt_engine.py)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from tests import bindings
from tests.runtime.trt.stand_in import Plan
from tests.runtime.watched_device import WatchedDevice
from tts_trt.runtime.device import Tensor
from tts_trt.runtime.trt_engine import TrtEngine
from tts_trt.spec import GraphSpec, TensorSpec

LIBRARY = os.environ.get("TTS_TRT_TEST_LIBRARY", bindings.RTX)
HAS_CACHE = LIBRARY == bindings.RTX
only_rtx = pytest.mark.skipif(not HAS_CACHE, reason="TensorRT-RTX has it")

STEP = GraphSpec(
    "step",
    (
        TensorSpec("x", "float", ("B", "S", 4), "rows to append"),
        TensorSpec("pos", "int64", ("B",), "slot of the first"),
        TensorSpec("cache", "float", ("B", 8, 4), "in place"),
    ),
    (
        TensorSpec("y", "float", ("B", "S", 4), "2 x by profile 0, 10 x by profile 1"),
        TensorSpec("total", "float32", ("B",), "of the cache up to the last row"),
        TensorSpec("cache_out", "float", ("B", 8, 4), "same memory"),
    ),
    ({"B": (1, 2, 4), "S": (2, 4, 8)}, {"B": (1, 2, 4), "S": (1, 1, 1)}),
    {"cache_out": "cache"},
    "",
)
WAVE = GraphSpec(
    "wave",
    (TensorSpec("x", "float", ("B", "T"), ""),),
    (TensorSpec("y", "float", ("B", "T"), "3 x"),),
    ({"B": (1, 2, 4), "T": (1, 8, 64)},),
    {},
    "",
)


def step(arrays: Mapping[str, np.ndarray], profile: int) -> None:
    rows = arrays["x"].shape[1]
    for b, p in enumerate(arrays["pos"]):
        arrays["cache_out"][b, p : p + rows] = arrays["x"][b]
        arrays["total"][b] = arrays["cache"][b, : p + rows].sum()
    np.multiply(arrays["x"], (2, 10)[profile], arrays["y"])


def wave(arrays: Mapping[str, np.ndarray], profile: int) -> None:
    np.multiply(arrays["x"], 3, arrays["y"])


PLANS = {
    b"step": Plan(STEP, step, lambda sizes: 512 * sizes["B"] * sizes["S"]),
    b"wave": Plan(WAVE, wave, lambda sizes: 100 * sizes["B"] * sizes["T"], weights=77),
}


Open = Callable[..., TrtEngine]
"""Name of a plan -> engine, closed after the test."""


def numbers(*shape: int, start: int = 1) -> np.ndarray:
    return (np.arange(np.prod(shape), dtype=np.float32) + start).reshape(shape)


def step_inputs(device: WatchedDevice, rows: int, count: int, pos: int = 0) -> dict[str, Tensor]:
    return {
        "x": device.upload(numbers(rows, count, 4)),
        "pos": device.upload(np.full(rows, pos)),
        "cache": device.zeros((rows, 8, 4), np.float32),
    }


def step_outputs(engine: TrtEngine, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    axes = {"B": inputs["x"].shape[0], "S": inputs["x"].shape[1]}
    return {name: engine.allocate(name, axes) for name in ("y", "total")} | {"cache_out": inputs["cache"]}
