from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.fake_driver import FakeDriver
from tts_trt.errors import EngineError
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.cuda_copy import runs
from tts_trt.runtime.device import HOST, Device, Tensor, contiguous_strides


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[CudaDevice]:
    with CudaDevice(driver=driver, graphs=False) as device:
        yield device
    driver.check_all_returned()


@st.composite
def views(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], list[Any], list[int]]]]:
    """A shape and two ways to see it: a larger tensor's shape, a slice or an index per axis, an order of axes that leaves
    the last one last."""
    shape = tuple(draw(st.lists(st.integers(0, 4), min_size=0, max_size=5)))
    ways = []
    for _ in range(2):
        order = [*draw(st.permutations(range(max(0, len(shape) - 1)))), *([len(shape) - 1] if shape else [])]
        whole, picks = [], []
        for axis in order:  # the larger tensor has the axes in this order, and more of each
            before, after = draw(st.integers(0, 1)), draw(st.integers(0, 1))
            if draw(st.booleans()):
                whole.append(2)
                picks.append(1)
            whole.append(before + shape[axis] + after)
            picks.append(slice(before, before + shape[axis]))
        back = [order.index(axis) for axis in range(len(shape))]
        ways.append((tuple(whole), picks, back))
    return shape, ways


def seen(
    device: Device, way: tuple[tuple[int, ...], list[Any], list[int]], values: np.ndarray
) -> tuple[Tensor, Tensor]:
    """The larger tensor and the view of it."""
    whole, picks, back = way
    tensor = device.upload(np.resize(values, whole))
    return tensor, tensor[tuple(picks)].transpose(*back)


@settings(max_examples=150, deadline=None)
@given(views(), st.sampled_from(["int64", "float16", "bool"]))
def test_a_copy_does_what_numpy_does(case: tuple[Any, Any], dtype: str) -> None:
    shape, (target_way, source_way) = case
    driver = FakeDriver()
    random = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 2000, (2, 3000)).astype(dtype)
    results = []
    with CudaDevice(driver=driver, graphs=False) as device:
        for place in (device, HOST):
            whole, target = seen(place, target_way, random[0].copy())
            _, source = seen(place, source_way, random[1].copy())
            assert target.shape == source.shape == shape
            place.copy(target, source)
            results += [whole.numpy().copy(), source.numpy().copy()]
        whole, target = seen(device, target_way, random[0].copy())
        device.write(target, results[3])
        np.testing.assert_array_equal(whole.numpy(), results[2])
    np.testing.assert_array_equal(results[0], results[2])
    np.testing.assert_array_equal(results[1], results[3])
    driver.check_all_returned()


def calls_of(driver: FakeDriver, device: CudaDevice, target: Tensor, source: Tensor) -> list[str]:
    driver.calls.clear()
    device.copy(target, source)
    return list(driver.calls)


def test_few_calls_of_the_driver(driver: FakeDriver, device: CudaDevice) -> None:
    """Batch rows, heads, slots, width of a key-value cache."""
    cache, other = (device.zeros((3, 4, 16, 8), np.float16) for _ in range(2))
    assert calls_of(driver, device, cache, other) == ["cuMemcpyDtoDAsync"]
    assert calls_of(driver, device, cache[1], other[2]) == ["cuMemcpyDtoDAsync"]
    assert calls_of(driver, device, cache[:, :, :5], other[:, :, 7:12]) == ["cuMemcpy2DAsync"]
    assert calls_of(driver, device, cache[:, :2, :5], other[:, 1:3, :5]) == ["cuMemcpy3DAsync"]
    assert calls_of(driver, device, cache[:1, :, 3:4], other[:1, :, 9:10]) == ["cuMemcpy2DAsync"]
    swapped = device.zeros((3, 16, 4, 8), np.float16)
    assert calls_of(driver, device, swapped.transpose(0, 2, 1, 3), cache) == ["cuMemcpy3DAsync"] * 4
    assert calls_of(driver, device, cache[:0], other[:0]) == []


def test_a_last_axis_with_gaps_is_refused(device: CudaDevice) -> None:
    square = device.zeros((4, 4), np.float32)
    with pytest.raises(EngineError, match="strides 16 and 4 bytes, expected 4"):
        device.copy(square.transpose(1, 0), device.zeros((4, 4), np.float32))
    with pytest.raises(EngineError, match="last axis"):
        device.read(square.transpose(1, 0))
    device.copy(square[:, 1:2], square[:, 3:4])  # a column is a last axis of one


def test_every_byte_once() -> None:
    """Rows of one slice of a 3D copy are not those of the next."""
    shape, strides = (3, 4, 5), (4 * 8 * 2, 8 * 2, 2)
    touched = [
        run.target + (z * run.target_rows + y) * run.target_pitch + x
        for run in runs(shape, strides, contiguous_strides(shape, np.dtype(np.int16)), 2)
        for z in range(run.depth)
        for y in range(run.height)
        for x in range(run.width)
    ]
    expected = [z * 64 + y * 16 + x for z in range(3) for y in range(4) for x in range(10)]
    assert sorted(touched) == expected
