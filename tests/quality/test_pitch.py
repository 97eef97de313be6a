"""Pitch tracks side by side: cents, octaves and voicing, from tracks and from sounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.quality.sounds import RATE, buzz, joined, noise, silence
from tts_trt.errors import UsageError
from tts_trt.quality.pitch import PitchErrors, pitch_errors
from tts_trt.quality.prosody import pitch_track

TRACK = np.array([0, 0, 100, 110, 120, 130, 0, 0, 200, 200], np.float64)


@pytest.mark.parametrize("cents", [-50.0, 50.0, 100.0])
def test_a_track_raised_by_cents_is_that_far_off(cents: float) -> None:
    found = pitch_errors(TRACK, TRACK * 2 ** (cents / 1200))
    assert found.rmse_cents == pytest.approx(abs(cents)) == found.median_cents
    assert (found.gross, found.voicing, found.voiced_frames) == (0, 0, 6)


def test_one_octave_jump_moves_the_mean_and_not_the_median() -> None:
    other = TRACK.copy()
    other[3] *= 2
    found = pitch_errors(TRACK, other)
    assert found.rmse_cents == pytest.approx(1200 / np.sqrt(6))
    assert found.median_cents == 0 and found.gross == pytest.approx(1 / 6)


def test_gross_is_beyond_a_fifth_of_the_baseline() -> None:
    base = np.full(4, 100.0)
    assert pitch_errors(base, np.array([119.0, 81.0, 121.0, 79.0])).gross == 0.5


def test_frames_voiced_in_one_only_are_voicing_errors() -> None:
    other = TRACK.copy()
    other[[0, 2]] = 150, 0
    found = pitch_errors(TRACK, other)
    assert found.voicing == pytest.approx(0.2) and found.voiced_frames == 5 and found.rmse_cents == 0


def test_where_nothing_is_voiced_in_both_there_is_no_pitch_error() -> None:
    assert pitch_errors(np.zeros(5), np.zeros(5)) == PitchErrors(None, None, None, 0.0, 0)
    assert pitch_errors(TRACK, np.zeros(10)) == PitchErrors(None, None, None, pytest.approx(0.6), 0)


def test_tracks_of_unequal_length_are_refused() -> None:
    for wrong in (TRACK[:-1], TRACK[None], np.zeros(0)):
        with pytest.raises(UsageError, match="pitch tracks"):
            pitch_errors(wrong, TRACK)
    with pytest.raises(UsageError):
        pitch_errors(np.zeros(0), np.zeros(0))


@pytest.mark.parametrize("cents", [50.0, -200.0])
def test_a_sound_raised_by_cents_is_that_far_off(cents: float) -> None:
    pytest.importorskip("pyworld")
    waves = (joined(silence(0.1), buzz(1.0, 120 * 2 ** (c / 1200)), silence(0.1)) for c in (0.0, cents))
    found = pitch_errors(*(pitch_track(wave, RATE) for wave in waves))
    assert found.rmse_cents == pytest.approx(abs(cents), abs=3) and found.voiced_frames > 90


def test_a_voice_that_turns_to_noise_is_a_voicing_error() -> None:
    pytest.importorskip("pyworld")
    whole = joined(silence(0.2), buzz(1.0), silence(0.2))
    hoarse = joined(silence(0.2), buzz(0.5), noise(0.5), silence(0.2))
    found = pitch_errors(pitch_track(whole, RATE), pitch_track(hoarse, RATE))
    assert found.voicing == pytest.approx(0.5 / 1.4, abs=0.08)
    assert found.median_cents is not None and found.median_cents < 1


@settings(max_examples=8, deadline=None)
@given(st.floats(-30, 12))
def test_pitch_does_not_depend_on_level(db: float) -> None:
    pytest.importorskip("pyworld")
    wave = joined(silence(0.1), buzz(0.4, 150.0), noise(0.1))
    louder = (wave * 10 ** (db / 20)).astype(np.float32)
    found = pitch_errors(pitch_track(wave, RATE), pitch_track(louder, RATE))
    assert found.voicing <= 0.02 and found.rmse_cents < 1
