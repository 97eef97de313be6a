"""A live voice gives up what costs least to be in time, says so, and refuses only then. Time is a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tts_trt.policy import Live, shipped
from tts_trt.render.live import LiveVoice, TooLate
from tts_trt.runtime.request import Request, Result, SegmentInfo
from tts_trt.runtime.sampling import SamplingParams

RATE = 16_000
POLICY = replace(shipped(Live), chunk_codes=(40, 64), flow_steps=(0, 6, 4))  # sound 350, first audio 500 ms
ASKED = Request("", "anna", sampling=SamplingParams())


class Voice:
    """Takes ``decode`` seconds and ``flow`` seconds per flow step before each chunk, which holds half a second of sound."""

    def __init__(self, decode: float = 0.02, flow: float = 0.01, chunks: int = 4) -> None:
        self.decode, self.flow, self.chunks, self.now = decode, flow, chunks, 0.0
        self.forced: list[tuple[int, int | None]] = []
        self.streamed: list[tuple[int, int, int | None]] = []

    def clock(self) -> float:
        return self.now

    def synthesize(self, request: Request) -> Result:
        assert request.sampling and request.steps
        self.forced.append((request.sampling.min_codes, request.sampling.max_codes))
        times = {
            "plan": 0.001,
            "decode": self.decode,
            "mel_condition": 0.0,
            "flow": self.flow * request.steps,
            "vocoder": 0.0,
        }
        info = SegmentInfo(request.text, 0.0, 0.5, 20, "length", 1.0)
        return Result(np.ones(RATE // 2, np.float32), RATE, (np.zeros(20, np.int64),), (info,), times)

    def stream(self, request: Request, first_codes: int, chunk_codes: int) -> Iterator[np.ndarray]:
        self.streamed.append((first_codes, chunk_codes, request.steps))
        for _ in range(self.chunks):
            self.now += self.decode + self.flow * (request.steps or 0)
            yield np.full(RATE // 2, 0.1, np.float32)


def live(voice: Voice, policy: Live = POLICY) -> LiveVoice:
    return LiveVoice(voice, policy, ASKED, own_steps=10, sample_rate=RATE, clock=voice.clock)


def test_within_the_budget_nothing_is_given_up() -> None:
    voice = Voice()
    speaker = live(voice)
    stages = speaker.prepare("see me")
    assert (stages.plan, stages.decode, stages.sound) == pytest.approx((1.0, 20.0, 100.0))
    assert set(voice.forced) == {(POLICY.first_codes, POLICY.first_codes)}, "the first chunk alone"
    said = speaker.say("see me")
    assert said.first_audio_ms == pytest.approx(120.0) and said.underrun_ms == 0.0
    assert voice.streamed == [(POLICY.first_codes, 40, 10)]
    assert len(said.wave_S) == 2 * RATE and not speaker.given_up and not speaker.warnings


def test_flow_steps_are_given_up_until_it_is_soon_enough() -> None:
    speaker = live(Voice(decode=0.05, flow=0.1))
    assert speaker.prepare("see me").first_audio == pytest.approx(451.0)
    assert speaker.flow_steps == 4
    assert speaker.given_up[0].startswith(
        "6 flow steps instead of 10: sound 1000 ms of 350, first_audio 1051 ms of 500"
    )
    assert speaker.warnings == ["first chunk: sound 400 ms of 350"], "late in one stage, in time as a whole"


def test_what_is_too_late_in_any_case_is_refused_with_every_stage() -> None:
    speaker = live(Voice(decode=0.4, flow=0.1))
    with pytest.raises(
        TooLate,
        match=r"even with 4 flow steps: decode 400 ms of 250, sound 400 ms of 350, first_audio 801 ms",
    ):
        speaker.prepare("see me")
    assert len(speaker.given_up) == 2


def test_gaps_lead_to_larger_chunks_and_then_to_fewer_steps() -> None:
    voice = Voice(decode=0.3, flow=0.04)  # 0.7 s of work for 0.5 s of sound
    speaker = live(voice)
    said = [speaker.say("see me") for _ in range(4)]
    assert said[0].underrun_ms == pytest.approx(600.0), "three gaps of 0.2 s add up"
    assert [(one.chunk_codes, one.flow_steps) for one in said] == [(40, 10), (64, 10), (64, 6), (64, 4)]
    assert [words.split(":")[0] for words in speaker.given_up] == [
        "64 codes a chunk instead of 40",
        "6 flow steps instead of 10",
        "4 flow steps instead of 6",
    ]
    voice.decode = 0.6
    speaker.say("see me")
    assert "nothing is left to give up" in speaker.warnings[-1]


def test_a_late_first_chunk_leads_to_fewer_steps() -> None:
    speaker = live(Voice(decode=0.15, flow=0.04, chunks=1))
    speaker.say("see me")
    assert speaker.flow_steps == 6 and "first audio after 550 ms of 500" in speaker.given_up[0]


def test_steps_of_a_policy_that_are_no_fewer_than_the_models_are_left_out() -> None:
    voice = Voice(flow=0.1, chunks=1)
    policy = replace(POLICY, flow_steps=(0, 12, 6))
    speaker = LiveVoice(voice, policy, ASKED, own_steps=8, sample_rate=RATE, clock=voice.clock)
    assert speaker.flow_steps == 8
    speaker.say("see me")
    assert speaker.flow_steps == 6
