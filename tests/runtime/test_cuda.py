from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.runtime.fake_driver import FakeDriver
from tts_trt import nvidia
from tts_trt.errors import EngineError
from tts_trt.runtime import cuda
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.device import HOST


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[CudaDevice]:
    with CudaDevice(driver=driver, runtime=driver.runtime) as device:
        yield device
    driver.check_all_returned()


def in_thread(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(10)


def test_what_a_report_says_of_the_gpu(device: CudaDevice, driver: FakeDriver) -> None:
    assert (device.name, device.index, device.host) == ("cuda:0 NVIDIA Fake", 0, False)
    assert device.facts.compute_capability == (8, 9)
    assert (device.facts.cuda_driver, device.facts.total_bytes) == ("13.1", 1 << 30)
    assert device.free_bytes == 1 << 30
    assert device.stream_handle == next(iter(driver.streams))
    assert driver.streams[device.stream_handle].flags == 1, "a stream that waits for the default stream"


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 3), (2, 3, 4)])
def test_values_come_back(device: CudaDevice, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    tensor = device.upload(array)
    assert tensor.address % 256 == 0
    found = tensor.numpy()
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(device.cloned(tensor).numpy(), array)
    np.testing.assert_array_equal(device.zeros(shape, dtype).numpy(), np.zeros(shape, dtype))
    np.testing.assert_array_equal(device.lend(array).numpy(), array)


def test_a_strided_source_on_the_host(device: CudaDevice) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(device.upload(array.T).numpy(), array.T)


def test_nothing_waits_but_what_reads(device: CudaDevice, driver: FakeDriver) -> None:
    tensor = device.zeros((4,), np.int64)
    device.write(tensor, np.arange(4))
    device.copy(device.empty((2,), np.int64), tensor[2:])
    early = device.read(tensor)
    device.write(tensor, np.zeros(4, np.int64))
    assert device.counters.waits == 0
    assert early.value().tolist() == [0, 1, 2, 3], "what later operations do to the tensor shows"
    assert device.counters.waits == 1
    assert early.value() is early.value(), "it has been read"
    assert tensor.numpy().tolist() == [0, 0, 0, 0]


def test_a_reading_that_has_arrived_is_not_waited_for(device: CudaDevice, driver: FakeDriver) -> None:
    reading = device.read(device.upload(np.arange(3)))
    queued_later = device.upload(np.arange(9))
    driver.advance(3)  # the write, its event, the read
    driver.advance(1)
    assert reading.value().tolist() == [0, 1, 2]
    assert device.counters.waits == 0
    assert driver.streams[device.stream_handle].queue, "value waited for more than its own event"
    assert queued_later.numpy().tolist() == list(range(9))


def test_what_is_read_is_the_readers_own(device: CudaDevice) -> None:
    tensor = device.upload(np.arange(1000))
    first = tensor.numpy()
    for _ in range(20):
        device.upload(np.zeros(1000, np.int64)).numpy()
    assert first.tolist() == list(range(1000))


def test_the_array_may_be_changed_once_it_is_written(device: CudaDevice) -> None:
    array = np.ones(100, np.float32)
    tensors = []
    for number in range(50):
        array[...] = number
        tensors.append(device.upload(array))
    assert [t.numpy()[7] for t in tensors] == list(range(50))


def test_large_writes_go_in_pieces(
    device: CudaDevice, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "CHUNK", 1024)
    array = np.arange(9 * 1000, dtype=np.float32).reshape(1, 9, 1000)
    whole = device.zeros((2, 9, 1200), np.float32)
    calls = len(driver.calls)
    device.write(whole[1:, :, 100:1100], array)
    assert (
        driver.calls[calls:].count("cuMemcpy2DAsync") + driver.calls[calls:].count("cuMemcpyHtoDAsync") >= 36
    )
    found = whole.numpy()
    np.testing.assert_array_equal(found[1:, :, 100:1100], array)
    assert found.sum() == array.sum(dtype=np.float32)


def test_what_does_not_fit_is_refused(device: CudaDevice, driver: FakeDriver) -> None:
    tensor = device.zeros((4,), np.float32)
    with pytest.raises(EngineError, match="expected the same"):
        device.write(tensor, np.zeros(4))
    with pytest.raises(EngineError, match="expected the same"):
        device.copy(tensor, device.zeros((5,), np.float32))
    with pytest.raises(EngineError, match="a tensor of cpu on cuda:0 NVIDIA Fake"):
        device.copy(tensor, HOST.zeros((4,), np.float32))
    with pytest.raises(EngineError, match="zeros for a tensor with gaps"):
        device.zero(device.zeros((4, 4), np.float32)[:, :2])


def test_any_thread_may_use_it(device: CudaDevice, driver: FakeDriver) -> None:
    """Also at once, and one that waits does not keep others from queuing."""
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(device.upload(np.full(50, n)).numpy()))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(int(f[0]) for f in found) == list(range(8))
    assert all((f == f[0]).all() for f in found)

    waiting, queued = threading.Event(), threading.Event()

    class SlowEvent:
        def query(self) -> bool:
            return False

        def synchronize(self) -> None:
            waiting.set()
            assert queued.wait(10), "a thread that waits holds the device"

    def other() -> None:
        assert waiting.wait(10)
        device.upload(np.zeros(3))
        queued.set()

    thread = threading.Thread(target=other)
    thread.start()
    device._context.wait(SlowEvent())
    thread.join(10)


def test_the_context_is_current_only_while_it_is_used(device: CudaDevice, driver: FakeDriver) -> None:
    with device.active():
        device.zeros((2,), np.float32)
        with device.active():
            assert len(driver.stack()) == 1, "nested use is to be cheap"
        assert len(driver.stack()) == 1
    assert not driver.stack()
    with pytest.raises(RuntimeError), device.active():
        raise RuntimeError
    assert not driver.stack()


def test_work_of_others_on_the_stream(device: CudaDevice, driver: FakeDriver) -> None:
    tensor, before = device.upload(np.arange(4, dtype=np.uint8)), device.counters.launches

    def double() -> None:
        driver.view(tensor.address, 4)[...] *= 2

    with device.launching("double", tensor) as stream:
        driver.enqueue(stream, double)
    assert tensor.numpy().tolist() == [0, 2, 4, 6]
    assert device.counters.launches == before + 2
    with (
        pytest.raises(EngineError, match="double: a tensor of cpu"),
        device.launching("double", HOST.zeros((1,), "u1")),
    ):
        pass


def test_closing_waits_and_gives_all_back(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver, runtime=driver.runtime)
    tensor = device.upload(np.arange(5))
    reading, dropped = device.read(tensor), device.read(tensor)
    device.close()
    driver.check_all_returned()
    device.close()
    for use in (reading.value, tensor.numpy, device.synchronize, lambda: device.empty((1,), "u1")):
        with pytest.raises(EngineError, match="is closed"):
            use()
    del tensor, dropped, reading
    gc.collect()
    again = CudaDevice(driver=driver)
    assert again.upload(np.arange(3)).numpy().tolist() == [0, 1, 2]
    again.close()
    driver.check_all_returned()


def test_closing_in_another_thread_or_inside_its_own_use(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver, graphs=False)
    device.zeros((3,), "f4")
    in_thread(device.close)
    driver.check_all_returned()
    device = CudaDevice(driver=driver, graphs=False)
    with device.active():
        device.close()
    driver.check_all_returned()


def test_an_illegal_address_loses_the_device(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver, runtime=driver.runtime)
    tensor, recorded = device.zeros((4,), "f4"), device.zeros((4,), "f4")
    replay = device.record(lambda: device.zero(recorded))
    for _ in range(3):
        replay()
    driver.fail_wait = "an illegal memory access was encountered"
    with pytest.raises(EngineError, match="cuda:0 NVIDIA Fake is lost.*illegal memory access") as caught:
        tensor.numpy()
    assert "open it again" in (caught.value.hint or "")
    calls = len(driver.calls)
    for use in (tensor.numpy, lambda: device.copy(tensor, recorded), replay, device.synchronize):
        with pytest.raises(EngineError, match="is lost"):
            use()
    assert len(driver.calls) == calls
    device.close()
    assert driver.retained == 0 and not driver.memory and not driver.stack()


def test_a_replay_that_fails_for_good_loses_the_device(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver, runtime=driver.runtime)
    tensor = device.zeros((4,), "f4")
    replay = device.record(lambda: device.zero(tensor))
    for _ in range(3):
        replay()
    driver.lasting = "unspecified launch failure"
    with pytest.raises(EngineError, match="is lost: cudaGraphLaunch failed"):
        replay()
    device.close()


def test_an_error_that_does_not_last_is_only_an_error(device: CudaDevice, driver: FakeDriver) -> None:
    with pytest.raises(EngineError, match="refuses: cuThing failed"), device.active():
        raise driver.LogicError("cuThing failed: invalid argument")
    assert device.zeros((2,), "f4").numpy().tolist() == [0, 0]
    with pytest.raises(EngineError, match="out of memory, 1024 of 1024 MiB are free"), device.active():
        raise driver.MemoryError("cuThing failed: out of memory")


def test_no_gpu_to_be_had(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver) -> None:
    with pytest.raises(EngineError, match="no GPU can be used here: cuInit failed"):
        CudaDevice(driver=FakeDriver(gpus=0))
    with pytest.raises(EngineError, match="there is no GPU 3, this machine has 2"):
        CudaDevice(3, driver=FakeDriver(gpus=2))

    def no_library(name: str, mode: int) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(nvidia.ctypes, "CDLL", no_library)
    with pytest.raises(EngineError, match="no NVIDIA driver here: libcuda.so.1"):
        CudaDevice()
    monkeypatch.setattr(nvidia.ctypes, "CDLL", lambda name, mode: None)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineError, match="PyCUDA cannot be loaded") as caught:
        CudaDevice()
    assert caught.value.hint == "pip install 'tts-trt[cuda]'"


def test_sections_have_names_where_nvtx_is_installed(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Nvtx:
        @staticmethod
        def annotate(message: str, domain: str) -> CudaDevice:
            seen.append(f"{domain}: {message}")
            return CudaDevice(driver=driver, graphs=False)  # any context manager

    monkeypatch.setitem(sys.modules, "nvtx", Nvtx)
    with CudaDevice(driver=driver, graphs=False) as device, device.section("decode"):
        pass
    monkeypatch.setitem(sys.modules, "nvtx", None)
    with CudaDevice(driver=driver, graphs=False) as device, device.section("decode"):
        pass
    assert seen == ["tts_trt: decode"]


def test_time_between_marks_is_the_devices(driver: FakeDriver, device: CudaDevice) -> None:
    """The fake's work takes a millisecond a piece."""
    tensor = device.zeros((4,), np.float32)
    start = device.mark()
    for _ in range(7):
        device.zero(tensor)
    end = device.mark()
    device.zero(tensor)
    pieces = len(driver.streams[device.stream_handle].queue)
    assert pieces > 7, "nothing was waited for"
    assert device.seconds(start, end) == pytest.approx(8e-3, abs=1.1e-3)  # the mark itself is a piece
    assert len(driver.streams[device.stream_handle].queue) == 1
