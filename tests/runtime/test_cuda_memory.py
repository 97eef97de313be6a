from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.fake_driver import FakeDriver, Violation
from tts_trt.errors import EngineError
from tts_trt.runtime import cuda_memory
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.cuda_memory import size_class

MIB = 1 << 20


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[CudaDevice]:
    with CudaDevice(driver=driver, graphs=False) as device:
        yield device
    driver.check_all_returned()


@given(st.integers(0, 1 << 40))
def test_size_classes(nbytes: int) -> None:
    size = size_class(nbytes)
    assert size % 256 == 0 and size >= max(nbytes, 1)
    assert size <= max(nbytes * 9 / 8, nbytes + 256)
    assert size_class(size) == size
    assert size_class(nbytes + 1) >= size


def test_memory_is_used_again(device: CudaDevice) -> None:
    address = device.empty((1000,), "f4").address
    assert device.empty((990,), "f4").address == address
    view = device.empty((1000,), "f4")[10:20]
    assert device.empty((1000,), "f4").address != address, "a view keeps the memory"
    assert device.counters.allocations == 2
    del view
    assert device.counters.used_bytes == 0
    assert device.counters.held_bytes == 2 * size_class(4000)


def test_memory_used_again_keeps_the_order_of_the_stream(device: CudaDevice) -> None:
    first = device.upload(np.full(100, 1))
    reading = device.read(first)
    copy = device.cloned(first)
    del first
    second = device.upload(np.full(100, 2))
    assert device.counters.allocations == 2
    assert reading.value().tolist() == [1] * 100
    assert copy.numpy().tolist() == [1] * 100
    assert second.numpy().tolist() == [2] * 100


def test_a_tensor_dropped_in_another_thread_or_by_the_collector(device: CudaDevice) -> None:
    box = [device.empty((100,), "f4")]
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join(10)
    ring: list[object] = [device.empty((200,), "f4")]
    ring.append(ring)
    del ring
    gc.collect()
    assert device.counters.used_bytes == 0


def step(device: CudaDevice, state: np.ndarray) -> None:
    """What a step of decoding does: noise goes up, temporaries come and go, a code comes back late."""
    noise = device.upload(state)
    temporary = device.zeros((7, 33), np.float32)
    device.copy(temporary[:, :3], device.upload(np.ones((7, 3), np.float32)))
    device.read(noise)


def test_after_warming_up_nothing_is_allocated_and_nobody_waits(
    device: CudaDevice, driver: FakeDriver
) -> None:
    state = np.arange(300, dtype=np.float32)
    for _ in range(10):  # the GPU is some steps behind
        step(device, state)
    driver.advance()
    before, events = device.counters, driver.calls.count("cuEventCreate")
    for number in range(200):
        step(device, state)
        if number % 10 == 9:
            driver.advance()
    after = device.counters
    for what in ("allocations", "page_locked_allocations", "held_bytes", "page_locked_bytes", "waits"):
        assert getattr(after, what) == getattr(before, what), what
    assert driver.calls.count("cuEventCreate") == events
    assert after.launches == before.launches + 200 * 5


def test_writes_wait_before_staging_memory_grows_without_bound(
    device: CudaDevice, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_memory, "STAGING_LIMIT", 4 * 4096)
    tensors = [device.upload(np.full(1000, n, np.float32)) for n in range(20)]
    assert device.counters.page_locked_bytes == 4 * 4096
    assert device.counters.waits > 0
    assert [t.numpy()[0] for t in tensors] == list(range(20))
    large = device.upload(np.full(5000, 7, np.float32))
    assert large.numpy().sum() == 35_000
    assert device.counters.page_locked_bytes <= size_class(20_000), "idle stages make room"


def test_readings_that_nobody_wants_give_their_memory_back(device: CudaDevice, driver: FakeDriver) -> None:
    tensor = device.zeros((100,), "f4")
    for _ in range(20):
        device.read(tensor)
        driver.advance()
    assert device.counters.page_locked_allocations <= 2
    readings = [device.read(tensor) for _ in range(5)]
    assert all(r.value().sum() == 0 for r in readings)


def test_what_was_read_is_free_at_once(device: CudaDevice, driver: FakeDriver) -> None:
    """Also while an earlier write is still on its way."""
    tensor = device.zeros((100,), "f4")
    reading = device.read(tensor)
    driver.advance()
    reading.value()
    device.write(tensor, np.ones(100, np.float32))
    reading = device.read(tensor)
    device.write(tensor, np.ones(100, np.float32))
    assert reading.value().sum() == 100
    before = device.counters.page_locked_allocations
    device.read(tensor)
    device.read(tensor)
    assert device.counters.page_locked_allocations == before


def test_idle_memory_makes_room(driver: FakeDriver) -> None:
    driver.total = 10 * MIB
    with CudaDevice(driver=driver, graphs=False) as device:
        kept = device.upload(np.arange(1000))
        device.zeros((6 * MIB,), "u1")
        device.zeros((8 * MIB,), "u1")
        assert device.counters.held_bytes == size_class(8 * MIB) + size_class(8000)
        with pytest.raises(
            EngineError, match="has no room for 9 MiB: 2 of 10 MiB are free, 9 MiB are used here"
        ) as error:
            held = device.empty((8 * MIB,), "u1")
            device.empty((9 * MIB,), "u1")
        assert "smaller batch" in (error.value.hint or "")
        assert held.nbytes == 8 * MIB
        assert kept.numpy().tolist() == list(range(1000))
    driver.check_all_returned()


def test_an_allocation_that_fails_once(device: CudaDevice, driver: FakeDriver) -> None:
    driver.fail_alloc = 2
    tensors = [device.zeros((n, MIB), "u1") for n in (1, 2, 3)]
    assert all(t.numpy().sum() == 0 for t in tensors)


def test_a_share_of_the_gpu(driver: FakeDriver) -> None:
    with CudaDevice(driver=driver, graphs=False, limit_bytes=8 * MIB) as device:
        device.charge(3 * MIB)
        first = device.empty((4 * MIB,), "u1")
        with pytest.raises(
            EngineError, match="no room for 2 MiB.*7 of this process's limit of 8 MiB are used"
        ):
            device.empty((2 * MIB,), "u1")
        device.charge(-3 * MIB)
        second = device.empty((2 * MIB,), "u1")
        with pytest.raises(EngineError, match="has room for 2 MiB, 3 MiB are needed"):
            device.reserve({"cache": 3 * MIB}, keep_free=0)
        assert {first.device, second.device} == {device}


def test_the_budget_is_itemised_before_anything_is_loaded(driver: FakeDriver) -> None:
    driver.total, driver.used = 100 * MIB, 30 * MIB
    with CudaDevice(driver=driver, graphs=False) as device:
        device.reserve({"weights": 40 * MIB, "cache": 20 * MIB}, keep_free=10 * MIB)
        with pytest.raises(EngineError) as caught:
            device.reserve({"weights": 40 * MIB, "cache": 25 * MIB, "workspace": 1}, keep_free=10 * MIB)
        assert device.counters.allocations == 0
    text = str(caught.value)
    assert (
        "cuda:0 NVIDIA Fake has room for 60 MiB, 66 MiB are needed: weights 40, cache 25, workspace 1" in text
    )
    assert "70 of 100 MiB are free" in text and "10 MiB are kept free" in text
    assert "try: a smaller batch, a lower precision" in text


def test_reserving_frees_what_the_pool_keeps_idle(driver: FakeDriver) -> None:
    """A library that loads weights cannot take it from the pool."""
    driver.total = 10 * MIB
    with CudaDevice(driver=driver, graphs=False) as device:
        device.zeros((6 * MIB,), "u1")
        device.reserve({"weights": 3 * MIB}, keep_free=0)
        assert device.free_bytes == 4 * MIB
        device.reserve({"weights": 8 * MIB}, keep_free=0)
        assert device.free_bytes == 10 * MIB


def test_the_fake_is_strict(driver: FakeDriver) -> None:
    """What this file rests on."""
    with pytest.raises(Violation, match="without a current context"):
        driver.mem_alloc(8)
    context = driver.Device(0).retain_primary_context()
    context.push()
    stream, memory = driver.Stream(1), driver.mem_alloc(8)
    host = driver.pagelocked_empty(8, "u1")
    with pytest.raises(Violation, match="page-locked"):
        driver.memcpy_htod_async(int(memory), np.zeros(8, np.uint8), stream)
    with pytest.raises(Violation, match="no longer"):
        driver.memcpy_htod_async(int(memory) + 1, host, stream)
    with pytest.raises(Violation, match="aligned"):
        driver.view(int(memory) + 1, 1, alignment=2)
    driver.memcpy_htod_async(int(memory), host, stream)
    memory.free()
    with pytest.raises(Violation, match="no longer"):
        stream.synchronize()
    with pytest.raises(Violation, match="freed twice"):
        memory.free()
    other = driver.mem_alloc(8)
    driver.memcpy_htod_async(int(other), host, stream)
    host.base.free()
    with pytest.raises(Violation, match="after it was freed"):
        stream.synchronize()
