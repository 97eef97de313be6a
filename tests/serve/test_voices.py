"""Uploads: recordings become voices, and hostile files become errors."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.serve.fakes import RATE
from tests.serve.rig import Served, recording, serving, settings
from tts_trt.errors import UsageError
from tts_trt.frontend.audio import wav_bytes
from tts_trt.serve.auth import make_key
from tts_trt.serve.decode import decode
from tts_trt.serve.voices import Full, VoiceStore

PATH = "/v1/audio/voices"
GOOD = wav_bytes(recording(7, 2.0), RATE)


def encoded(samples: np.ndarray, rate: int = RATE, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **kind)
    return file.getvalue()


def upload(served: Served, content: bytes, name: str = "me", file: str = "me.wav", consent: str = "true"):
    data = {"name": name, "consent": consent}
    return served.client.post(PATH, data=data, files={"audio_sample": (file, content)})


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        ({"format": "WAV", "subtype": "FLOAT"}, 44_100),
        ({"format": "FLAC"}, 96_000),
        ({"format": "OGG", "subtype": "OPUS"}, 48_000),
        ({"format": "MP3"}, 22_050),
    ],
)
def test_a_recording_becomes_a_voice(served: Served, kind: dict[str, str], rate: int) -> None:
    rng = np.random.default_rng(0)
    stereo = (0.1 * rng.standard_normal((2 * rate, 2))).astype(np.float32)
    answer = upload(served, encoded(stereo, rate, **kind), name="Ännä 1", file="../../etc/passwd")
    assert answer.status_code == 200, answer.text
    voice = answer.json()
    assert voice["name"] == "Ännä 1"
    assert voice["seconds"] == pytest.approx(2.0, abs=0.1)
    listed = {one["id"]: one["type"] for one in served.client.get(PATH).json()["data"]}
    assert listed[voice["id"]] == "audio_sample"
    assert listed["anna"] == "builtin"
    spoken = served.speak("Hi.", voice=voice["id"])
    assert spoken.status_code == 200
    assert spoken.content != served.speak("Hi.").content
    assert served.client.delete(f"{PATH}/{voice['id']}").json()["deleted"]
    assert served.client.delete(f"{PATH}/{voice['id']}").status_code == 404
    assert served.speak("Hi.", voice=voice["id"]).status_code == 400


def hostile() -> Iterator[tuple[str, bytes, str]]:
    noise = recording(3, 1.0)
    minutes = np.zeros(120 * 8000, np.int16)
    yield "minutes of Opus", encoded(minutes, 8000, format="OGG", subtype="OPUS"), "longer than 30 s"
    yield "an hour of FLAC", encoded(np.zeros(3600 * 8000, np.int16), 8000, format="FLAC"), "longer than 30 s"
    wrong = noise.copy()
    wrong[100] = np.nan
    yield "NaN", encoded(wrong, format="WAV", subtype="FLOAT"), "NaN or infinite"
    yield "infinite", encoded(wrong * np.inf, format="WAV", subtype="FLOAT"), "NaN or infinite"
    yield "huge", encoded(noise * 1e30, format="WAV", subtype="FLOAT"), "expected -1 to 1"
    yield "0 s", encoded(noise[:0], format="WAV"), "0.00 s long"
    yield "silent", encoded(noise * 0, format="WAV"), "silent"
    yield "9 channels", encoded(np.tile(noise[:, None], (1, 9)), format="WAV"), "9 channels"
    yield "1 Hz", encoded(noise, 1, format="WAV"), "1 Hz"
    yield "384 kHz", encoded(noise, 384_000, format="WAV"), "384000 Hz"
    yield "AU", encoded(noise, format="AU"), "AU is not accepted"
    yield "empty", b"", "not audio"
    yield "text", b"hello " * 1000, "not audio"
    yield "half a header", GOOD[:20], "not audio"
    yield "wrong magic", b"RIFX" + GOOD[4:], ""
    yield "a picture", b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(10_000_000)), "not audio"
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.wav", bytes(50_000_000))
    yield "a zip bomb", bomb.getvalue(), "not audio"
    yield "a data chunk that lies", GOOD[:40] + struct.pack("<I", 2**31) + GOOD[44:], ""
    yield "an MP3 of junk", b"\xff\xfb\x90\x00" + bytes(range(256)) * 50, ""


@pytest.mark.parametrize(("content", "words"), [pytest.param(c, w, id=name) for name, c, w in hostile()])
def test_a_hostile_upload_is_a_400_or_harmless(served: Served, content: bytes, words: str) -> None:
    answer = upload(served, content)
    if words:
        assert answer.status_code == 400, answer.text
        assert words in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "audio_sample"
    else:
        assert answer.status_code in (200, 400)
    for voice in served.client.get(PATH).json()["data"]:
        if voice["type"] == "audio_sample":
            served.client.delete(f"{PATH}/{voice['id']}")


def test_consent_is_asked_for(served: Served) -> None:
    for consent in ("", "no", "false", "cons_123"):
        answer = upload(served, GOOD, consent=consent)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "consent"
    answer = served.client.post(PATH, data={"name": "me"}, files={"audio_sample": ("a.wav", GOOD)})
    assert answer.status_code == 400
    assert answer.json()["error"] | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": "consent",
        "code": "missing_parameter",
    }


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\x00b", "a\nb"])
def test_a_name_must_be_one(served: Served, name: str) -> None:
    answer = upload(served, GOOD, name=name)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "name"


@pytest.mark.parametrize("number", ["../keys", "..%2fkeys", "voice_*", "anna", "%00", "voice_" + "0" * 24])
def test_only_uploaded_voices_are_deleted(served: Served, number: str) -> None:
    assert served.client.delete(f"{PATH}/{number}").status_code == 404


def test_a_voice_belongs_to_the_key_that_uploaded_it(tmp_path: Path) -> None:
    keys = [make_key(tmp_path / "keys.json", name) for name in ("anna", "ben")]
    own = {"keys": tmp_path / "keys.json", "voices": tmp_path / "voices"}
    with serving(settings(tmp_path, server=own, limits={"voices": 1, "upload_bytes": 100_000})) as here:
        here.client.headers["authorization"] = f"Bearer {keys[0]}"
        assert upload(here, GOOD + bytes(100_000)).status_code == 413
        voice = upload(here, GOOD).json()["id"]
        assert upload(here, GOOD).json()["error"]["code"] == "too_many_voices"
        assert here.speak("Hi.", voice=voice).status_code == 200
        here.client.headers["authorization"] = f"Bearer {keys[1]}"
        assert voice not in here.client.get(PATH).text
        assert here.speak("Hi.", voice=voice).status_code == 400
        assert here.client.delete(f"{PATH}/{voice}").status_code == 404
    kept = VoiceStore(tmp_path / "voices", 1)
    assert [one.id for one in kept.of("anna")] == [voice]


def test_what_a_kill_left_in_the_folder_is_no_voice(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path, 2)
    voice = store.add("me", "anna", b"RIFF", 1.0)
    (tmp_path / "voice_half.wav").write_bytes(b"RIFF")
    (tmp_path / "voice_torn.json").write_text('{"id": ')
    (tmp_path / "voice_lost.json").write_text(
        '{"id": "voice_lost", "name": "", "owner": "", "created": 1, "seconds": 1}'
    )
    (tmp_path / "voice_evil.json").write_text(
        '{"id": "../../evil", "name": "", "owner": "", "created": 1, "seconds": 1}'
    )
    again = VoiceStore(tmp_path, 2)
    assert again.of("anna") == [voice]
    assert again.recording(voice) == b"RIFF"
    again.add("two", "ben", b"RIFF", 1.0)
    with pytest.raises(Full):
        again.add("three", "ben", b"RIFF", 1.0)
    again.remove(voice)
    assert not VoiceStore(tmp_path, 2).of("anna")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot hold voices"):
        VoiceStore(tmp_path / "file", 1)


def test_decoding_keeps_the_sound_and_no_more_than_a_voice_needs() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(96_000) / 96_000).astype(np.float32)
    samples, rate = soundfile.read(
        io.BytesIO(decode(encoded(np.stack([tone, tone], 1), 96_000, format="FLAC"), 2.0))
    )
    assert (rate, samples.ndim, len(samples)) == (48_000, 1, 48_000)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() == 440
    loud, _ = soundfile.read(
        io.BytesIO(decode(encoded(4 * tone, 96_000, format="WAV", subtype="FLOAT"), 2.0))
    )
    assert 0.9 < np.abs(loud).max() <= 1.0
