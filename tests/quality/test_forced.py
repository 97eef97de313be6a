"""Teacher forcing sees what decoding saw, in both kinds of model, and only what it is told to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.letters import Letters
from tests.model.tiny import TINY
from tts_trt.dims import ModelDims
from tts_trt.errors import UsageError
from tts_trt.quality.forced import Remembering, Teacher
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams


def teacher(latents: str = "one-pass") -> Teacher:
    dims: ModelDims = replace(TINY, latents=latents)  # type: ignore[arg-type]
    return Teacher(OpenBundle(fake_engines(dims), dims, Letters()))


def request(text: str = "See me.", seed: int = 3) -> Request:
    rng = np.random.default_rng(0)
    recording = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    sampling = SamplingParams.of(TINY, seed=seed, max_codes=20, repetition_penalty=1.0)
    return Request(text, recording, sampling=sampling)


@pytest.mark.parametrize("latents", ["one-pass", "exact"])
def test_forcing_the_codes_of_a_free_run_gives_that_run_back(latents: str) -> None:
    free = teacher(latents).free(request())
    forced = teacher(latents).force(request(seed=9), free.codes_M)
    assert len(free.codes_M) > 2 and forced.codes_M.tolist() == free.codes_M.tolist()
    np.testing.assert_allclose(forced.logits_MV[: len(free.codes_M)], free.logits_MV[: len(free.codes_M)])
    np.testing.assert_allclose(forced.latents_MD, free.latents_MD, atol=1e-6)
    assert not np.array_equal(forced.wave_S, free.wave_S), "the noise of the flow is the request's"


def test_other_codes_give_other_scores() -> None:
    codes = [1, 2, 3, 4]
    one, other = teacher().force(request(), codes), teacher().force(request(), [1, 2, 5, 4])
    assert (one.codes_M.tolist(), len(one.logits_MV)) == (codes, 5)
    np.testing.assert_array_equal(one.logits_MV[:3], other.logits_MV[:3])
    assert not np.allclose(one.logits_MV[3], other.logits_MV[3])
    assert one.mel_mT.shape[1] * TINY.audio.hop == len(one.wave_S)


def test_a_text_of_two_segments_is_refused() -> None:
    with pytest.raises(UsageError, match="is 2 segments, expected one"):
        teacher().free(replace(request("See me. To be."), segment_ids=8))


def test_a_remembering_engine_is_asked_once() -> None:
    inner = fake_engines(TINY)["style_encoder"]
    engine = Remembering(inner)
    fed = {"fbank": np.ones((1, 20, 80), np.float32), "lengths": np.array([20])}
    first, again = engine.run(fed), engine.run(fed)
    other = engine.run({**fed, "fbank": 2 * fed["fbank"]})
    assert inner.runs == 2  # type: ignore[attr-defined]
    assert np.array_equal(first["style"], again["style"]) and not np.array_equal(
        first["style"], other["style"]
    )
