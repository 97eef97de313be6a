"""The real ``openai`` package against a real server: what its users do works without a change but the address."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import soundfile

from tests.serve import fakes
from tests.serve.rig import Served, recording, serving, settings
from tts_trt.frontend.audio import wav_bytes
from tts_trt.serve.auth import make_key


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """With keys, and other names for a model and a voice."""
    folder = tmp_path_factory.mktemp("locked")
    key = make_key(folder / "keys.json", "studio")
    own = {"server": {"keys": folder / "keys.json"}, "models": {"tts-1": "fake"}, "voices": {"alloy": "anna"}}
    with serving(settings(folder, **own)) as here:
        yield here, key


@pytest.fixture
def client(locked: tuple[Served, str]) -> Iterator[openai.OpenAI]:
    here, key = locked
    with openai.OpenAI(base_url=f"{here.url}/v1", api_key=key, max_retries=0) as made:
        yield made


def test_speech_of_the_default_format(client: openai.OpenAI, tmp_path: Path) -> None:
    client.audio.speech.create(model="tts-1", voice="alloy", input="Good morning.").write_to_file(
        tmp_path / "speech.mp3"
    )
    samples, rate = soundfile.read(tmp_path / "speech.mp3")
    assert rate == fakes.RATE
    assert len(samples) > 0.2 * rate


def test_streamed_speech(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="fake",
        voice="anna",
        input="It is a long way to the sea, and the road is cold.",
        response_format="wav",
        stream_format="audio",
        extra_body={"tts_trt": {"seed": 7}},
    ) as answer:
        parts = list(answer.iter_bytes())
    samples, _ = soundfile.read(io.BytesIO(b"".join(parts)))
    assert len(samples) > 0.2 * fakes.RATE


def test_events(client: openai.OpenAI) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="fake", voice="anna", input="Good morning.", response_format="pcm", stream_format="sse"
    ) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["total_tokens"] > 0


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake-fp32", "fake-int8"]
    assert client.models.retrieve("fake-int8").id == "fake-int8"


def test_a_voice_is_uploaded_spoken_with_and_deleted(client: openai.OpenAI) -> None:
    file = ("me.wav", wav_bytes(recording(5, 2.0), fakes.RATE), "audio/wav")
    voice = client.audio.voices.create(name="me", audio_sample=file, consent="true")
    assert voice.id.startswith("voice_")
    speech = client.audio.speech.create(
        model="fake", voice={"id": voice.id}, input="Good morning.", response_format="wav"
    )
    assert speech.content[:4] == b"RIFF"
    assert client.audio.voices.delete(voice.id).deleted
    with pytest.raises(openai.BadRequestError, match="no voice"):
        client.audio.speech.create(model="fake", voice={"id": voice.id}, input="Good morning.")


def test_errors_are_the_client_s_own(client: openai.OpenAI, locked: tuple[Served, str]) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.speech.create(model="gpt-9", voice="anna", input="Hi.")
    assert missing.value.code == "model_not_found"
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="nothing can be spoken"):
        client.audio.speech.create(model="fake", voice="anna", input="?!")
    stranger = openai.OpenAI(base_url=f"{locked[0].url}/v1", api_key="tts-0-0", max_retries=0)
    with pytest.raises(openai.AuthenticationError) as refused:
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"
