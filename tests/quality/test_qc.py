"""Every check finds its damage where it is, and nothing in sound speech."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import cache

import numpy as np
import pytest

from scripts.qc_damage import FAULTS
from tests.quality.synthetic import CODES_PER_SECOND, RATE, segment, speech
from tts_trt.errors import UsageError
from tts_trt.quality.qc import (
    Finding,
    SpeechSegment,
    Thresholds,
    Verdict,
    WordCheck,
    check_joins,
    check_neighbours,
    check_segment,
)
from tts_trt.quality.qc_checks import CHECKS
from tts_trt.quality.qc_levels import marks_in
from tts_trt.quality.qc_repetition import said_twice
from tts_trt.quality.qc_thresholds import Source, derive

SOURCE = Source(model="sounds", bundle="made", weights_sha256="0" * 64, date=date(2026, 1, 1))
CLEAN = range(100, 106)  # seeds that the limits were not derived from

EXPECTED = {
    "cut_end": {"loud_end", "too_fast"},
    "hole": {"dead_air", "sudden_silence", "sudden_onset", "dropout"},
    "gap": {"dead_air", "sudden_silence", "sudden_onset", "dropout", "unasked_pause"},
    "click": {"click"},
    "hiss": {"hiss"},
    "repeat": {"repeated_sound"},
    "fade_out": {"fading_end", "trailing_silence", "level_drop"},
    "level_drop": {"level_drop", "fading_end", "dead_air"},
    "offset": {"offset"},
    "clip": {"clipping"},
    "silence": {"pause", "leading_silence", "trailing_silence"},
    "not_a_number": {"not_finite"},
    "wrong_rate": {"too_fast", "too_slow"},
}
WHOLE = {"hiss", "offset", "clip", "wrong_rate", "cut_end"}


@cache
def limits() -> Thresholds:
    return derive([[segment(2 * n), segment(2 * n + 1)] for n in range(16)], SOURCE)


def checks(verdict: Verdict) -> set[str]:
    return {finding.check for finding in verdict.findings}


def sole(verdict: Verdict, check: str) -> Finding:
    (found,) = [finding for finding in verdict.findings if finding.check == check]
    return found


@pytest.mark.parametrize("seed", CLEAN)
def test_sound_speech_passes(seed: int) -> None:
    verdict = check_segment(segment(seed), limits())
    assert verdict.passed, [str(finding) for finding in verdict.findings]


@pytest.mark.parametrize("seed", CLEAN)
@pytest.mark.parametrize("fault", FAULTS)
def test_damage_is_found_by_its_check_where_it_is(fault: str, seed: int) -> None:
    clean = segment(seed)
    damaged = FAULTS[fault].make(clean.wave_S, RATE, np.random.default_rng(seed))
    verdict = check_segment(replace(clean, wave_S=damaged.wave_S), limits())
    assert not verdict.passed
    right = [finding for finding in verdict.findings if finding.check in EXPECTED[fault]]
    assert right, f"found only {checks(verdict)}"
    if fault not in WHOLE:
        assert any(f.start <= damaged.end + 0.03 and f.end >= damaged.start - 0.03 for f in right)
    assert all(0 <= f.start <= f.end <= len(damaged.wave_S) / RATE + 0.01 for f in verdict.findings)


def test_the_place_of_a_click_a_hole_and_a_repeat_is_exact() -> None:
    clean = segment(100)
    wave = clean.wave_S.copy()
    wave[20_000] += 0.5
    click = sole(check_segment(replace(clean, wave_S=wave), limits()), "click")
    assert click.start <= 20_000 / RATE <= click.end + 0.001 and click.end - click.start < 0.002
    wave = clean.wave_S.copy()
    start = int(np.abs(wave[8_000:20_000]).argmax()) + 8_000
    wave[start : start + 1600] = 0
    hole = sole(check_segment(replace(clean, wave_S=wave), limits()), "dead_air")
    assert hole.start == pytest.approx(start / RATE, abs=0.01)
    assert hole.end == pytest.approx((start + 1600) / RATE, abs=0.01)
    twice = np.concatenate([clean.wave_S[:24_000], clean.wave_S[14_000:]])
    repeat = sole(check_segment(replace(clean, wave_S=twice), limits()), "repeated_sound")
    assert 24_000 / RATE - 0.03 <= repeat.start < repeat.end <= 34_000 / RATE + 0.03


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_an_empty_wave_is_a_finding(seconds: float) -> None:
    verdict = check_segment(replace(segment(), wave_S=np.ones(round(seconds * RATE), np.float32)), limits())
    assert checks(verdict) == {"empty"} and not verdict.passed


@pytest.mark.parametrize("constant", [0.0, 0.3])
def test_constant_output_is_silent(constant: float) -> None:
    verdict = check_segment(replace(segment(), wave_S=np.full(RATE, constant, np.float32)), limits())
    assert checks(verdict) == {"silent"} and not verdict.passed


def test_samples_beyond_full_scale_are_overload() -> None:
    wave = segment().wave_S.copy()
    wave[5000] = 1.5
    found = sole(check_segment(replace(segment(), wave_S=wave), limits()), "overload")
    assert found.value == pytest.approx(1.5) and found.start == pytest.approx(5000 / RATE)


@pytest.mark.parametrize(("shape", "rate"), [((2, RATE), RATE), ((), RATE), ((RATE,), 0)])
def test_a_wave_that_is_not_mono_or_has_no_rate_is_the_callers_mistake(
    shape: tuple[int, ...], rate: int
) -> None:
    with pytest.raises(UsageError, match="expected"):
        check_segment(SpeechSegment(np.zeros(shape, np.float32), rate, ""), limits())


@pytest.mark.parametrize(("gain", "check"), [(0.05, "too_quiet"), (3.0, "too_loud")])
def test_a_level_unlike_the_voices_own_is_found(gain: float, check: str) -> None:
    wave = (segment(100).wave_S * gain).clip(-1, 1).astype(np.float32)
    assert check in checks(check_segment(replace(segment(100), wave_S=wave), limits()))


def test_grain_that_follows_the_voice_is_found() -> None:
    clean = segment(100)
    rng = np.random.default_rng(0)
    envelope = np.sqrt(np.convolve(clean.wave_S.astype(np.float64) ** 2, np.ones(160) / 160, "same"))
    noise = np.diff(rng.standard_normal(len(envelope)), 4, prepend=np.zeros(4))
    wave = (clean.wave_S + 0.03 * envelope * noise).astype(np.float32)
    assert checks(check_segment(replace(clean, wave_S=wave), limits())) & {"grain", "hiss"} == {"grain"}


def test_a_pause_is_excused_by_a_mark_but_not_at_any_length() -> None:
    clean = segment(100)
    gap = (2e-4 * np.random.default_rng(0).standard_normal(round(0.09 * RATE))).astype(np.float32)
    quiet = int(np.convolve(clean.wave_S[16_000:24_000] ** 2, np.ones(320), "valid").argmin()) + 16_160
    paused = replace(clean, wave_S=np.concatenate([clean.wave_S[:quiet], gap, clean.wave_S[quiet:]]))
    assert "unasked_pause" in checks(check_segment(replace(paused, text="one two"), limits()))
    assert "unasked_pause" not in checks(check_segment(replace(paused, text="one, two"), limits()))
    long = np.concatenate([clean.wave_S[:quiet], np.tile(gap, 15), clean.wave_S[quiet:]])
    assert "pause" in checks(check_segment(replace(clean, wave_S=long, text="one, two"), limits()))


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("One, two; three.", 2),
        ("Well - yes.", 1),
        ("Don't!", 0),
        ("", 0),
        ("Half-time is 3.", 0),
        ("A: b? C", 2),
    ],
)
def test_marks_between_words_are_counted(text: str, marks: int) -> None:
    assert marks_in(text) == marks


def test_codes_that_loop_are_found_with_their_place_unless_the_text_repeats_itself() -> None:
    clean = segment(100, text="a lion was in there")
    codes = np.concatenate([clean.codes_M[:30], clean.codes_M[15:]])
    looped = replace(clean, codes_M=codes)
    found = sole(check_segment(looped, limits()), "repeated_codes")
    per_code = clean.seconds / len(codes)
    assert found.start == pytest.approx(30 * per_code) and found.end == pytest.approx(45 * per_code)
    asked = replace(looped, text="over and over and over and over again")
    assert "repeated_codes" not in checks(check_segment(asked, limits()))


def test_a_held_code_is_found() -> None:
    clean = segment(100)
    codes = clean.codes_M.copy()
    codes[10:30] = 7
    found = sole(check_segment(replace(clean, codes_M=codes), limits()), "held_code")
    assert found.start == pytest.approx(10 * clean.seconds / len(codes))
    assert found.value == pytest.approx(20 / CODES_PER_SECOND, rel=0.05)


@pytest.mark.parametrize(
    ("text", "share"), [("no no", 0.5), ("a b c", 0.0), ("is it on, is it", 4 / 10), ("", 0.0)]
)
def test_what_a_text_says_twice_is_a_share_of_its_letters(text: str, share: float) -> None:
    assert said_twice(text) == pytest.approx(share)


def test_neighbours_of_one_level_and_colour_pass_and_others_do_not() -> None:
    pair = [segment(100), segment(101)]
    assert check_neighbours(pair, limits()) == []
    fainter = replace(pair[1], wave_S=pair[1].wave_S * np.float32(0.2))
    (found,) = check_neighbours([pair[0], fainter], limits())
    assert (found.check, found.segment) == ("level_jump", 1) and found.value == pytest.approx(14, abs=1.5)
    bright = np.diff(pair[1].wave_S, 1, prepend=np.float32(0))
    bright *= pair[1].wave_S.std() / bright.std()
    found_too = check_neighbours([pair[0], replace(pair[1], wave_S=bright)], limits())
    assert "tilt_jump" in {finding.check for finding in found_too}
    broken = replace(pair[1], wave_S=np.zeros(RATE, np.float32))
    assert check_neighbours([pair[0], broken, fainter], limits()) == []


def test_a_join_that_jumps_clicks_and_a_clean_one_does_not() -> None:
    first, second = speech(100), speech(101)
    joined = np.concatenate([first, second])
    assert check_joins(joined, RATE, [len(first)], limits()) == []
    loud = int(np.abs(first[:20_000]).argmax())
    cut = np.concatenate([first[: loud + 1], second])
    (found,) = check_joins(cut, RATE, [loud + 1], limits())
    assert found.check == "click" and found.start == pytest.approx(loud / RATE, abs=0.006)
    assert found.segment == 1
    assert check_joins(cut, RATE, [loud + 4000], limits()) == []
    with pytest.raises(UsageError, match="joins at"):
        check_joins(cut, RATE, [len(cut)], limits())


def test_words_are_checked_where_somebody_listens() -> None:
    clean = segment(100, text="one two three")
    pytest.importorskip("jiwer")
    assert check_segment(clean, limits(), WordCheck(lambda wave, rate: "one two three")).passed
    verdict = check_segment(clean, limits(), WordCheck(lambda wave, rate: "tea"))
    assert sole(verdict, "words").value == 1.0 and not verdict.passed


def test_a_check_without_a_limit_is_not_made_and_a_warning_does_not_fail() -> None:
    without = limits().model_copy(update={"limits": dict.fromkeys(CHECKS)})
    wave = segment(100).wave_S.copy()
    wave[20_000] += 0.5
    assert check_segment(replace(segment(100), wave_S=wave), without).findings == ()
    assert Verdict((Finding("tilt", 1, 0, 0, 1, "warn"),)).passed
    assert str(Finding("click", 9, 3, 0.5, 0.51, unit="dB")) == "click 9 dB, limit 3, at 0.50 to 0.51 s"


@pytest.mark.parametrize("rate", [22_050, 24_000])
def test_other_sample_rates_are_measured_alike(rate: int) -> None:
    clean = segment(100, rate=rate)
    found = check_segment(clean, limits())
    assert checks(found) <= {"hiss", "grain", "tilt"}, [str(f) for f in found.findings]
    wave = clean.wave_S.copy()
    wave[rate : rate + rate // 10] = 0
    assert checks(check_segment(replace(clean, wave_S=wave), limits())) & EXPECTED["hole"]
