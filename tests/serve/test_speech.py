"""The speech route over real HTTP: sound in every format, whole and as it comes, and an error for everything else."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import soundfile

from tests.serve.fakes import RATE
from tests.serve.rig import Served, body
from tts_trt.errors import UsageError
from tts_trt.serve.errors import of_tts_trt

LONG = (
    "The ferry leaves at nine. It is a long way to the sea, and the road is cold. Nobody waits for you there."
)


def heard(content: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == RATE
    return samples


def test_a_whole_file_says_how_long_it_is(served: Served) -> None:
    answer = served.speak()
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["x-bundle"] == "fake-fp32"
    wave = heard(answer.content)
    assert len(wave) / RATE == pytest.approx(float(answer.headers["x-audio-seconds"]), abs=1e-5)
    assert np.sqrt(np.mean(wave**2)) > 0.01


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "opus"])
def test_every_format_holds_the_same_speech(served: Served, name: str) -> None:
    plain = heard(served.speak().content)
    answer = served.speak(response_format=name)
    wave = heard(answer.content)
    assert len(wave) == pytest.approx(len(plain), abs=0.1 * RATE)
    assert np.std(wave) == pytest.approx(np.std(plain), rel=0.2)


def test_pcm_is_at_24_khz_as_openai_s_clients_expect(served: Served) -> None:
    plain = heard(served.speak().content)
    answer = served.speak(response_format="pcm")
    assert answer.headers["x-sample-rate"] == "24000"
    assert len(answer.content) // 2 == pytest.approx(len(plain) * 1.5, abs=2)


def test_a_format_nobody_can_write_is_refused(served: Served) -> None:
    answer = served.speak(response_format="aac")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "response_format"
    assert "wav, pcm, flac" in answer.json()["error"]["message"]


def test_a_stream_is_the_same_performance(served: Served) -> None:
    whole = heard(served.speak(LONG).content)
    answer = served.speak(LONG, stream_format="audio")
    assert "content-length" not in answer.headers
    assert len(heard(answer.content)) == len(whole)


def test_the_live_policy_streams(served: Served) -> None:
    answer = served.speak(tts_trt={"policy": "live"})
    assert "content-length" not in answer.headers
    assert len(heard(answer.content)) > 0


def test_events_carry_the_same_bytes_and_what_was_used(served: Served) -> None:
    answer = served.speak(LONG, stream_format="sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert len(events) > 2
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert sound == served.speak(LONG, stream_format="audio").content
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage["input_tokens"] > 20
    assert usage["output_tokens"] > 20
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_a_duration_is_met_to_the_sample(served: Served) -> None:
    for seconds in (1.2, 1.33337):
        answer = served.speak(tts_trt={"duration": seconds})
        assert answer.status_code == 200, answer.text
        assert len(heard(answer.content)) == round(seconds * RATE)


def test_a_seed_gives_one_result_and_another_seed_another(served: Served) -> None:
    first, again, other = (served.speak(tts_trt={"seed": seed}).content for seed in (4, 4, 5))
    assert first == again
    assert first != other


def test_voice_emotion_and_steps_reach_the_model(served: Served) -> None:
    variants = [
        {},
        {"voice": "ben"},
        {"voice": {"id": "ben"}},
        {"tts_trt": {"emotion": {"happy": 0.8}}},
        {"tts_trt": {"emotion": [0.8, 0, 0, 0, 0, 0, 0, 0]}},
        {"tts_trt": {"emotion_audio": "ben", "emotion_alpha": 0.5}},
        {"tts_trt": {"steps": 1}},
        {"speed": 1.5},
    ]
    made = [served.speak(**fields).content for fields in variants]
    assert made[1] == made[2]
    assert made[3] == made[4]
    del made[4], made[2]
    assert len(set(made)) == len(made)


def test_a_feeling_in_words_is_an_emotion(served: Served) -> None:
    def said(text: str, **extension: object) -> bytes:
        return served.speak(text, tts_trt=extension).content

    assert said("Go away.", emotion_text="in a sad voice") == said("Go away.", emotion={"sad": 0.6})
    assert said("How sad it is.", emotion_text=" ") == said("How sad it is.", emotion={"sad": 0.6})
    assert said("Go away.", emotion_text="") == said("Go away.", emotion={"calm": 0.5625})


def test_precision_and_policy_choose_the_bundle(served: Served) -> None:
    def bundle(**fields: object) -> str:
        return served.speak("Hi.", **fields).headers["x-bundle"]

    assert bundle(tts_trt={"precision": "int8"}) == "fake-int8"
    assert bundle(model="fake-int8") == "fake-int8"
    assert bundle(tts_trt={"policy": "audiobook"}) == "fake-int8"
    assert bundle(tts_trt={"policy": "dubbing"}) == "fake-fp32"


@pytest.mark.parametrize(
    ("changes", "status", "param", "words"),
    [
        ({"model": "tts-9"}, 404, "model", "only fake-fp32, fake-int8, fake"),
        ({"voice": "nobody"}, 400, "voice", "fake-fp32 has anna, ben"),
        ({"voice": "anna.wav"}, 400, "voice", "no voice"),
        ({"voice": "../fake-fp32/anna.wav"}, 400, "voice", "no voice"),
        ({"voice": "http://127.0.0.1/anna.wav"}, 400, "voice", "no voice"),
        ({"voice": ""}, 400, "voice.constrained-str", "at least 1"),
        ({"input": ""}, 400, "input", "at least 1"),
        ({"input": "?!"}, 400, "input", "nothing can be spoken"),
        ({"input": "a" * 5000}, 400, "input", "5000 characters, at most 4096"),
        ({"speed": 3}, 400, "speed", "less than or equal to 2"),
        ({"speed": "fast"}, 400, "speed", "number"),
        ({"instructions": "cheerfully"}, 400, "instructions", "''"),
        ({"language": "en"}, 400, "language", "not permitted"),
        ({"tts_trt": {"speed": 1}}, 400, "tts_trt.speed", "not permitted"),
        ({"tts_trt": {"emotion": {"jolly": 1}}}, 400, "tts_trt.emotion", "no emotion 'jolly'"),
        ({"tts_trt": {"emotion": {"happy": 1, "sad": 1}}}, 400, "tts_trt.emotion", "add up to 2.00"),
        ({"tts_trt": {"emotion": {"happy": 1}, "emotion_audio": "ben"}}, 400, "tts_trt", "exclude"),
        ({"tts_trt": {"emotion_text": "sad", "emotion_audio": "ben"}}, 400, "tts_trt", "exclude"),
        ({"tts_trt": {"emotion_text": "x" * 1001}}, 400, "tts_trt.emotion_text", "at most 1000"),
        ({"tts_trt": {"emotion_audio": "/etc/passwd"}}, 400, "tts_trt.emotion_audio", "no voice"),
        ({"tts_trt": {"duration": 90}}, 400, "tts_trt.duration", "out of reach"),
        ({"tts_trt": {"duration": 1}, "speed": 1.5}, 400, None, "exclude each other"),
        ({"tts_trt": {"precision": "fp8"}}, 400, "tts_trt.precision", "only in fp32, int8"),
        ({"tts_trt": {"policy": "opera"}}, 400, "tts_trt.policy", "live"),
    ],
)
def test_what_cannot_be_done_is_said(
    served: Served, changes: dict, status: int, param: str | None, words: str
) -> None:
    answer = served.client.post("/v1/audio/speech", json=body() | changes)
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert error["type"] == "invalid_request_error"
    if param != "voice.constrained-str":  # pydantic names the branch of a union
        assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b"\xff\xfe", "application/json"),
        (json.dumps(body()).encode(), "text/plain"),
        (b"a=1", "application/x-www-form-urlencoded"),
        (b"[" * 60_000, "application/json"),
        (b'{"model": "fake", "input": "\\ud800", "voice": "anna"}', "application/json"),
        (b'{"model": "fake", "input": "hi", "voice": "anna", "speed": NaN}', "application/json"),
    ],
)
def test_a_body_that_is_none_is_a_400(served: Served, content: bytes, kind: str) -> None:
    answer = served.client.post("/v1/audio/speech", content=content, headers={"content-type": kind})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_every_other_answer_has_the_same_form(served: Served) -> None:
    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("GET", "/v1/audio/speech", 405),
        ("PUT", "/v1/models", 405),
        ("GET", "/v1/models/none", 404),
        ("GET", "/static/../../etc/passwd", 404),
        ("GET", "/v1/models/..%2f..%2fetc", 404),
    ):
        answer = served.client.request(method, path)
        assert answer.status_code == status, path
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_what_is_wrong_in_a_request_goes_by_the_name_the_api_has_for_it() -> None:
    assert of_tts_trt(UsageError("too fast", field="rate")).param == "speed"
    assert of_tts_trt(UsageError("too fast", field="rate"), "voice").param == "voice"
    assert of_tts_trt(UsageError("no such file")).param is None
