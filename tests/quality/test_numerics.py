"""Agreement tells equal from different; audio that must not leave is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tts_trt.errors import SynthesisError
from tts_trt.quality.forced import Pass
from tts_trt.quality.numerics import Agreement, agreement
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
    check_agreement(agreed(0.999), "fp16")
    check_agreement(agreed(0.1), "a recipe of the user's")
    with pytest.raises(SynthesisError, match=r"98\.0% of 200 best codes"):
        check_agreement(agreed(0.98), "fp16")


def agreed(top1: float, ties: int = 0) -> Agreement:
    return Agreement(200, top1, ties, 0.0, 60.0)


def test_a_best_code_that_hardly_leads_may_change_by_rounding() -> None:
    logits = np.zeros((3, 5), np.float32)
    logits[:, 1], logits[:, 2] = 1.0, [0.0, 0.99, 0.9]
    other = logits.copy()
    other[1:, 2] = 1.1
    hidden = np.ones((3, 4), np.float32)
    found = agreement(a_pass(logits, hidden), a_pass(other, hidden))
    assert (found.top1, found.ties) == (pytest.approx(1 / 3), 1)  # the lead was 0.01, and 0.1
    check_agreement(agreed(0.98, ties=2), "fp16")
    with pytest.raises(SynthesisError, match=r"98\.5%"):
        check_agreement(agreed(0.98, ties=1), "fp16")
