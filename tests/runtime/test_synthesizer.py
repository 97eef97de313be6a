"""Requests to waves: batches, segments, durations, voices, emotions, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.model.tiny import TINY
from tts_trt.errors import ReferenceAudioError, SynthesisError, TextError, UsageError
from tts_trt.frontend.audio import write_wav
from tts_trt.frontend.tokenizer import PhoneTokenizer
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.device import HOST, Tensor
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.voice import VoiceEncoder
from tts_trt.spec import Limits

RATE = TINY.audio.sample_rate
HAPPY = (0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("speaker", ["tts", "exact_tts"])
def test_a_request_of_a_batch_sounds_as_alone(
    speaker: str, recording: np.ndarray, request: pytest.FixtureRequest
) -> None:
    tts = request.getfixturevalue(speaker)
    other = recording[6000::-1].copy()  # shorter: rows differ in their prompts too
    asked = [
        Request("See me, no bad cat.", recording, sampling=SamplingParams.of(TINY, seed=1)),
        Request("No.", other, steps=2, guidance=0.0, sampling=SamplingParams.of(TINY, seed=2)),
        Request(
            "See me. No cat!", recording, rate=1.3, emotion=HAPPY, sampling=SamplingParams.of(TINY, seed=3)
        ),
        Request("Bad cat.", other, duration=0.9),
    ]
    together = tts.synthesize_batch(asked)
    for one, result in zip(asked, together, strict=True):
        alone = tts.synthesize(one)
        assert [c.tolist() for c in alone.codes] == [c.tolist() for c in result.codes]
        assert alone.segments == result.segments
        np.testing.assert_allclose(alone.wave, result.wave, atol=2e-3)
    assert {"plan", "voice", "decode", "mel_condition", "flow", "vocoder"} == together[0].timings.keys()


def test_the_same_request_gives_the_same_bits(tts: Synthesizer, recording: np.ndarray) -> None:
    asked = Request("See me. No cat!", recording)
    first, again = tts.synthesize(asked), tts.synthesize(asked)
    np.testing.assert_array_equal(first.wave, again.wave)
    other = tts.synthesize(replace(asked, sampling=SamplingParams.of(TINY, seed=7)))
    assert not np.array_equal(first.wave[:3000], other.wave[:3000])


@pytest.mark.parametrize("seconds", [0.65, 0.777, 1.0, 1.31313])
@pytest.mark.parametrize("text", ["See me, no cat.", "See me. No cat!"])
def test_a_duration_is_met_to_the_sample(
    tts: Synthesizer, recording: np.ndarray, text: str, seconds: float
) -> None:
    result = tts.synthesize(Request(text, recording, duration=seconds, silence_seconds=0.05))
    assert len(result.wave) == round(seconds * RATE)
    assert result.wave[-1] == pytest.approx(0.0, abs=1e-3)
    assert all(info.finish == "length" for info in result.segments)


@pytest.mark.parametrize("seconds", [0.65, 1.31313])
def test_what_is_stretched_to_a_duration_ends_by_itself_and_is_exact(
    tts: Synthesizer, recording: np.ndarray, seconds: float
) -> None:
    asked = Request("See me. No cat!", recording, duration=seconds, stretch=True, silence_seconds=0.05)
    result = tts.synthesize(asked)
    assert len(result.wave) == round(seconds * RATE)
    assert all(info.finish == "stop" for info in result.segments)
    drawn = [info.codes for info in result.segments]
    assert drawn != [info.codes for info in tts.synthesize(replace(asked, stretch=False)).segments]
    with pytest.raises(UsageError, match="cannot be streamed"):
        tts.stream(asked)


def test_segments_say_where_they_are(tts: Synthesizer, recording: np.ndarray) -> None:
    result = tts.synthesize(Request("See me. No cat! Bad cat?", recording, silence_seconds=0.25))
    assert [info.text for info in result.segments] == ["See me.", "No cat!", "Bad cat?"]
    assert np.abs(result.wave).max() <= 0.99 + 1e-6
    for before, after in zip(result.segments, result.segments[1:], strict=False):
        gap = result.wave[round((before.start + before.seconds) * RATE) : round(after.start * RATE)]
        assert len(gap) == 0.25 * RATE
        assert not gap.any()
    for info, codes in zip(result.segments, result.codes, strict=True):
        assert info.codes == len(codes)
        assert info.seconds == pytest.approx(len(codes) * 2 * TINY.audio.hop / RATE)
    assert result.seconds == pytest.approx(result.segments[-1].start + result.segments[-1].seconds)


def test_more_segments_than_a_batch_holds(
    one_pass: Engines, tokenizer: PhoneTokenizer, recording: np.ndarray, tts: Synthesizer
) -> None:
    narrow = Synthesizer(OpenBundle(one_pass, TINY, tokenizer, limits=Limits(batch=2)))
    asked = Request("See me. No cat! Bad cat? No. See.", recording)
    np.testing.assert_allclose(narrow.synthesize(asked).wave, tts.synthesize(asked).wave, atol=2e-3)


def test_voice_emotion_and_rate_change_what_is_said(tts: Synthesizer, recording: np.ndarray) -> None:
    plain = Request("See me, no cat.", recording, sampling=SamplingParams(greedy=True).forced(16))
    buzz = np.sign(recording) * 0.1
    variants = [
        plain,
        replace(plain, voice=buzz),
        replace(plain, emotion=HAPPY),
        replace(plain, emotion=HAPPY, alpha=0.5),
        replace(plain, emotion_audio=buzz),
        replace(plain, emotion_audio=buzz, alpha=0.5),
        replace(plain, rate=1.6),
        replace(plain, steps=2),
        replace(plain, guidance=0.0),
    ]
    conditionings = [tts.speech.conditioning(v, tts.voice(v.voice)) for v in variants[:6]]
    for i, one in enumerate(conditionings):
        assert all(np.abs(one - other).max() > 1e-4 for other in conditionings[:i])
    waves = [result.wave for result in tts.synthesize_batch(variants)]
    assert all(np.abs(waves[0] - wave).max() > 1e-4 for wave in waves[1:])


def test_an_emotion_recording_at_alpha_0_is_the_voice_itself(tts: Synthesizer, recording: np.ndarray) -> None:
    asked = Request("See me.", recording, emotion_audio=recording[::-1].copy(), alpha=0.0)
    own = Request("See me.", recording)
    voice = tts.voice(recording)
    np.testing.assert_allclose(
        tts.speech.conditioning(asked, voice), tts.speech.conditioning(own, voice), atol=1e-5
    )


def test_a_recording_is_encoded_once(tts: Synthesizer, recording: np.ndarray, tmp_path: Path) -> None:
    write_wav(tmp_path / "one.wav", recording, RATE)
    voice = tts.voice(tmp_path / "one.wav")
    assert tts.voice((tmp_path / "one.wav").read_bytes()) is voice
    assert tts.voice(str(tmp_path / "one.wav")) is voice
    write_wav(tmp_path / "one.wav", recording[::-1].copy(), RATE)
    assert tts.voice(tmp_path / "one.wav") is not voice
    assert voice.condition_Tc.shape == (voice.mel_mT.shape[1], TINY.regulator.channels)
    assert voice.mel_mT.shape == (80, len(recording) // TINY.audio.hop)


def test_the_flow_goes_on_from_the_end_of_a_reference(tts: Synthesizer, recording: np.ndarray) -> None:
    whole = tts.voice(recording)
    short = VoiceEncoder(tts.engines, replace(TINY, flow=replace(TINY.flow, prompt_seconds=0.3)))
    voice = short.encode(recording, source_rate=RATE)
    assert voice.mel_mT.shape == (80, 15) and whole.mel_mT.shape[1] > 15
    np.testing.assert_array_equal(voice.mel_mT, whole.mel_mT[:, -15:])
    np.testing.assert_array_equal(voice.condition_Tc, whole.condition_Tc[-15:])
    np.testing.assert_array_equal(voice.style_E, whole.style_E)
    np.testing.assert_array_equal(voice.semantic_FC, whole.semantic_FC)


def test_a_very_short_reference_is_enough(tts: Synthesizer, recording: np.ndarray) -> None:
    assert tts.synthesize(Request("No.", recording[:4900])).seconds > 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"text": " "}, TextError, "the text is empty"),
        ({"text": "?!"}, TextError, "nothing can be spoken"),
        ({"emotion": (0.5,) * 7}, UsageError, "has 7 entries, expected 8: happy"),
        ({"emotion": (float("nan"), *HAPPY[1:])}, UsageError, "happy is nan"),
        ({"emotion": (-0.1, *HAPPY[1:])}, UsageError, "happy is -0.1"),
        ({"emotion": (0.5,) * 8}, UsageError, "add up to 4.00"),
        ({"emotion": "happy"}, UsageError, "not a list of numbers"),
        ({"emotion": HAPPY, "emotion_audio": b""}, UsageError, "expected one of them"),
        ({"alpha": 1.5}, UsageError, "alpha is 1.5"),
        ({"rate": 2.5}, UsageError, "rate is 2.5, expected 0.5 to 2"),
        ({"rate": float("nan")}, UsageError, "rate is nan"),
        ({"rate": 1.2, "duration": 1.0}, UsageError, "expected one of them"),
        ({"stretch": True}, UsageError, "no duration to stretch to"),
        ({"duration": 9.0}, UsageError, "0.27 to 1.06 s can be met"),
        ({"duration": 0.1}, UsageError, "0.27 to 1.06 s can be met"),
        ({"duration": -1.0}, UsageError, "duration is -1"),
        ({"steps": 0}, UsageError, "steps is 0"),
        ({"voice": "nobody"}, UsageError, "no voice 'nobody', only none"),
        ({"voice": "absent.wav"}, ReferenceAudioError, "does not exist"),
        ({"voice": b"RIFF"}, ReferenceAudioError, "not audio"),
        ({"voice": np.zeros(16000, np.float32)}, ReferenceAudioError, "silent"),
        ({"emotion_audio": np.zeros(100, np.float32)}, ReferenceAudioError, "0.01 s long"),
    ],
)
def test_what_cannot_be_done_is_said(
    tts: Synthesizer, recording: np.ndarray, changes: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tts.synthesize(Request(**({"text": "See me.", "voice": recording} | changes)))


def test_a_duration_in_segments_must_leave_room_for_the_pauses(
    tts: Synthesizer, recording: np.ndarray
) -> None:
    with pytest.raises(UsageError, match="out of reach for this text"):
        tts.synthesize(Request("See me. No cat.", recording, duration=0.5, silence_seconds=0.6))


def test_bad_audio_never_leaves(one_pass: Engines, tokenizer: PhoneTokenizer, recording: np.ndarray) -> None:
    """An engine that breaks stands in for a vocoder whose half-precision weights overflow."""
    for broken, message in ((np.nan, "not numbers"), (0.0, "silent")):
        tts = Synthesizer(OpenBundle(_Spoilt(one_pass, broken), TINY, tokenizer))  # type: ignore[arg-type]
        with pytest.raises(SynthesisError, match=message):
            tts.synthesize(Request("See me.", recording))
        with pytest.raises(SynthesisError, match=message):
            list(tts.stream(Request("See me.", recording), 4, 4))


class _Spoilt:
    def __init__(self, engines: Engines, factor: float) -> None:
        self._engines, self._factor = engines, factor

    def __getitem__(self, name: str) -> object:
        return self if name == "vocoder" else self._engines[name]

    def launch(self, inputs: dict[str, np.ndarray]) -> dict[str, Tensor]:
        wave = self._engines["vocoder"].launch(inputs)["wave"].numpy()
        return {"wave": HOST.upload(wave * np.float32(self._factor))}
