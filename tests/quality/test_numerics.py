"""Agreement tells equal from different; audio that must not leave is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tts_trt.errors import SynthesisError
from tts_trt.quality.forced import Pass
from tts_trt.quality.numerics import agreement
from tts_trt.quality.verify import check_agreement, check_speech


def a_pass(logits: np.ndarray, hidden: np.ndarray) -> Pass:
    return Pass(np.zeros(len(hidden), np.int64), logits, hidden, np.zeros((80, 1)), np.zeros(1))  # type: ignore[arg-type]


def test_agreement_counts_what_differs() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((50, 20)).astype(np.float32) * 3
    hidden = rng.standard_normal((50, 8)).astype(np.float32)
    base = a_pass(logits, hidden)
    same = agreement(base, base)
    assert (same.top1, same.kl, same.sqnr_db) == (1.0, pytest.approx(0.0, abs=1e-12), float("inf"))
    flipped = logits.copy()
    flipped[:10] = -flipped[:10]
    worse = agreement(
        base, a_pass(flipped, hidden + 0.1 * rng.standard_normal(hidden.shape).astype(np.float32))
    )
    assert worse.top1 == pytest.approx(0.8) and worse.kl > 0.1
    assert worse.sqnr_db == pytest.approx(20.0, abs=1.0)


@pytest.mark.parametrize(
    ("wave", "words"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.full(1600, np.nan, np.float32), "NaN"),
        (np.full(1600, 1e-4, np.float32), "silent"),
        (np.sin(np.arange(1600, dtype=np.float32)) * 1.2, "clipped"),
    ],
)
def test_audio_that_must_not_leave_is_refused(wave: np.ndarray, words: str) -> None:
    with pytest.raises(SynthesisError, match=words):
        check_speech(wave, 16000, "here")


def test_sound_audio_and_close_codes_pass() -> None:
    wave = 0.3 * np.sin(np.arange(16000, dtype=np.float32) * 0.1)
    assert check_speech(wave, 16000, "here").seconds == 1.0
    check_agreement(0.999, "fp16")
    check_agreement(0.1, "a recipe of the user's")
    with pytest.raises(SynthesisError, match=r"98\.0% of the best codes"):
        check_agreement(0.98, "fp16")
