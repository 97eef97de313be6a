from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.runtime.fake_driver import FakeDriver
from tts_trt.errors import EngineError
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.cuda_graph import RecordingError
from tts_trt.runtime.device import Tensor


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[CudaDevice]:
    with CudaDevice(driver=driver, runtime=driver.runtime) as device:
        yield device
    driver.check_all_returned()


class Step:
    """state += noise, and the state is copied away: an engine's launch and a copy, as in a step of decoding."""

    def __init__(self, driver: FakeDriver, device: CudaDevice) -> None:
        self.driver, self.device = driver, device
        self.state, self.seen = device.zeros((4,), "i4"), device.zeros((2,), "i4")
        self.noise = device.upload(np.arange(4, dtype=np.int32))
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1
        state, noise = self.state.address, self.noise.address
        with self.device.launching("add", self.state, self.noise) as stream:
            self.driver.enqueue(stream, lambda: self._add(state, noise))
        self.device.copy(self.seen, self.state[1:3])

    def _add(self, state: int, noise: int) -> None:
        self.driver.view(state, 16).view("i4")[...] += self.driver.view(noise, 16, alignment=256).view("i4")


@pytest.mark.parametrize("graphs", [True, False])
def test_every_call_has_the_effect_of_the_work_once(driver: FakeDriver, graphs: bool) -> None:
    with CudaDevice(driver=driver, runtime=driver.runtime, graphs=graphs) as device:
        step = Step(driver, device)
        again = device.record(step)
        assert step.runs == 0, "recording alone changes nothing"
        expected, readings = np.zeros(4, int), []
        for number in range(8):
            noise = np.full(4, number, np.int32)
            device.write(step.noise, noise)
            again()
            expected = expected + noise
            readings.append((device.read(step.state), device.read(step.seen), expected))
        for state, seen, wanted in readings:
            assert state.value().tolist() == wanted.tolist()
            assert seen.value().tolist() == wanted[1:3].tolist()
        assert step.runs == (3 if graphs else 8)
        assert device.counters.replays == (6 if graphs else 0)
    driver.check_all_returned()
    assert bool(driver.runtime.calls) is graphs


def test_a_replay_is_one_launch_and_neither_allocates_nor_waits(
    driver: FakeDriver, device: CudaDevice
) -> None:
    again = device.record(Step(driver, device))
    for _ in range(3):
        again()
    before, launched = device.counters, driver.launched
    for _ in range(100):
        again()
    after = device.counters
    assert after.launches - before.launches == driver.launched - launched == 100
    assert (after.allocations, after.waits) == (before.allocations, before.waits)


def test_the_order_of_capture(driver: FakeDriver, device: CudaDevice) -> None:
    again = device.record(Step(driver, device))
    before = device.counters.launches
    for _ in range(4):
        again()
    assert device.counters.launches - before == 2 + 2 + 1 + 1, "what is captured is not launched"
    assert driver.runtime.calls == [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGraphInstantiate",
        "cudaGraphDestroy",
        "cudaGraphLaunch",
        "cudaGraphLaunch",
    ]


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize(
    ("what", "forbidden"),
    [
        ("write from the host", lambda device, tensor: device.write(tensor, np.zeros(4, np.int32))),
        ("write from the host", lambda device, tensor: device.put(tensor, np.zeros(4, np.int32))),
        ("read", lambda device, tensor: tensor.numpy()),
        ("read", lambda device, tensor: device.read(tensor)),
        ("allocate", lambda device, tensor: device.empty((4,), "i4")),
        ("wait", lambda device, tensor: device.synchronize()),
        ("run recorded work", lambda device, tensor: device.record(lambda: None)()),
    ],
)
def test_what_cannot_be_replayed_is_refused_at_once(
    driver: FakeDriver, graphs: bool, what: str, forbidden: Callable[[CudaDevice, Tensor], None]
) -> None:
    with CudaDevice(driver=driver, runtime=driver.runtime, graphs=graphs) as device:
        tensor = device.zeros((4,), "i4")
        with pytest.raises(RecordingError, match=f"recorded work may not {what}"):
            device.record(lambda: forbidden(device, tensor))()
        forbidden(device, tensor)  # outside it may
    driver.check_all_returned()


def test_misuse_that_shows_only_in_the_capture_is_an_error_too(
    driver: FakeDriver, device: CudaDevice
) -> None:
    tensor, runs = device.zeros((4,), "i4"), 0

    def work() -> None:
        nonlocal runs
        runs += 1
        device.zero(tensor)
        if runs == 3:
            device.write(tensor, np.ones(4, np.int32))

    again = device.record(work)
    again()
    again()
    with pytest.raises(RecordingError, match="may not write"):
        again()
    assert device.upload(np.arange(3)).numpy().tolist() == [0, 1, 2], "the stream is usable"


@pytest.mark.parametrize("run", [2, 3])
@pytest.mark.parametrize("change", ["address", "shape"])
def test_other_tensors_than_before_are_noticed(
    driver: FakeDriver, device: CudaDevice, run: int, change: str
) -> None:
    step = Step(driver, device)
    again = device.record(step)
    for _ in range(run - 1):
        again()
    step.seen = device.zeros((2,), "i4") if change == "address" else step.seen
    if change == "shape":
        device.copy = lambda target, source: CudaDevice.copy(device, target[:1], source[:1])  # type: ignore[method-assign]
    with pytest.raises(RecordingError, match="on other tensors than before"):
        again()


def test_recorded_tensors_live_as_long_as_the_recording(driver: FakeDriver, device: CudaDevice) -> None:
    """Though the caller has let go of them, their memory is given to nobody else."""
    step = Step(driver, device)
    state = step.state
    again = device.record(step)
    for _ in range(3):
        again()
    before = device.counters.used_bytes
    step.seen = device.zeros((2,), "i4")
    assert device.counters.used_bytes == before + 256
    others = [device.zeros((2,), "i4") for _ in range(5)]
    device.write(step.noise, np.ones(4, np.int32))
    again()
    assert all(o.numpy().tolist() == [0, 0] for o in others)
    assert state.numpy().tolist() == [1, 4, 7, 10]
    del again
    step.driver = None  # type: ignore[assignment]
    gc.collect()
    assert device.counters.used_bytes == before - 256 + 256 + 5 * 256


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_when_capture_fails_work_is_launched_step_by_step(
    driver: FakeDriver, device: CudaDevice, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    driver.runtime.fail = function
    step = Step(driver, device)
    again = device.record(step)
    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            again()
    assert step.state.numpy().tolist() == [0, 6, 12, 18]
    assert [r.getMessage() for r in caplog.records] == [
        f"no CUDA graph, work is launched step by step: {function} failed: cudaErrorMemoryAllocation"
    ]
    assert driver.runtime.calls.count("cudaStreamBeginCapture") == 1


def test_an_engine_that_cannot_be_captured(
    driver: FakeDriver, device: CudaDevice, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it allocates behind the device's back, which is no error outside a capture."""
    step = Step(driver, device)
    held = []

    def work() -> None:
        step()
        with device.active():
            held.append(driver.mem_alloc(16))

    again = device.record(work)
    for _ in range(5):
        again()
    assert step.state.numpy().tolist() == [0, 5, 10, 15]
    assert "refuses: cuMemAlloc failed: operation not permitted" in caplog.text
    with device.active():
        for allocation in held:
            allocation.free()


def test_an_engine_that_fails_in_the_capture_with_a_foreign_error(
    driver: FakeDriver, device: CudaDevice
) -> None:
    runs = 0

    def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            raise KeyboardInterrupt

    again = device.record(work)
    again()
    again()
    with pytest.raises(KeyboardInterrupt):
        again()
    assert device.zeros((2,), "i4").numpy().tolist() == [0, 0]


def test_without_cuda_python(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with CudaDevice(driver=driver) as device:
        assert "no CUDA graphs, work is launched step by step" in caplog.text
        step = Step(driver, device)
        again = device.record(step)
        for _ in range(4):
            again()
        assert step.state.numpy().tolist() == [0, 4, 8, 12]
    driver.check_all_returned()


def test_other_threads_wait_for_the_end_of_a_capture(driver: FakeDriver, device: CudaDevice) -> None:
    """What they queue is not captured, and does not break it."""
    step, reading = Step(driver, device), device.read(device.upload(np.arange(5)))
    runs, results, inside = 0, [], threading.Event()

    def other() -> None:
        assert inside.wait(10)
        results.append(reading.value().tolist())  # needs no lock: it was queued before
        results.append(device.upload(np.arange(3)).numpy().tolist())

    thread = threading.Thread(target=other)

    def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            inside.set()
            thread.join(0.2)
        step()

    again = device.record(work)
    thread.start()
    for _ in range(6):
        again()
    thread.join(10)
    assert results == [list(range(5)), [0, 1, 2]]
    assert step.state.numpy().tolist() == [0, 6, 12, 18]
    assert device.counters.replays == 4


def test_graphs_are_destroyed(driver: FakeDriver) -> None:
    device = CudaDevice(driver=driver, runtime=driver.runtime)
    recordings = [device.record(Step(driver, device)) for _ in range(3)]
    for again in recordings * 3:
        again()
    assert len(driver.runtime.alive) == 3
    del again
    recordings.pop()
    gc.collect()
    assert len(driver.runtime.alive) == 3, "a finalizer does not call the driver"
    device.synchronize()
    assert len(driver.runtime.alive) == 2
    device.close()
    driver.check_all_returned()
    with pytest.raises(EngineError, match="is closed"):
        recordings[0]()


def test_nothing_is_collected_during_a_capture(driver: FakeDriver, device: CudaDevice) -> None:
    states = []
    again = device.record(lambda: states.append(gc.isenabled()))
    for _ in range(3):
        again()
    assert states == [True, True, False]
    assert gc.isenabled()
