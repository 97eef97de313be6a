"""Reference recordings that load or are refused, and WAV files that are whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tts_trt.errors import ReferenceAudioError, SynthesisError, TtsTrtError, UsageError
from tts_trt.frontend.audio import load_reference, to_pcm16, write_wav


def tone(seconds: float, rate: int = 22050, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def saved(path: Path, wave: np.ndarray, rate: int = 22050, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, wave, rate, subtype=subtype, format="WAV")
    return path


def test_a_recording_at_the_wanted_rate_is_not_touched(tmp_path: Path) -> None:
    wave = tone(0.5)
    made = load_reference(saved(tmp_path / "a.wav", wave), 22050, 15.0)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, wave)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    made = load_reference(saved(tmp_path / "a.wav", tone(1.0, rate), rate), 22050, 15.0)
    assert abs(len(made) - 22050) <= 1
    np.testing.assert_allclose(made[1000:21000], tone(1.0)[1000:21000], atol=2e-3)


def test_only_the_first_seconds_are_kept_and_the_cut_leaves_no_edge(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.wav", tone(3.0, 48000), 48000)
    made = load_reference(path, 22050, 0.7)
    assert len(made) == int(0.7 * 22050)
    np.testing.assert_array_equal(made, load_reference(path, 22050, 2.0)[: len(made)])


def test_channels_are_averaged_and_every_source_gives_the_same_wave(tmp_path: Path) -> None:
    stereo = np.stack([tone(0.5), 0.5 * tone(0.5)], axis=1)
    path = saved(tmp_path / "a.wav", stereo)
    made = load_reference(path, 22050, 15.0)
    np.testing.assert_allclose(made, 0.75 * tone(0.5), atol=1e-6)
    np.testing.assert_array_equal(load_reference(path.read_bytes(), 22050, 15.0), made)
    np.testing.assert_array_equal(load_reference(stereo, 22050, 15.0), made)


def test_an_integer_array_is_scaled_and_resampled_from_its_own_rate() -> None:
    samples = np.rint(tone(1.0, 16000) * 32768).astype(np.int16)
    made = load_reference(samples, 22050, 15.0, source_rate=16000)
    np.testing.assert_allclose(made[1000:21000], tone(1.0)[1000:21000], atol=2e-3)


REFUSED_WAVES = {
    "0 s": (np.zeros(0, np.float32), 22050, "0.00 s long"),
    "too short": (tone(0.29), 22050, "0.29 s long"),
    "silent": (1e-4 * tone(1.0), 22050, "silent"),
    "constant": (np.full(22050, 0.5, np.float32), 22050, "silent"),
    "NaN": (np.where(np.arange(22050) == 7, np.nan, tone(1.0)), 22050, "NaN"),
    "infinite": (np.where(np.arange(22050) == 7, np.inf, tone(1.0)), 22050, "infinite"),
    "not scaled": (32768 * tone(1.0), 22050, "-1 to 1"),
    "1 Hz": (tone(1.0), 1, "sampled at 1 Hz"),
    "0 Hz": (tone(1.0), 0, "sampled at 0 Hz"),
    "384 kHz": (tone(1.0), 384_000, "sampled at 384000 Hz"),
    "2 h": (np.zeros(4000 * 7200, np.float32), 4000, "120 minutes"),
}


@pytest.mark.parametrize("case", [name for name in REFUSED_WAVES if name not in ("0 Hz", "2 h")])
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, case: str) -> None:
    wave, rate, message = REFUSED_WAVES[case]
    with pytest.raises(ReferenceAudioError, match=message) as caught:
        load_reference(saved(tmp_path / "bad.wav", wave, rate), 22050, 15.0)
    assert "bad.wav" in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("case", REFUSED_WAVES)
def test_an_array_that_cannot_be_used_is_refused(case: str) -> None:
    wave, rate, message = REFUSED_WAVES[case]
    with pytest.raises(ReferenceAudioError, match=message):
        load_reference(wave, 22050, 15.0, source_rate=rate)


@pytest.mark.parametrize(
    "array",
    [np.array(1.0), np.zeros((9000, 2, 2)), np.array(["a"]), np.zeros(9000, np.uint8)],
)
def test_an_array_that_is_not_samples_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ReferenceAudioError, match="expected .S. or"):
        load_reference(array, 22050, 15.0)


def test_a_long_file_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "long.wav", np.zeros(4000 * 1801, np.int16), 4000, "PCM_16")
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(ReferenceAudioError, match="30 minutes"):
        load_reference(path, 22050, 15.0)


def test_a_path_that_is_no_audio_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("not audio")
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    refused = {"none.wav": "does not exist", "": "a folder", "pipe.wav": "regular file"}
    refused |= {"notes.wav": "not audio", "empty.wav": "not audio", "x" * 300: "does not exist"}
    (tmp_path / "a.raw").write_bytes(bytes(90_000))
    refused |= {"a.raw": "headerless"}
    for name, message in refused.items():
        with pytest.raises(ReferenceAudioError, match=message):
            load_reference(tmp_path / name, 22050, 15.0)
    with pytest.raises(ReferenceAudioError, match="not audio"):
        load_reference(b"", 22050, 15.0)


def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.wav", tone(2.0)).read_bytes()
    np.testing.assert_allclose(
        load_reference(whole[: len(whole) // 2], 22050, 15.0)[:20000], tone(2.0)[:20000]
    )
    with pytest.raises(ReferenceAudioError):
        load_reference(whole[:200], 22050, 15.0)


def test_a_written_wave_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, 2.5 * tone(0.5), 24000)
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 24000
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_array_equal(samples, np.rint(np.clip(2.5 * tone(0.5), -1, 1) * 32767))
    assert os.listdir(tmp_path) == ["out.wav"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_never_reach_a_file(tmp_path: Path, bad: float) -> None:
    wave = tone(0.1)
    wave[5] = bad
    with pytest.raises(SynthesisError, match="sample 5 of 2205"):
        write_wav(tmp_path / "out.wav", wave, 22050)
    assert not list(tmp_path.iterdir())


def test_only_mono_is_written() -> None:
    with pytest.raises(SynthesisError, match="mono"):
        to_pcm16(np.zeros((2, 100), np.float32))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, tone(0.1), 22050)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(TtsTrtError, match="No space left") as caught:
        write_wav(path, tone(0.2), 22050)
    assert caught.value.exit_code == 1
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["out.wav"]


def test_a_missing_folder_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        write_wav(tmp_path / "none" / "out.wav", tone(0.1), 22050)
