"""Many requests that come and go: first chunks, times, slots that go back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.crowds import BATCHED, CHUNKS, ONE_WORKER, PATIENT, asked, idle, sampling
from tts_trt.dims import ModelDims
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings
from tts_trt.runtime.slots import Slots
from tts_trt.runtime.synthesizer import Synthesizer


def test_a_first_chunk_may_take_fewer_steps(fake_tts: Synthesizer, recording: np.ndarray) -> None:
    one = Request("See me.", recording, sampling=sampling(0).forced(24), steps=9)
    calls = {}
    for steps in (None, 2):
        with Scheduler(fake_tts, ONE_WORKER) as scheduler:
            options = replace(CHUNKS, first_steps=steps)
            assert len(scheduler.submit(one, stream=options).result(PATIENT).wave) == 24 * 2 * TINY.audio.hop
            calls[steps] = scheduler.stats().flow_calls
    assert calls[None] - calls[2] == 9 - 2


def test_a_ticket_tells_when_its_sound_came(fake_tts: Synthesizer, recording: np.ndarray) -> None:
    with Scheduler(fake_tts) as scheduler:
        ticket = scheduler.submit(asked(recording)[2], stream=CHUNKS)
        first = next(ticket.chunks())
        assert len(first)
        result = ticket.result(PATIENT)
        assert ticket.queued_seconds is not None
        assert ticket.first_audio_seconds is not None
        assert ticket.queued_seconds <= ticket.first_audio_seconds <= result.timings["total"]
        np.testing.assert_array_equal(result.wave, np.concatenate(list(ticket.chunks())))
        seconds = sum(s.seconds for s in result.segments) + 0.15 * (len(result.segments) - 1)
        assert seconds == pytest.approx(result.seconds)


@pytest.mark.parametrize("settings", [SchedulerSettings(workers=3, cache_slots=3), BATCHED])
def test_a_crowd_that_comes_and_goes(
    settings: SchedulerSettings, fake_tts: Synthesizer, recording: np.ndarray
) -> None:
    """Places are used again and again, beyond the length of a row; some callers leave early."""
    rng = np.random.default_rng(0)
    requests = asked(recording, 40)
    expected = [[c.tolist() for c in fake_tts.synthesize(one).codes] for one in requests]
    with Scheduler(fake_tts, replace(settings, queue=40)) as scheduler:
        tickets = []
        for one in requests:
            tickets.append(scheduler.submit(one, stream=CHUNKS if rng.random() < 0.5 else None))
            if rng.random() < 0.3:
                tickets[int(rng.integers(len(tickets)))].cancel()
        for ticket, codes in zip(tickets, expected, strict=True):
            if ticket.cancelled and not ticket._result:
                continue
            assert [c.tolist() for c in ticket.result(PATIENT).codes] == codes
        scheduler.close()
        stats = scheduler.stats()
        assert idle(scheduler)
    assert stats.finished + stats.cancelled == 40
    assert stats.steps > TINY.gpt.max_codes


@pytest.mark.parametrize("dims", [TINY, replace(TINY, latents="exact")], ids=["one-pass", "exact"])
def test_slots_go_back_to_the_pool(dims: ModelDims, tokenizer: PhoneTokenizer, recording: np.ndarray) -> None:
    tts = Synthesizer(OpenBundle(fake_engines(dims), dims, tokenizer))
    decoder, out = tts.speech.decoder, []
    take, give_back = decoder.take, decoder.give_back

    def taken(rows: int) -> Slots:
        out.append(take(rows))
        return out[-1]

    def given_back(slots: Slots, *, failed: bool = False) -> None:
        out.remove(slots)
        give_back(slots, failed=failed)

    decoder.take, decoder.give_back = taken, given_back  # type: ignore[method-assign]
    with Scheduler(tts, SchedulerSettings(workers=1, cache_slots=4)) as scheduler:
        for _ in range(3):
            tickets = [scheduler.submit(one, stream=CHUNKS) for one in asked(recording, 6)]
            next(tickets[0].chunks())
            tickets[0].cancel()
            for ticket in tickets[1:]:
                ticket.result(PATIENT)
            assert idle(scheduler)
        assert scheduler.stats().cancelled == 3
    assert out == []
    assert sum(slots.rows for slots in decoder._pool) <= 2 * decoder.limits.batch
