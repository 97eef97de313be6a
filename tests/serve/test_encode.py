"""A stream in any chunks is the same sound as the whole file, and no format takes a sample that is none."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_trt.errors import SynthesisError, UsageError
from tts_trt.serve.encode import FORMATS, UNKNOWN, StreamEncoder, encode, format_of

RATE = 16_000
HEADS = {"wav": 44, "pcm": 0, "flac": 42}
"""Bytes that say how long a file is."""


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def streamed(name: str, wave: np.ndarray, cuts: list[int], rate: int = RATE) -> bytes:
    encoder = StreamEncoder(name, rate)
    ends = [0, *sorted(cuts), len(wave)]
    return b"".join([*(encoder.push(wave[a:b]) for a, b in pairwise(ends)), encoder.end()])


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(sorted(HEADS)), cuts=st.lists(st.integers(0, RATE), max_size=5))
def test_chunks_do_not_change_what_is_heard(name: str, cuts: list[int]) -> None:
    whole, parts, head = encode(name, tone(), RATE), streamed(name, tone(), cuts), HEADS[name]
    if name == "pcm":  # through a resampler, which rounds by itself
        a, b = (np.frombuffer(x, "<i2").astype(int) for x in (whole, parts))
        assert len(a) == pytest.approx(len(b), abs=1)
        n = min(len(a), len(b))
        assert np.abs(a[:n] - b[:n]).max() < 100
    else:
        assert whole[head:] == parts[head:]


@pytest.mark.parametrize("name", ["mp3", "opus"])
def test_lossy_streams_decode_to_the_tone(name: str) -> None:
    if name not in FORMATS:
        pytest.skip(f"this libsndfile cannot write {name}")
    samples, rate = soundfile.read(io.BytesIO(streamed(name, tone(2.0), [1000, 9000])))
    assert len(samples) / rate == pytest.approx(2.0, abs=0.2)
    middle = samples[rate // 2 : rate // 2 + rate]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(440, abs=2)
    assert np.abs(middle).max() == pytest.approx(0.4, rel=0.2)


def test_a_streamed_wav_says_that_it_goes_on() -> None:
    content = streamed("wav", tone(), [100])
    assert content[4:8] == content[40:44] == UNKNOWN.to_bytes(4, "little")
    samples, rate = soundfile.read(io.BytesIO(content))
    assert (len(samples), rate) == (RATE, RATE)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000])
def test_every_format_takes_every_rate_of_a_model(name: str, rate: int) -> None:
    kept = format_of(name).rate(rate)
    assert kept >= rate or name == "pcm"
    content = encode(name, tone(0.5, rate), rate)
    if name == "pcm":
        assert len(content) // 2 == pytest.approx(12_000, abs=2)
    else:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            assert file.frames / file.samplerate == pytest.approx(0.5, abs=0.05)
    assert streamed(name, tone(0.5, rate), [], rate)


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_that_is_no_number_never_leaves(name: str) -> None:
    wave = tone(0.1)
    wave[7] = np.nan
    with pytest.raises(SynthesisError):
        encode(name, wave, RATE)
    with pytest.raises(SynthesisError):
        StreamEncoder(name, RATE).push(wave)
    with pytest.raises(UsageError, match="cannot write aac"):
        format_of("aac")
