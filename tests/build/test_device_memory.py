"""The PyCUDA code path, call by call, against a stand-in for its driver module."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from tests.build.fake_cuda import FakeCuda
from tts_trt import nvidia
from tts_trt.build.device_memory import PyCudaMemory
from tts_trt.errors import BuildError

LAYOUT: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
    "mel": ((2, 3, 4), np.dtype(np.float32)),
    "half": ((5,), np.dtype(np.float16)),
    "lengths": ((2,), np.dtype(np.int64)),
    "mask": ((2, 4), np.dtype(np.bool_)),
}
SIZES = [96, 10, 16, 8]
TAKEN = [f"take {kind} {size}" for size in SIZES for kind in ("host", "device")]
FREED = [f"free {kind} {size}" for size in reversed(SIZES) for kind in ("device", "host")]


def batch(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {name: (random.random(shape) * 100).astype(dtype) for name, (shape, dtype) in LAYOUT.items()}


def test_calls_in_order() -> None:
    cuda = FakeCuda()
    with PyCudaMemory(LAYOUT, driver=cuda) as memory:
        assert cuda.calls == ["init", "Device 0", "retain_primary_context", "take context", "Stream", *TAKEN]
        cuda.calls.clear()
        memory.upload(batch(0))
        assert cuda.calls == [*(f"copy {size}" for size in SIZES), "synchronize"]
        cuda.calls.clear()
    assert cuda.calls == ["synchronize", *FREED, "free context"]
    assert not cuda.held and not cuda.device


def test_every_byte_is_on_the_device_when_upload_returns() -> None:
    cuda = FakeCuda()
    with PyCudaMemory(LAYOUT, driver=cuda) as memory:
        seen = []
        for seed in range(3):
            values = batch(seed)
            addresses = memory.upload(values)
            assert addresses.keys() == LAYOUT.keys()
            for name, array in values.items():
                on_device = np.frombuffer(cuda.device[addresses[name]], array.dtype).reshape(array.shape)
                np.testing.assert_array_equal(on_device, array)
            seen.append(addresses)
        assert seen[0] == seen[1] == seen[2]
        assert len(set(seen[0].values())) == len(LAYOUT)


def test_only_what_was_laid_out_is_uploaded() -> None:
    with PyCudaMemory(LAYOUT, driver=FakeCuda()) as memory:
        for wrong in (np.zeros((2, 3, 5), np.float32), np.zeros((2, 3, 4), np.float64)):
            with pytest.raises(BuildError, match=r"input mel is float.* its buffer float32 \(2, 3, 4\)"):
                memory.upload(batch(0) | {"mel": wrong})


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_full_gpu_leaves_nothing_behind(nth: int) -> None:
    cuda = FakeCuda(fail_alloc=nth)
    with pytest.raises(BuildError, match="no room for calibration batches of 130 bytes: out of memory"):
        PyCudaMemory(LAYOUT, driver=cuda).__enter__()
    assert cuda.held == [] and cuda.device == {}
    assert cuda.calls[-1] == "free context"


def test_an_exception_inside_gives_everything_back() -> None:
    cuda = FakeCuda()
    with pytest.raises(KeyboardInterrupt), PyCudaMemory(LAYOUT, driver=cuda):
        raise KeyboardInterrupt
    assert cuda.held == []


def test_a_device_error_in_a_copy_is_a_build_error_and_gives_everything_back() -> None:
    cuda = FakeCuda(fail_wait=True)
    with (
        pytest.raises(BuildError, match="calibration batch cannot be copied to the GPU: illegal address"),
        PyCudaMemory(LAYOUT, driver=cuda) as memory,
    ):
        memory.upload(batch(0))
    assert cuda.held == []


def test_without_pycuda_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name, mode: None)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BuildError, match=r"PyCUDA cannot be loaded(.|\n)*tts-trt\[cuda\]"):
        PyCudaMemory(LAYOUT).__enter__()
