"""The graphs of a model run as engines without being exported, and errors are summed by group."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scripts.nano.data import Utterance
from scripts.nano.pitch import pitch_of
from scripts.nano.resynthesis import Tunes, breakdown, melodies, melody, torch_engines
from tests.model.tiny import TINY, randomise
from tts_trt.model.family import TtsModel
from tts_trt.model.reference import Draws, Reference
from tts_trt.quality.speech import WordErrors
from tts_trt.runtime.acoustic import Acoustic
from tts_trt.runtime.decode import Decoder, DecodeRow
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.spec import Limits

CODES = 12


@pytest.fixture(scope="module")
def model() -> TtsModel:
    torch.set_num_threads(1)
    made = TtsModel(TINY)
    randomise(made)
    return made.eval()


def test_they_decode_what_the_reference_decodes(model: TtsModel) -> None:
    g, limits = TINY.gpt, Limits()
    conditioning = np.random.default_rng(0).standard_normal((g.latents, g.dim)).astype(np.float32)
    sampling = SamplingParams.of(TINY, greedy=True, repetition_penalty=1.0, max_codes=CODES)
    row = DecodeRow(conditioning, np.array([3, 4, 5]), 1.1, sampling)
    draws = Draws(torch.full((CODES, g.codes), 0.5), 0.0, 1, 1.0, 1.0, 1, CODES)
    codes, latents = Reference(model).codes(torch.from_numpy(conditioning)[None], [3, 4, 5], 1.1, draws)
    with torch_engines(model, limits) as engines:
        (decoded,) = Decoder(engines, TINY, limits).run([row])
    assert len(codes) > 3 and decoded.codes_M.tolist() == codes
    assert np.allclose(decoded.latents_MD.numpy(), latents[0].numpy(), atol=1e-4)


def test_a_mel_gives_the_wave_of_the_module(model: TtsModel) -> None:
    mel = np.random.default_rng(1).standard_normal((TINY.audio.n_mels, 7)).astype(np.float32)
    with torch_engines(model, Limits()) as engines, torch.inference_mode():
        (wave,) = Acoustic(engines, TINY).waves([mel])
        expected = model.vocoder(torch.from_numpy(mel)[None])[0].numpy()
    assert wave.shape == (7 * TINY.audio.hop,) and np.allclose(wave, expected, atol=1e-4)


def test_errors_are_summed_over_all_and_by_voice_and_emotion() -> None:
    spoken = [
        Utterance(np.zeros(1, np.int16), "", [], voice, emotion, 1.0, [], [])
        for voice, emotion in ((0, 3), (0, 2), (1, 3))
    ]
    counts = [WordErrors(n, 0, 0, words) for n, words in ((1, 2), (0, 8), (3, 10))]
    assert breakdown(spoken, {"codes": counts}) == {
        "codes": {"all": 0.2, "slt": 0.1, "rms": 0.3, "sad": 0.0, "calm": round(4 / 12, 4)}
    }


def hum(hz: float, seconds: float = 0.8) -> np.ndarray:
    t = np.arange(int(seconds * 16_000)) / 16_000
    return sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 12)).astype(np.float32) * 0.2


def test_a_raised_melody_is_heard_as_raised() -> None:
    def spoken(hz: float, emotion: int) -> Utterance:
        return Utterance((hum(hz) * 32767).astype(np.int16), "", [], 0, emotion, 1.0, [], [])

    low, high = spoken(100, 3), spoken(150, 0)
    tunes = Tunes(["codes", "latents", "spoken"])
    tunes.add(low, "codes", hum(200))
    tunes.add(low, "latents", hum(100))
    tunes.add(low, "spoken", hum(200))
    tunes.add(high, "codes", hum(150))
    octave, same, free = (tunes.found[stage][0] for stage in ("codes", "latents", "spoken"))
    assert abs(same.raised) < 0.1 and same.missed < 0.05
    assert abs(octave.raised - 12) < 0.2 and octave.missed > 0.95
    assert np.isnan(free.missed), "what runs at its own pace has no frames to compare"
    found = melodies([low, high], {"codes": tunes.found["codes"]})["codes"]
    assert abs(found["calm"]["raised"] - 12) < 0.2 and abs(found["happy"]["raised"]) < 0.1
    assert found["all"]["missed"] > 0.4 and "rms" not in found


def test_silence_has_no_melody() -> None:
    silent = melody(pitch_of((hum(100) * 32767).astype(np.int16)), "codes", np.zeros(0, np.float32))
    assert np.isnan(silent.raised) and np.isnan(silent.missed)
