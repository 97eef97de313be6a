"""Teacher forcing sees what decoding saw; agreement tells equal from different."""

from __future__ import annotations

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.errors import SynthesisError
from tts_trt.quality.numerics import Forced, agreement, forced_embedding, teacher_forced
from tts_trt.quality.verify import check_agreement, check_speech
from tts_trt.runtime.decode import Decoder, DecodeRow
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.spec import Limits


def row() -> DecodeRow:
    g = TINY.gpt
    conditioning = np.random.default_rng(0).standard_normal((g.latents, g.dim)).astype(np.float32)
    return DecodeRow(
        conditioning, np.array([3, 4, 5]), 1.0, SamplingParams.of(TINY, greedy=True, repetition_penalty=1.0)
    )


def test_forcing_the_codes_of_a_greedy_run_gives_those_codes_back() -> None:
    limits = Limits()
    with fake_engines(TINY, limits) as engines:
        (decoded,) = Decoder(engines, TINY, limits).run([row()])
        codes = decoded.codes_M.tolist()
        forced = teacher_forced(engines, TINY, limits, row(), codes)
    assert len(codes) > 2 and forced.logits.shape == (len(codes) + 1, TINY.gpt.codes)
    allowed = np.delete(np.arange(TINY.gpt.codes), TINY.gpt.start_code)
    assert [int(allowed[s[allowed].argmax()]) for s in forced.logits[: len(codes)]] == codes


def test_the_forced_row_depends_on_code_and_step() -> None:
    with fake_engines(TINY, Limits()) as engines:
        lengths = np.array([9])
        rows = [forced_embedding(engines, TINY, c, s, lengths) for c, s in ((1, 0), (2, 0), (1, 1))]
    assert not np.array_equal(rows[0], rows[1]) and not np.array_equal(rows[0], rows[2])


def test_agreement_counts_what_differs() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((50, 20)).astype(np.float32) * 3
    hidden = rng.standard_normal((50, 8)).astype(np.float32)
    base = Forced(logits, hidden)
    same = agreement(base, base)
    assert (same.top1, same.kl, same.sqnr_db) == (1.0, pytest.approx(0.0, abs=1e-12), float("inf"))
    flipped = logits.copy()
    flipped[:10] = -flipped[:10]
    worse = agreement(
        base, Forced(flipped, hidden + 0.1 * rng.standard_normal(hidden.shape).astype(np.float32))
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
    check_agreement(0.1, "fp32")  # the baseline itself is not compared
    with pytest.raises(SynthesisError, match=r"98\.0% of the best codes"):
        check_agreement(0.98, "fp16")
