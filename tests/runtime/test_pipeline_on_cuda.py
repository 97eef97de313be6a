"""The whole pipeline on a CUDA device whose driver carries work out as late as it may: same sound as on the host, and the
host neither waits for steps nor allocates while they run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.fake_driver import FakeDriver
from tts_trt.dims import ModelDims
from tts_trt.errors import SynthesisError
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.cuda import CudaDevice
from tts_trt.runtime.decode import LAG, Cancelled, Decoder, DecodeRow
from tts_trt.runtime.device import Tensor
from tts_trt.runtime.engine import Engines, Feed, Tensors
from tts_trt.runtime.fake import Compute, FakeEngine, fake_engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings, StreamOptions
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.spec import GraphSpec, Limits

EXACT = replace(TINY, latents="exact")
MODELS = pytest.mark.parametrize("dims", [TINY, EXACT], ids=["one-pass", "exact"])
SAMPLING = SamplingParams.of(TINY, max_codes=40, repetition_penalty=1.0)

Place = tuple[int, tuple[int, ...], np.dtype]


class QueuedEngine(FakeEngine):
    """Computes when the driver comes to it, from whatever then lies at its addresses."""

    def __init__(self, spec: GraphSpec, compute: Compute, device: CudaDevice, driver: FakeDriver) -> None:
        super().__init__(spec, compute)
        self.device, self.driver = device, driver

    def launch(self, inputs: Feed, outputs: Tensors | None = None) -> dict[str, Tensor]:
        placed = self.given(outputs, fed := self.fed(inputs))
        axes = {
            axis: size
            for t in self.spec.inputs
            for axis, size in zip(t.shape, fed[t.name].shape, strict=True)
            if isinstance(axis, str)
        }
        axes.setdefault("S", axes.get("L", 0) + TINY.gpt.latents + 5)
        axes.setdefault("W", axes.get("T", 0) * TINY.audio.hop)
        for t in self.spec.outputs:
            if t.name not in placed:
                shape = tuple(axes[a] if isinstance(a, str) else a for a in t.shape)
                placed[t.name] = self.device.empty(shape, self.dtype(t))
        # addresses alone: what nothing refers to any longer is the pool's, as on a GPU
        reads, writes = ({n: (t.address, t.shape, t.dtype) for n, t in ts.items()} for ts in (fed, placed))
        with self.device.launching(self.spec.name, *fed.values(), *placed.values()) as stream:
            self.driver.enqueue(stream, lambda: self._kernel(reads, writes))
        return placed

    def _kernel(self, reads: dict[str, Place], writes: dict[str, Place]) -> None:
        self.runs += 1
        made = self.compute({name: self._view(place) for name, place in reads.items()})
        for name, place in writes.items():
            if name not in self.spec.aliases:
                self._view(place)[...] = made[name]

    def _view(self, place: Place) -> np.ndarray:
        address, shape, dtype = place
        size = int(np.prod(shape)) * dtype.itemsize
        return self.driver.view(address, size).view(dtype).reshape(shape)


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[CudaDevice]:
    with CudaDevice(driver=driver, runtime=driver.runtime) as opened:
        yield opened
    driver.check_all_returned()


def queued(dims: ModelDims, device: CudaDevice, driver: FakeDriver) -> Engines:
    on_host = fake_engines(dims)
    return Engines(
        {
            name: QueuedEngine(engine.spec, engine.compute, device, driver)  # type: ignore[attr-defined]
            for name, engine in on_host._engines.items()
        }
    )


def rows(count: int = 3, sampling: SamplingParams = SAMPLING) -> list[DecodeRow]:
    rng = np.random.default_rng(0)
    g = TINY.gpt
    return [
        DecodeRow(
            rng.standard_normal((g.latents, g.dim), dtype=np.float32),
            rng.integers(2, 12, 3 + 4 * i),
            1.0,
            replace(sampling, seed=i),
            i,
        )
        for i in range(count)
    ]


@MODELS
def test_codes_and_latents_are_the_hosts(dims: ModelDims, device: CudaDevice, driver: FakeDriver) -> None:
    here = Decoder(fake_engines(dims), dims, Limits())
    there = Decoder(queued(dims, device, driver), dims, Limits())
    for batch in (rows(3), rows(1), rows(3), rows(2, replace(SAMPLING, greedy=True))):
        for ours, theirs in zip(here.run(batch), there.run(batch), strict=True):
            assert (ours.codes_M.tolist(), ours.finish) == (theirs.codes_M.tolist(), theirs.finish)
            np.testing.assert_array_equal(ours.latents_MD.numpy(), theirs.latents_MD.numpy())
    assert device.counters.replays > 0


@MODELS
def test_speech_and_streams_are_the_hosts(
    dims: ModelDims,
    device: CudaDevice,
    driver: FakeDriver,
    tokenizer: PhoneTokenizer,
    recording: np.ndarray,
) -> None:
    here = Synthesizer(OpenBundle(fake_engines(dims), dims, tokenizer))
    there = Synthesizer(OpenBundle(queued(dims, device, driver), dims, tokenizer))
    request = Request("See me. Bad cat, no!", recording, sampling=SAMPLING, segment_ids=8)
    (one, two), (other, another) = (
        tts.synthesize_batch([request, replace(request, text="No.")]) for tts in (here, there)
    )
    assert len(one.segments) > 1
    np.testing.assert_array_equal(one.wave, other.wave)
    np.testing.assert_array_equal(two.wave, another.wave)
    streams = [np.concatenate(list(tts.stream(request, 4, 6))) for tts in (here, there)]
    np.testing.assert_array_equal(*streams)


@MODELS
def test_a_scheduler_gives_what_the_host_gives_alone(
    dims: ModelDims,
    device: CudaDevice,
    driver: FakeDriver,
    tokenizer: PhoneTokenizer,
    recording: np.ndarray,
) -> None:
    """Rows join and leave while steps are on their way; places are idle for longer than a row lasts."""
    here = Synthesizer(OpenBundle(fake_engines(dims), dims, tokenizer))
    there = Synthesizer(OpenBundle(queued(dims, device, driver), dims, tokenizer))
    texts = ("See me. Bad cat, no!", "No.", "To me? No bad cat to see.", "See.")
    requests = [
        Request(text, recording, sampling=replace(SAMPLING, seed=seed), segment_ids=8)
        for seed, text in enumerate(texts * 2)
    ]
    options = StreamOptions(first_codes=4, chunk_codes=6)
    with Scheduler(there, SchedulerSettings(cache_slots=3)) as scheduler:
        tickets = [scheduler.submit(r, stream=options if i % 2 else None) for i, r in enumerate(requests)]
        results = [ticket.result(60.0) for ticket in tickets]
        stats = scheduler.stats()
    for i, (request, result) in enumerate(zip(requests, results, strict=True)):
        alone = here.synthesize(request)
        assert [c.tolist() for c in result.codes] == [c.tolist() for c in alone.codes]
        wave = np.concatenate(list(here.stream(request, 4, 6))) if i % 2 else alone.wave
        np.testing.assert_allclose(result.wave, wave, atol=1e-5)
    assert stats.steps < stats.step_rows
    assert stats.steps > dims.gpt.max_codes


def test_the_host_does_not_wait_for_steps_and_allocates_nothing(
    device: CudaDevice, driver: FakeDriver
) -> None:
    """A GPU that is up to ``LAG - 1`` steps behind never stops the host."""
    decoder = Decoder(queued(TINY, device, driver), TINY, Limits())
    forced = rows(2, SAMPLING.forced(36))
    decoder.run(forced)
    stream = driver.streams[device.stream_handle]
    with decoder.batch(forced) as batch:
        steps = batch.steps()
        for _ in range(2):
            next(steps)
        a_step = len(stream.queue) // LAG
        driver.advance(a_step)
        before = device.counters
        for drawn, _ in enumerate(steps, start=3):
            if drawn == 36 - LAG:  # from here on nothing is left to queue, and the host waits for the end
                break
            driver.advance(max(0, len(stream.queue) - (LAG - 1) * a_step))
        after = device.counters
    assert after.waits == before.waits
    assert after.allocations == before.allocations
    assert after.page_locked_allocations == before.page_locked_allocations
    assert after.replays - before.replays == 36 - LAG - 2, "a step is one replay"


def test_a_batch_of_a_size_that_was_there_needs_no_new_memory(device: CudaDevice, driver: FakeDriver) -> None:
    decoder = Decoder(queued(TINY, device, driver), TINY, Limits())
    for _ in range(2):
        decoder.run(rows(3))
    held = device.counters
    for _ in range(5):
        decoder.run(rows(3))
    assert device.counters.allocations == held.allocations
    assert device.counters.used_bytes == held.used_bytes


def test_cancelling_and_broken_scores_end_a_batch(device: CudaDevice, driver: FakeDriver) -> None:
    engines = queued(TINY, device, driver)
    decoder, cancel = Decoder(engines, TINY, Limits()), threading.Event()
    with (
        decoder.batch(rows(1, SAMPLING.forced(30))) as batch,
        pytest.raises(Cancelled, match="after 5 codes"),
    ):
        for n, _ in enumerate(batch.steps(cancel), start=1):
            if n == 5:
                cancel.set()
    (again,) = decoder.run(rows(1))
    (expected,) = Decoder(fake_engines(TINY), TINY, Limits()).run(rows(1))
    assert again.codes_M.tolist() == expected.codes_M.tolist()
    gpt = engines["gpt"]
    whole = gpt.compute  # type: ignore[attr-defined]
    gpt.compute = lambda x: {name: value * np.nan for name, value in whole(x).items()}  # type: ignore[attr-defined]
    with pytest.raises(SynthesisError, match="are not numbers"):
        decoder.run(rows(1))
