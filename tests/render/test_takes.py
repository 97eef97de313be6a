"""A passage is spoken until it is good; what never is, is kept at its best and flagged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.render.reader import Reader, hole, inspector, leaning, ruin, speaker
from tts_trt.errors import SynthesisError, UsageError
from tts_trt.render.speakers import Speaker
from tts_trt.render.takes import Inspector, Kept, best_take, seed_of, seeded
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams

ASKED = Request("so it is then", "anna", sampling=SamplingParams())
GOOD = [101, 102, 103, 104]  # seeds of clean speech


def taken(ladder: Sequence[tuple[Speaker, int]], listens: Inspector) -> Kept:
    return best_take([(one, seeded(ASKED, seed)) for one, seed in ladder], listens)


def test_a_good_take_is_the_only_one() -> None:
    reader = Reader()
    kept = taken([(speaker(reader), seed) for seed in GOOD], inspector())
    assert len(reader.asked) == len(kept.takes) == 1
    assert kept.chosen == 0 and not kept.flagged and kept.takes[0].seed == GOOD[0]
    assert kept.takes[0].seconds == pytest.approx(kept.result.seconds) and kept.takes[0].took >= 0


def test_damage_leads_to_another_seed_and_then_to_higher_precision() -> None:
    low, high = Reader({0: hole, 1: None}), Reader()
    ladder = [
        (speaker(low), 101),
        (speaker(low), 102),
        (speaker(high, "fp32"), 103),
        (speaker(high, "fp32"), 104),
    ]
    kept = taken(ladder, inspector())
    assert [(t.precision, t.seed, t.passed) for t in kept.takes] == [
        ("int8", 101, False),
        ("int8", 102, False),
        ("fp32", 103, True),
    ]
    assert kept.chosen == 2 and not kept.flagged
    assert kept.takes[0].faults and kept.takes[1].error == "segment 1 is silent"
    assert [request.sampling.seed for request in (*low.asked, *high.asked)] == [101, 102, 103]


def test_the_best_of_bad_takes_is_kept_and_flagged() -> None:
    reader = Reader({0: ruin, 1: leaning, 2: ruin})
    kept = taken([(speaker(reader), seed) for seed in GOOD[:3]], inspector())
    assert kept.flagged and kept.chosen == 1
    assert len(kept.takes[1].faults) < len(kept.takes[0].faults)


def test_of_equals_the_later_take_is_kept() -> None:
    reader = Reader({0: hole, 1: hole})
    inspected = Inspector(inspector().limits, "anna", lambda text: 2.4)
    kept = taken([(speaker(reader), 101), (speaker(reader, "fp32"), 101)], inspected)
    assert kept.chosen == 1 and kept.flagged


def test_no_sound_at_all_is_an_error() -> None:
    reader = Reader({0: None, 1: None})
    with pytest.raises(
        SynthesisError, match="'so it is then' could not be spoken in 2 takes: segment 1 is silent"
    ):
        taken([(speaker(reader), seed) for seed in GOOD[:2]], inspector())


def test_speech_cut_short_is_a_fault() -> None:
    kept = taken([(speaker(Reader(finish="repetition")), 101)], inspector())
    assert kept.flagged and "cut short by repetition" in kept.takes[0].faults


def test_without_limits_only_broken_sound_is_a_fault() -> None:
    deaf = Inspector(None, "anna", lambda text: 2.4)
    assert not taken([(speaker(Reader({0: hole})), 101)], deaf).flagged
    quiet = Reader({0: lambda wave_S, rate: 0 * wave_S})
    assert taken([(speaker(quiet), 101)], deaf).flagged
    nan = Reader({0: lambda wave_S, rate: wave_S + np.float32("nan")})
    assert "not_finite" in taken([(speaker(nan), 101)], deaf).takes[0].faults[0]


def test_sound_that_is_not_as_long_as_its_codes_is_a_fault() -> None:
    def samples_of(codes: int) -> int:
        return 640 * codes

    def in_whole_codes(cut: int) -> Reader:
        return Reader({0: lambda wave_S, rate: np.resize(wave_S, len(wave_S) // 640 * 640)[: -cut or None]})

    counting = Inspector(None, "anna", lambda text: 2.4, samples_of)
    assert not taken([(speaker(in_whole_codes(0)), 101)], counting).flagged
    kept = taken([(speaker(in_whole_codes(1)), 101)], counting)
    assert kept.flagged and "length" in kept.takes[0].faults[0]


def test_stretching_has_a_limit() -> None:
    asked = seeded(replace(ASKED, duration=2.4, stretch=True), 101)
    length = len(Reader().synthesize(asked).wave)
    for factor, good in ((1.0, True), (1.2, True), (0.81, True), (1.3, False), (0.75, False)):
        listening = Inspector(None, "anna", lambda text: 2.4, lambda codes, f=factor: round(length / f), 1.25)
        kept = best_take([(speaker(Reader()), asked)], listening)
        assert kept.flagged != good, factor
    assert kept.takes[0].faults == ("stretch 0.75, limit 1.25 or its inverse",)


def test_a_take_needs_sampling_for_its_seed() -> None:
    with pytest.raises(UsageError, match="needs sampling"):
        seeded(replace(ASKED, sampling=None), 1)


def test_seeds_depend_on_text_and_take_alone() -> None:
    assert seed_of(1, "a", 0) == seed_of(1, "a", 0)
    assert len({seed_of(s, t, n) for s in (0, 1) for t in ("a", "b") for n in (0, 1)}) == 8
    assert all(0 <= seed_of(0, "x", n) < 2**63 for n in range(50))
