"""The damage is what it says, sentences are shared out, and what is counted is what was found."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from scripts.qc_damage import FAULTS, place, speech_S
from scripts.qc_rates import Rates, Tally, loop_codes, stop_early
from scripts.qc_segments import half, lines
from tests.quality.synthetic import RATE, segment, speech
from tests.quality.test_qc import limits
from tts_trt.errors import UsageError
from tts_trt.quality.qc import Finding

CODES = np.arange(100, 200)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seeded_and_lies_where_it_says(fault: str) -> None:
    wave = speech(1)
    kept = wave.copy()
    made, again, other = (FAULTS[fault].make(wave, RATE, rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(made.wave_S, again.wave_S, equal_nan=True) and made.strength == again.strength
    assert not np.array_equal(made.wave_S, other.wave_S, equal_nan=True)
    assert np.array_equal(wave, kept) and made.wave_S.dtype == np.float32
    assert 0 <= made.start < made.end <= len(made.wave_S) / RATE + 1e-6
    start, end = round(made.start * RATE), round(made.end * RATE)
    before = made.wave_S[: max(start - 100, 0)]
    if fault not in ("silence", "wrong_rate"):
        assert np.array_equal(before, wave[: len(before)])
    if len(made.wave_S) == len(wave):
        assert np.array_equal(made.wave_S[end + 100 :], wave[end + 100 :])
        assert not np.array_equal(made.wave_S, wave, equal_nan=True)


def test_holes_lie_in_speech() -> None:
    wave = speech(2)
    for seed in range(20):
        start = place(wave, RATE, 1600, rng(seed))
        assert speech_S(wave, RATE)[start : start + 1600].mean() >= 0.9


def test_the_hole_is_silent_and_the_gap_nearly() -> None:
    wave = speech(1)
    for fault, most in (("hole", 0.0), ("gap", 0.011)):
        made = FAULTS[fault].make(wave, RATE, rng())
        inside = slice(round((made.start + 0.01) * RATE), round((made.end - 0.01) * RATE))
        assert np.abs(made.wave_S[inside]).max() <= most * np.abs(wave[inside]).max()
        assert 0.06 <= made.end - made.start <= 0.2 + 1e-4


def test_looped_codes_say_a_stretch_twice_and_a_stop_leaves_codes_out() -> None:
    for seed in range(20):
        looped, first, last = loop_codes(CODES, 25.0, rng(seed))
        length = last - first
        assert 10 <= length <= 25 and len(looped) == 100 + length
        assert np.array_equal(looped[first:last], looped[first - length : first])
        assert np.array_equal(np.unique(looped), CODES)
        cut = stop_early(CODES, 25.0, rng(seed))
        assert 85 <= len(cut) <= 95 and np.array_equal(cut, CODES[: len(cut)])
    assert len(stop_early(CODES[:6], 25.0, rng())) == 5


def test_sentences_are_shared_out_and_dealt_evenly() -> None:
    texts = [f"t{n}" for n in range(21)]
    mine, theirs = half(texts, "thresholds"), half(texts, "rates")
    assert sorted(mine + theirs) == sorted(texts) and not set(mine) & set(theirs)
    pairs = list(islice(lines(mine, ["a", "b"], ["x", "y"], 5), 20))
    assert all(
        one.voice == two.voice and one.emotion == two.emotion and one.rate == two.rate for one, two in pairs
    )
    assert {(pair[0].voice, pair[0].emotion) for pair in pairs[:4]} == {(v, e) for v in "ab" for e in "xy"}
    assert len({line.seed for pair in pairs for line in pair}) == 40
    assert {line.text for pair in pairs[:6] for line in pair} == set(mine)
    assert all(one.text != two.text for one, two in pairs[:5])
    with pytest.raises(UsageError, match="at least 2"):
        next(lines(["one"], ["a"], ["x"], 0))


def test_a_tally_counts_failures_and_those_in_place() -> None:
    tally = Tally("weak")
    tally.add([Finding("click", 9, 3, 1.0, 1.1), Finding("tilt", 9, 3, 2.0, 2.1, "warn")], 2.0, 2.1)
    tally.add([Finding("click", 9, 3, 2.0, 2.1)], 2.0, 2.1)
    tally.add([Finding("tilt", 9, 3, 2.0, 2.1, "warn")], 2.0, 2.1)
    found = tally.figures()
    assert (found["faults"], found["found"], found["placed"]) == (3, 2, 0.5)
    assert found["rate"] == pytest.approx(2 / 3) and found["by_check"] == {"click": 2}


def test_rates_of_synthetic_speech() -> None:
    rates = Rates(limits(), 0)
    pair = [segment(100), segment(101)]
    for one in pair:
        rates.damage(one)
    rates.neighbours(pair)
    rates.neighbours(pair[:1])
    found = rates.figures()
    assert found["clean_segments"] == 2 and found["false_alarms"] == 0 and found["clean_pairs"] == 1
    assert found["detection"] > 0.9 and found["ms_per_segment"] > 0
    assert found["faults"]["level_jump"]["rate"] == 1 and found["faults"]["hiss"]["faults"] == 2
