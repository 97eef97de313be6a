"""Parameters, noise, finishing and fakes: what needs no exported graph."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.model.tiny import TINY
from tests.runtime.tiny_graphs import EXACT
from tts_trt.dims import ModelDims
from tts_trt.errors import SynthesisError, UsageError
from tts_trt.export.graphs import example_inputs
from tts_trt.runtime.decode import Decoder, DecodeRow
from tts_trt.runtime.fake import fake_engines
from tts_trt.runtime.finish import Heard, fade, join, levelled
from tts_trt.runtime.sampling import SamplingParams, code_noise, mel_noise
from tts_trt.spec import Limits, graph_specs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0, expected 1 to 128"),
        ({"top_k": 129}, "top_k is 129"),
        ({"top_k": 2.5}, "top_k is 2.5, expected a whole number"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"repetition_penalty": 0.5}, "repetition_penalty is 0.5"),
        ({"seed": -1}, "seed is -1"),
        ({"min_codes": 0}, "min_codes is 0"),
        ({"min_codes": 9, "max_codes": 8}, "max_codes is 8, expected 9"),
    ],
)
def test_sampling_parameters_are_checked_once(changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SamplingParams(**changes)


def test_a_model_has_its_own_defaults() -> None:
    assert SamplingParams.of(ModelDims()) == SamplingParams()
    own = SamplingParams.of(ModelDims(temperature=0.5, top_k=7, top_p=0.6, repetition_penalty=1.0), seed=3)
    assert (own.temperature, own.top_k, own.top_p, own.repetition_penalty, own.seed) == (0.5, 7, 0.6, 1.0, 3)
    assert (own.forced(9).min_codes, own.forced(9).max_codes, own.forced(9).seed) == (9, 9, 3)


def test_noise_depends_on_seed_segment_and_step_alone() -> None:
    noise = code_noise(3, 1, 5, 4000)
    np.testing.assert_array_equal(noise, code_noise(3, 1, 5, 4000))
    for other in (code_noise(4, 1, 5, 4000), code_noise(3, 2, 5, 4000), code_noise(3, 1, 6, 4000)):
        assert abs(np.corrcoef(noise, other)[0, 1]) < 0.06
    assert 0 <= noise.min() < 0.01
    assert 0.99 < noise.max() < 1
    assert noise.mean() == pytest.approx(0.5, abs=0.02)


def test_mel_noise_belongs_to_the_frame() -> None:
    short, long = mel_noise(3, 1, 40, 80), mel_noise(3, 1, 100, 80)
    np.testing.assert_array_equal(long[:, :40], short)
    assert long.shape == (80, 100)
    assert (long.mean(), long.std()) == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))


def test_fades_and_joins_touch_only_the_edges() -> None:
    wave = np.ones(1000, np.float32)
    faded = fade(wave, 16000)
    assert faded[0] == 0
    assert faded[-1] == 0
    assert (faded[80:-80] == 1).all()
    assert np.abs(np.diff(faded)).max() < 0.021
    assert (fade(wave, 16000, end=False)[80:] == 1).all()
    assert len(fade(wave[:3], 16000)) == 3
    joined = join([faded, wave], 50)
    assert len(joined) == 2050
    assert not joined[1000:1050].any()


def test_levels_are_scaled_not_clipped() -> None:
    wave = np.sin(np.linspace(0, 50, 5000)).astype(np.float32)
    loud = levelled(wave * 1.7)
    assert np.abs(loud).max() == pytest.approx(0.99)
    assert np.corrcoef(loud, wave)[0, 1] == pytest.approx(1)
    quiet = wave * np.float32(0.2)
    np.testing.assert_array_equal(levelled(quiet), quiet)


def test_silence_and_numbers_that_are_none_are_heard() -> None:
    for wave in (np.zeros(100, np.float32), np.zeros(0, np.float32), np.full(100, 5e-4, np.float32)):
        with pytest.raises(SynthesisError, match="silent"):
            Heard("it").add(wave, last=True)
    with pytest.raises(SynthesisError, match="1 samples are not numbers"):
        Heard("it").add(np.array([0.1, np.inf], np.float32), last=False)
    heard = Heard("it")
    heard.add(np.zeros(100, np.float32), last=False)
    heard.add(np.full(100, 0.1, np.float32), last=True)


@pytest.mark.parametrize("dims", [TINY, EXACT], ids=["one-pass", "exact"])
def test_fakes_keep_every_contract(dims: ModelDims) -> None:
    sizes = {"B": 3, "L": 7, "S": 9, "M": 11, "F": 26, "E": 31, "K": 60, "T": 21}
    engines = fake_engines(dims)
    for name, spec in graph_specs(dims).items():
        made = engines[name].run(example_inputs(spec, sizes))
        known = sizes | ({"S": sizes["L"] + TINY.gpt.latents + 5} if name == "prompt" else {})
        known["W"] = sizes["T"] * TINY.audio.hop
        for tensor in spec.outputs:
            if tensor.name not in spec.aliases:
                shape = tuple(known[axis] if isinstance(axis, str) else axis for axis in tensor.shape)
                assert (made[tensor.name].shape, made[tensor.name].dtype) == (
                    shape,
                    tensor.resolved("float32"),
                )


@pytest.mark.parametrize("dims", [TINY, EXACT], ids=["one-pass", "exact"])
def test_fake_rows_do_not_see_each_other(dims: ModelDims) -> None:
    rng = np.random.default_rng(0)
    rows = [
        DecodeRow(
            rng.standard_normal((4, 32), dtype=np.float32),
            rng.integers(2, 20, 3 + 5 * i),
            1.0,
            SamplingParams(seed=i),
            i,
        )
        for i in range(3)
    ]
    decoder = Decoder(fake_engines(dims), dims, Limits())
    together = decoder.run(rows)
    for row, result in zip(rows, together, strict=True):
        (alone,) = decoder.run([row])
        assert alone.codes_M.tolist() == result.codes_M.tolist()
        np.testing.assert_allclose(alone.latents_MD.numpy(), result.latents_MD.numpy(), atol=1e-5)
