"""Many requests at once: each gets what it gets alone, none waits for what is less urgent, nothing is left behind."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.runtime.crowds import (
    BATCHED,
    CHUNKS,
    ONE_WORKER,
    PATIENT,
    Gate,
    asked,
    by_itself,
    idle,
    opened,
    sampling,
)
from tts_trt.errors import Busy, DeadlineExceeded, EngineError, SynthesisError, TextError, UsageError
from tts_trt.runtime.decode import Cancelled
from tts_trt.runtime.engine import Arrays, Engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings, StreamOptions
from tts_trt.runtime.synthesizer import Synthesizer


@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "sampled"])
@pytest.mark.parametrize(
    "settings", [SchedulerSettings(cache_slots=4, workers=2), BATCHED], ids=["threads", "batched"]
)
@pytest.mark.parametrize("speaker", ["tts", "exact_tts"])
def test_each_request_gets_what_it_gets_alone(
    speaker: str,
    settings: SchedulerSettings,
    greedy: bool,
    recording: np.ndarray,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "tts_trt.runtime.scheduler.ABOUT_SECONDS", 1e9
    )  # all is wanted at once: batches are full
    tts = request.getfixturevalue(speaker)
    requests = asked(recording, 6, greedy=greedy)
    with Scheduler(tts, settings) as scheduler:
        tickets = [scheduler.submit(r, stream=CHUNKS if i % 2 else None) for i, r in enumerate(requests)]
        results = [ticket.result(PATIENT) for ticket in tickets]
        chunks = [list(ticket.chunks()) for ticket in tickets]
        stats = scheduler.stats()
    for i, (one, result) in enumerate(zip(requests, results, strict=True)):
        alone, expected = by_itself(tts, one)
        assert [c.tolist() for c in result.codes] == [c.tolist() for c in alone.codes]
        assert [s.text for s in result.segments] == [s.text for s in alone.segments]
        if i % 2:
            assert [len(c) for c in chunks[i]] == [len(c) for c in expected]
            np.testing.assert_allclose(result.wave, np.concatenate(expected), atol=1e-4)
        else:
            assert len(chunks[i]) == 1
            np.testing.assert_allclose(result.wave, alone.wave, atol=1e-4)
    assert stats.step_rows > 1.3 * stats.steps, "rows share steps"
    if settings is BATCHED:
        assert stats.flow_rows > 1.3 * stats.flow_calls, "rows share Euler steps"
    assert stats.finished == len(requests)


def test_a_row_joins_others_that_are_on_their_way(
    fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    long, short = (
        Request("See me.", recording, sampling=sampling(seed).forced(codes))
        for seed, codes in ((1, 40), (2, 9))
    )
    gate = Gate(fakes, "gpt", after=20)
    with Scheduler(fake_tts, ONE_WORKER) as scheduler, opened(gate):
        first = scheduler.submit(long)
        assert gate.reached.wait(PATIENT)
        second = scheduler.submit(short)
        gate.open()
        second.result(PATIENT)
        result = first.result(PATIENT)
        stats = scheduler.stats()
    assert stats.step_rows - stats.steps == 9 - 1, "all steps of the short one were the long one's too"
    assert result.codes[0].tolist() == fake_tts.synthesize(long).codes[0].tolist()


def test_a_short_request_does_not_wait_for_all_of_a_long_one(
    fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    book = Request("See me. No cat. Bad cat! " * 12, recording, sampling=sampling(1), segment_ids=8)
    gate = Gate(fakes, "sampler", after=10)
    settings = SchedulerSettings(workers=1, cache_slots=2)
    with Scheduler(fake_tts, settings) as scheduler, opened(gate):
        long = scheduler.submit(book)
        assert gate.reached.wait(PATIENT)
        short = scheduler.submit(Request("No cat.", recording, sampling=sampling(2)))
        ended: list[str] = []
        threads = [
            threading.Thread(target=lambda t=ticket, n=name: (t.result(PATIENT), ended.append(n)))
            for ticket, name in ((long, "long"), (short, "short"))
        ]
        for thread in threads:
            thread.start()
        gate.open()
        for thread in threads:
            thread.join()
    assert ended == ["short", "long"]


def test_a_full_queue_says_when_to_come_again(
    fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    gate = Gate(fakes, "prompt")
    settings = SchedulerSettings(workers=1, queue=2, cache_slots=1)
    with Scheduler(fake_tts, settings) as scheduler, opened(gate):
        running = scheduler.submit(asked(recording)[0])
        assert gate.reached.wait(PATIENT)
        waiting = [scheduler.submit(one) for one in asked(recording, 2)]
        with pytest.raises(Busy, match="2 requests are waiting") as refused:
            scheduler.submit(asked(recording)[0])
        assert refused.value.retry_after > 0
        assert (scheduler.stats().waiting, scheduler.stats().refused) == (2, 1)
        waiting[0].cancel()  # makes room at once
        waiting.append(scheduler.submit(asked(recording)[0]))
        gate.open()
        assert len(running.result(PATIENT).wave)
        assert len(waiting[2].result(PATIENT).wave)


def test_what_cannot_be_spoken_is_refused_at_once(fake_tts: Synthesizer, recording: np.ndarray) -> None:
    with Scheduler(fake_tts) as scheduler:
        with pytest.raises(TextError):
            scheduler.submit(Request("", recording))
        with pytest.raises(UsageError, match="no voice 'nobody'"):
            scheduler.submit(Request("See me.", "nobody"))
        with pytest.raises(UsageError, match="silent"):
            scheduler.submit(Request("See me.", np.zeros(16000, np.float32))).result(PATIENT)
        assert scheduler.submit(asked(recording)[0]).result(PATIENT).wave.any()


@pytest.mark.parametrize("stage", ["prompt", "sampler", "gpt", "mel_condition", "flow_step", "vocoder"])
@pytest.mark.parametrize("stream", [None, CHUNKS], ids=["whole", "stream"])
def test_a_request_ends_at_any_stage_and_leaves_nothing_behind(
    stage: str, stream: StreamOptions | None, fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    one, other = asked(recording, 2)
    expected = fake_tts.synthesize(other)
    gate = Gate(fakes, stage, after=1 if stage == "mel_condition" else 0)  # the first is a voice's
    with Scheduler(fake_tts, ONE_WORKER) as scheduler, opened(gate):
        unwanted = scheduler.submit(replace(one, voice=recording[::-1].copy()), stream=stream)
        late = scheduler.submit(other, stream=stream, deadline=0.01)
        wanted = scheduler.submit(other)
        assert gate.reached.wait(PATIENT)
        unwanted.cancel()
        with pytest.raises(Cancelled):
            unwanted.result(PATIENT)
        gate.open()
        with pytest.raises(DeadlineExceeded):
            list(late.chunks())
        result = wanted.result(PATIENT)
        assert [c.tolist() for c in result.codes] == [c.tolist() for c in expected.codes]
        np.testing.assert_allclose(result.wave, expected.wave, atol=1e-5)
        assert idle(scheduler)
        stats = scheduler.stats()
        assert (stats.cancelled, stats.expired, stats.finished, stats.failed) == (1, 1, 1, 0)


def test_time_runs_out_for_one_that_waits(
    fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    gate = Gate(fakes, "prompt")
    settings = SchedulerSettings(workers=2, cache_slots=1)  # the other worker looks after the deadline
    with Scheduler(fake_tts, settings) as scheduler, opened(gate):
        scheduler.submit(asked(recording)[0])
        assert gate.reached.wait(PATIENT)
        with pytest.raises(DeadlineExceeded):
            scheduler.submit(asked(recording)[1], deadline=0.02).result(PATIENT)


def test_scores_that_are_not_numbers_end_their_own_request(
    fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    requests = asked(recording, 4)[::3]
    marked = replace(requests[0], sampling=replace(requests[0].sampling, top_k=13))
    whole = fakes["sampler"].compute  # type: ignore[attr-defined]
    spoiled = []

    def sampler(x: Arrays) -> dict[str, np.ndarray]:
        made = whole(x)
        for b in np.flatnonzero((x["top_k"] == 13) & (x["step"] == 6)):
            spoiled.append(b)
            made["next_embedding"][b] = np.nan
        return made

    fakes["sampler"].compute = sampler  # type: ignore[attr-defined]
    with Scheduler(fake_tts, ONE_WORKER) as scheduler:
        bad, good = scheduler.submit(marked), scheduler.submit(requests[1])
        with pytest.raises(SynthesisError, match="are not numbers"):
            bad.result(PATIENT)
        result = good.result(PATIENT)
        assert idle(scheduler)
        again = scheduler.submit(replace(marked, sampling=requests[0].sampling))
        assert len(again.result(PATIENT).wave)
    assert len(spoiled) == 1
    for slots in fake_tts.speech.decoder._pool:  # masked or not, what is not a number spreads
        assert all(np.isfinite(cache.numpy()).all() for cache in slots.cache.tensors.values())
    assert result.codes[0].tolist() == fake_tts.synthesize(requests[1]).codes[0].tolist()


@pytest.mark.parametrize("stage", ["gpt", "prompt", "mel_condition", "flow_step", "vocoder"])
def test_an_engine_that_fails_fails_its_requests_and_the_next_one_works(
    stage: str, fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    requests = asked(recording, 3)
    expected = fake_tts.synthesize(requests[2])
    engine = fakes[stage]
    whole = engine.compute  # type: ignore[attr-defined]

    def compute(x: Arrays) -> dict[str, np.ndarray]:
        raise EngineError("out of memory")

    with Scheduler(fake_tts, ONE_WORKER) as scheduler:
        engine.compute = compute  # type: ignore[attr-defined]
        for ticket in [scheduler.submit(one) for one in requests[:2]]:
            with pytest.raises(EngineError, match="out of memory"):
                ticket.result(PATIENT)
        engine.compute = whole  # type: ignore[attr-defined]
        np.testing.assert_allclose(
            scheduler.submit(requests[2]).result(PATIENT).wave, expected.wave, atol=1e-5
        )
        assert idle(scheduler)
        assert scheduler.stats().failed == 2


def test_sound_that_is_none_is_an_error(fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray) -> None:
    whole = fakes["vocoder"].compute  # type: ignore[attr-defined]
    fakes["vocoder"].compute = lambda x: {"wave": whole(x)["wave"] * np.float32(np.nan)}  # type: ignore[attr-defined]
    with Scheduler(fake_tts) as scheduler:
        for stream in (None, CHUNKS):
            ticket = scheduler.submit(asked(recording)[0], stream=stream)
            with pytest.raises(SynthesisError, match="not numbers"):
                list(ticket.chunks())
        assert idle(scheduler)


def test_closing_finishes_what_is_there_or_fails_it(
    fakes: Engines, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    scheduler = Scheduler(fake_tts)
    tickets = [scheduler.submit(one) for one in asked(recording, 4)]
    scheduler.close()
    assert all(len(ticket.result(0).wave) for ticket in tickets)
    with pytest.raises(Busy, match="closing"):
        scheduler.submit(asked(recording)[0])
    gate = Gate(fakes, "flow_step")
    with opened(gate):
        scheduler = Scheduler(fake_tts)
        tickets = [scheduler.submit(one) for one in asked(recording, 4)]
        assert gate.reached.wait(PATIENT)
        closer = threading.Thread(target=scheduler.close, kwargs={"drain": False})
        closer.start()
        for ticket in tickets:
            with pytest.raises(Exception, match="was closed before"):
                ticket.result(PATIENT)
        gate.open()
        closer.join(PATIENT)
        assert not closer.is_alive()
