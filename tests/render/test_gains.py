"""Chapters come out alike, passages nearly so, and nothing too loud."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.quality.sounds import RATE, buzz, silence
from tts_trt.policy import Loudness
from tts_trt.quality.levels import loudness_lufs
from tts_trt.render.gains import Heard, gains_db, heard, loudness_of

pytest.importorskip("pyloudnorm")

WANTED = Loudness(target_lufs=-20.0, segment_db=3.0, peak_dbfs=-3.0)


def test_a_chapter_comes_to_its_loudness() -> None:
    waves = [buzz(2.0, level=level) for level in (0.02, 0.025, 0.03)]
    gains = gains_db([heard(wave, RATE) for wave in waves], WANTED)
    made = np.concatenate([w * np.float32(10 ** (g / 20)) for w, g in zip(waves, gains, strict=True)])
    assert loudness_lufs(made, RATE) == pytest.approx(-20.0, abs=0.3)


def test_a_passage_is_moved_by_a_few_decibels_at_most() -> None:
    chapter = [
        Heard(5.0, -24.0, 0.1),
        Heard(5.0, -24.0, 0.1),
        Heard(0.1, -60.0, 0.001),
        Heard(0.3, None, 0.01),
    ]
    gains = gains_db(chapter, WANTED)
    middle = loudness_of(chapter)
    assert middle is not None
    assert gains[2] == pytest.approx(-20 - middle + 3.0), "a whisper stays one"
    assert gains[3] == pytest.approx(-20 - middle), "what is too short to measure goes with its chapter"
    assert gains[0] - gains[3] == pytest.approx(middle + 24.0)


def test_nothing_is_louder_than_the_peak() -> None:
    (gain,) = gains_db([Heard(2.0, -30.0, 0.5)], WANTED)
    assert 0.5 * 10 ** (gain / 20) == pytest.approx(10 ** (-3 / 20))


def test_silence_and_shortness_have_no_loudness() -> None:
    assert heard(silence(1.0), RATE).lufs is None
    assert heard(buzz(0.3), RATE).lufs is None
    assert loudness_of([Heard(0.3, None, 0.5)]) is None
    gains = gains_db([Heard(0.3, None, 0.5), Heard(1.0, None, 0.0)], WANTED)
    assert all(math.isfinite(g) for g in gains) and gains == [0.0, 0.0]
