"""What each measure says of sounds made to have a known value."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quality.synthetic import RATE
from tts_trt.quality import qc_levels, qc_repetition, qc_sound
from tts_trt.quality.qc_signal import FloatArray, Signal, SpeechSegment

NOISE = 1e-4


def buzz(seconds: float, level: float = 0.1, hertz: float = 200.0) -> np.ndarray:
    """Harmonics of a steady pitch up to 3 kHz at this RMS (S)."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * k * time + k * k) / k for k in range(1, int(3000 / hertz)))
    return np.asarray(level * wave / np.sqrt(np.mean(wave**2)))


def noise(seconds: float, level: float = NOISE) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * RATE))


def slope(seconds: float, first: float, last: float) -> np.ndarray:
    """Gain in dB from one to the other (S)."""
    return 10 ** (np.linspace(first, last, round(seconds * RATE)) / 20)


def of(
    *parts: np.ndarray, text: str = "", codes: list[int] | None = None, expected: float | None = None
) -> tuple[Signal, SpeechSegment]:
    wave: FloatArray = np.concatenate(parts).astype(np.float32)
    made = SpeechSegment(wave, RATE, text, np.array(codes or [], np.int64), expected)
    return Signal(wave, RATE), made


def test_levels_and_the_span_of_speech() -> None:
    signal, segment = of(noise(0.2), buzz(0.5), noise(0.3))
    assert signal.speech_db == pytest.approx(-20, abs=0.5)
    assert qc_levels.loudness(signal, segment).value == signal.speech_db
    assert qc_levels.leading_silence(signal, segment).value == pytest.approx(0.2, abs=0.01)
    trailing = qc_levels.trailing_silence(signal, segment)
    assert trailing.value == pytest.approx(0.3, abs=0.01) and trailing.start == pytest.approx(0.7, abs=0.01)


def test_an_edge_is_as_steep_as_the_level_changes_in_10_ms() -> None:
    fall, rise = slope(0.1, 0, -50), slope(0.1, -50, 0)  # 5 dB in 10 ms
    gentle = of(noise(0.1), buzz(0.4), buzz(0.1) * fall, noise(0.1), buzz(0.1) * rise, buzz(0.4), noise(0.1))
    for measure in (qc_levels.sudden_silence, qc_levels.sudden_onset, qc_levels.dropout):
        found = measure(*gentle)
        assert found is not None and found.value < 9
    one_side = of(noise(0.1), buzz(0.5), noise(0.1), buzz(0.1) * rise, buzz(0.4), noise(0.1))
    silence, onset, both = (
        measure(*one_side)
        for measure in (qc_levels.sudden_silence, qc_levels.sudden_onset, qc_levels.dropout)
    )
    assert silence is not None and onset is not None and both is not None
    assert silence.value > 40 > 9 > onset.value and both.value < 9
    assert silence.start == pytest.approx(0.6, abs=0.012)
    hole = of(noise(0.1), buzz(0.5), noise(0.1), buzz(0.5), noise(0.1))
    both, onset = qc_levels.dropout(*hole), qc_levels.sudden_onset(*hole)
    assert both is not None and onset is not None and both.value > 40 and onset.value > 40
    assert both.start == pytest.approx(0.6, abs=0.012) and both.end == pytest.approx(0.7, abs=0.012)
    assert onset.start == pytest.approx(0.7, abs=0.012)


def test_what_was_hardly_heard_does_not_break_off() -> None:
    faint = of(noise(0.1), buzz(0.3), buzz(0.2) * 10 ** (-40 / 20), noise(0.1, 1e-6), buzz(0.3), noise(0.1))
    found = qc_levels.sudden_silence(*faint)
    assert found is not None and found.start == pytest.approx(0.4, abs=0.012)


def test_dead_air_is_the_lowest_level_inside_the_speech() -> None:
    signal, segment = of(np.zeros(3200), buzz(0.4), noise(0.1, 1e-3), buzz(0.4), np.zeros(3200))
    found = qc_levels.dead_air(signal, segment)
    assert found.value == pytest.approx(-60, abs=2)
    assert found.start == pytest.approx(0.6, abs=0.01) and found.end == pytest.approx(0.7, abs=0.01)


def test_pauses_are_excused_by_as_many_marks_longest_first() -> None:
    parts = (buzz(0.3), noise(0.2), buzz(0.3), noise(0.1), buzz(0.3))
    for text, seconds in (("one two", 0.2), ("one, two", 0.1), ("one, two, three", 0.0)):
        assert qc_levels.unasked_pause(*of(*parts, text=text)).value == pytest.approx(seconds, abs=0.012)
        assert qc_levels.pause(*of(*parts, text=text)).value == pytest.approx(0.2, abs=0.012)


def test_an_end_is_as_loud_as_its_last_20_ms() -> None:
    cut, ended = of(noise(0.1), buzz(0.5)), of(noise(0.1), buzz(0.5), noise(0.1))
    assert qc_levels.loud_end(*cut).value == pytest.approx(0, abs=1)
    assert qc_levels.loud_end(*ended).value == pytest.approx(-60, abs=2)


def test_a_fainter_stretch_and_a_faded_end_are_as_faint_as_they_are() -> None:
    steady = of(buzz(2.0))
    assert qc_levels.level_drop(*steady).value == pytest.approx(0, abs=0.7)
    assert qc_levels.fading_end(*steady).value == pytest.approx(0, abs=0.7)
    dropped = qc_levels.level_drop(*of(buzz(0.7), buzz(0.7, 0.02), buzz(0.7)))
    assert dropped.value == pytest.approx(-14, abs=0.7)
    assert dropped.start >= 0.63 and dropped.end <= 1.47  # a tenth of a stretch does not count
    faded = qc_levels.fading_end(*of(buzz(1.5), buzz(0.5) * slope(0.5, 0, -30)))
    assert faded.value == pytest.approx(-13, abs=2.5) and faded.start == pytest.approx(1.5, abs=0.01)


def test_a_pause_is_neither_a_drop_nor_a_faded_end() -> None:
    paused = of(buzz(1.0), noise(0.6), buzz(0.3))
    assert qc_levels.level_drop(*paused).value == pytest.approx(0, abs=0.7)
    assert qc_levels.fading_end(*paused).value == pytest.approx(0, abs=0.7)
    dropped = qc_levels.level_drop(*of(buzz(0.6), noise(0.4), buzz(0.7, 0.02), noise(0.4), buzz(0.8)))
    assert dropped.value == pytest.approx(-14, abs=0.7)
    assert 0.5 < dropped.start < 1.1 and 1.5 < dropped.end < 2.2  # pauses beside it are in it or not


def test_a_steady_voice_has_no_click_and_a_lone_sample_does() -> None:
    assert qc_sound.click(*of(noise(0.1), buzz(0.8), noise(0.1))).value < 8
    wave = buzz(1.0)
    wave[9000] += 0.1
    found = qc_sound.click(*of(wave))
    assert found.value > 15 and found.start <= 9000 / RATE < found.end
    two = buzz(1.0)
    two[[9000, 9160]] += 0.1  # pulses in a row are a voice
    assert qc_sound.click(*of(two)).value < 6


def test_flat_tops_are_counted_at_both_rails_and_the_offset_is_the_mean() -> None:
    wave = buzz(1.0)
    assert qc_sound.clipping(*of(wave)).value < 0.2
    clipped = np.clip(wave, -0.08, 0.08)
    flat = 1000 * np.mean(np.abs(clipped) == 0.08)
    assert 0.8 * flat < qc_sound.clipping(*of(clipped)).value <= flat
    assert 0.8 * flat < qc_sound.clipping(*of(0.4 * clipped + 0.2)).value <= flat
    rail = np.mean(clipped == clipped.max()) * 1000
    assert 0.7 * rail < qc_sound.clipping(*of(np.clip(wave, -1, 0.08))).value < 1.1 * rail
    assert qc_sound.offset(*of(wave - 0.03)).value == pytest.approx(0.03, abs=1e-3)


@pytest.mark.parametrize("level", [1e-3, 1e-2])
def test_hiss_is_the_noise_above_4_khz_in_the_quietest_place(level: float) -> None:
    loud, quiet = buzz(1.0), np.zeros(1600)
    parts = np.concatenate([quiet, loud, quiet])
    found = qc_sound.hiss(*of(parts + noise(1.2, level)))
    assert found.value == pytest.approx(
        20 * np.log10(level) - 3 + 20, abs=1.5
    )  # half of the band, speech at -20


def test_grain_is_the_high_band_within_vowels_not_in_fricatives() -> None:
    rng = np.random.default_rng(0)
    high = np.diff(rng.standard_normal(RATE), 6, prepend=np.zeros(6))
    high *= 0.1 / high.std()
    clean = [*of(buzz(1.0), high, buzz(1.0))]
    grainy = [*of(buzz(1.0) + 0.1 * high, high, buzz(1.0) + 0.1 * high)]
    for made, decibels in ((clean, -60), (grainy, -20)):
        found = qc_sound.grain(*made)
        assert found is not None and (
            found.value < decibels if made is clean else abs(found.value - decibels) < 2
        )


def test_tilt_is_the_balance_around_1_khz() -> None:
    time = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 2500 * time)
    assert qc_sound.tilt(*of(0.1 * low + 0.01 * high)).value == pytest.approx(-20, abs=0.5)


def test_tempo_is_expected_over_spoken_time() -> None:
    found = qc_repetition.tempo(*of(noise(0.2), buzz(1.0), noise(0.2), expected=2.0))
    assert found is not None and found.value == pytest.approx(1, abs=0.03)
    assert qc_repetition.tempo(*of(buzz(1.0))) is None


@pytest.mark.parametrize(
    ("codes", "changes", "place"),
    [
        ([1, 2, 3, 4, 1, 2, 3, 9], 2.0, (4, 7)),
        ([1, 1, 1, 1, 1, 1, 2, 3], 0.0, None),  # held, not repeated
        ([5, 6, 7, 8, 9, 10, 11, 12], 0.0, None),
        ([1, 2, 2, 3, 7, 1, 2, 2, 3], 2.0, (5, 9)),
    ],
)
def test_repeated_codes(codes: list[int], changes: float, place: tuple[int, int] | None) -> None:
    found = qc_repetition.repeated_codes(*of(buzz(1.0), codes=codes))
    assert found is not None and found.value == changes
    if place:
        assert (found.start * len(codes), found.end * len(codes)) == pytest.approx(place)


def test_held_code() -> None:
    found = qc_repetition.held_code(*of(buzz(1.0), codes=[1, 2, 2, 2, 3, 3, 4, 5, 6, 7]))
    assert found is not None
    assert (found.value, found.start, found.end) == pytest.approx((0.3, 0.1, 0.4))
    assert qc_repetition.held_code(*of(buzz(1.0))) is None


def test_repeated_sound_needs_more_than_what_the_text_repeats() -> None:
    rng = np.random.default_rng(0)
    phones = [buzz(0.06, 0.1 * rng.uniform(0.5, 1.5), hertz) for hertz in rng.uniform(80, 700, 30)]
    phrase, rest = np.concatenate(phones[:6]), [np.concatenate(phones[6:18]), np.concatenate(phones[18:])]
    repeated = (rest[0], phrase, phrase, rest[1])  # 0.36 s twice in 2.16 s
    found = qc_repetition.repeated_sound(*of(*repeated, text="all other words"))
    assert found is not None and found.value < 0.5
    assert found.start >= 0.72 + 0.36 - 0.02 and found.end <= 0.72 + 0.72 + 0.02
    excused = qc_repetition.repeated_sound(*of(*repeated, text="abcdef abcdef abcdefgh"))
    assert excused is not None and excused.value > 3
    once = qc_repetition.repeated_sound(*of(rest[0], phrase, rest[1], text="all other words"))
    assert once is not None and once.value > 3
    assert qc_repetition.repeated_sound(*of(buzz(0.3))) is None
