"""Texts are held against their times before anything is spoken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.tiny import TINY
from tests.render.reader import Reader, speaker
from tests.report.fakes import Letters
from tts_trt.errors import TextError, UsageError
from tts_trt.policy import Dubbing, shipped
from tts_trt.render.dubbing import Room, ladder
from tts_trt.render.srt import Cue, parse_srt
from tts_trt.runtime.plan import Planner
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.spec import Limits

RATE = TINY.audio.sample_rate
POLICY = shipped(Dubbing)  # 0.7 to 1.4
PLANNER = Planner(Letters(), TINY, Limits())
ASKED = Request("", "anna", sampling=SamplingParams())
ROOM = Room(PLANNER, Letters(), RATE)


def cue(start: int, end: int, text: str = "no bad cat.", number: int = 1) -> Cue:
    return Cue(number, start, end, text, line=2)


def test_cues_start_and_end_at_their_samples() -> None:
    (spot,) = ROOM.spots([cue(1001, 1557)], POLICY)  # 11 letters take 0.55 s
    assert (spot.start, spot.end) == (16016, 24912)
    assert spot.rate == pytest.approx(0.55 / 0.556)
    assert spot.request(Request("", "anna")).duration == pytest.approx(0.556)


def test_takes_with_a_natural_end_come_before_forced_ones() -> None:
    (spot,) = ROOM.spots([cue(0, 600)], POLICY)
    policy = replace(POLICY, drawn_takes=2, forced_takes=1)
    made = [request for _, request in ladder(spot, speaker(Reader()), ASKED, policy, seed=5)]
    assert [request.stretch for request in made] == [True, True, False]
    assert len({request.sampling.seed for request in made if request.sampling}) == 3
    drawn, forced = (PLANNER.plan(made[i]).segments[0] for i in (0, 2))
    assert drawn.samples == forced.samples == 0.6 * RATE and drawn.rate == forced.rate
    assert drawn.sampling.max_codes is None and forced.sampling.min_codes == forced.sampling.max_codes


def test_refusals_name_cue_rate_and_range() -> None:
    cues = [
        cue(0, 300),
        cue(1000, 1550, number=2),
        *(cue(2000 * n, 2000 * n + 1000, number=n) for n in range(3, 9)),
    ]
    with pytest.raises(UsageError) as refused:
        ROOM.spots(cues, POLICY)
    words = str(refused.value)
    assert "7 of 8 do not fit their time" in words and "and 2 more" in words
    assert (
        "cue 1 (line 2, 00:00:00,000 to 00:00:00,300): 0.30 s for 'no bad cat.' would need a rate of 1.83"
        in words
    )
    assert "expected 0.7 to 1.4, which is 0.39 to 0.79 s" in words
    assert "cue 3" in words and "rate of 0.55" in words and "cue 2 " not in words


def test_ten_milliseconds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"0.01 s for 'no bad cat.' would need a rate of 55.00"):
        ROOM.spots([cue(0, 10)], POLICY)


def test_pauses_between_sentences_are_not_spoken_faster() -> None:
    text = "no bad cat. no bad cat."  # 0.55 + 0.55 s, and a pause of 0.15 s
    (spot,) = ROOM.spots([cue(0, 1250, text)], POLICY)
    assert spot.rate == pytest.approx(1.0)
    with pytest.raises(UsageError, match="leaves no time beside the pauses"):
        ROOM.spots([cue(0, 150, text)], POLICY)
    with pytest.raises(UsageError, match=r"rate of 1.69, .* which is 0.94 to 1.72 s"):
        ROOM.spots([cue(0, 800, text)], POLICY)


def test_the_limits_are_the_policys() -> None:
    wide = replace(POLICY, fastest=2.0)
    assert ROOM.spots([cue(0, 300)], wide)[0].rate == pytest.approx(0.55 / 0.3)


def test_overlaps_are_refused_or_mixed() -> None:
    cues = [cue(0, 600), cue(500, 1100, number=2)]
    with pytest.raises(UsageError, match=r"1 cues start before an earlier one has ended: cue 2 .* in cue 1"):
        ROOM.spots(cues, POLICY)
    assert len(ROOM.spots(cues, replace(POLICY, overlaps="mix"))) == 2


def test_a_cue_that_cannot_be_spoken_is_named() -> None:
    (one,) = parse_srt("1\n00:00:01,000 --> 00:00:02,000\nМосква")
    with pytest.raises(TextError, match=r"cue 1 \(line 2, .*\): this voice cannot speak"):
        ROOM.spots([one], POLICY)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 4000.0])
def test_a_duration_is_a_time(seconds: float) -> None:
    with pytest.raises(UsageError, match="a duration of"):
        ROOM.spot("no bad cat.", seconds, POLICY)


@given(st.floats(0.393, 0.785))
def test_a_spot_that_fits_can_be_planned_to_the_sample(seconds: float) -> None:
    spot = ROOM.spot("no bad cat.", seconds, POLICY)
    plan = PLANNER.plan(spot.request(Request("", "anna")))
    assert sum(s.samples or 0 for s in plan.segments) + plan.silence * (len(plan.segments) - 1) == round(
        seconds * RATE
    )
