"""Waves to bytes in the formats that clients ask for, at once or as they come.

wav   16-bit PCM; streamed, its length is unknown and the header says the most it can, as other servers' does
pcm   16-bit PCM without a header at 24 kHz, which OpenAI's clients take for granted
flac  mp3  opus   by libsndfile; opus in an Ogg stream at a rate that Opus knows
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.frontend.audio import to_pcm16

FloatArray = NDArray[np.float32]

PCM_RATE = 24_000  # Hz
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
UNKNOWN = 0xFFFF_FFFF  # length of a RIFF chunk that goes on until the stream ends


@dataclass(frozen=True)
class Format:
    content_type: str
    container: str | None = None  # of libsndfile; None: ours
    subtype: str = ""
    rate: Callable[[int], int] = lambda rate: rate  # of the file, for a rate of the model
    streamed: Mapping[str, Any] = field(default_factory=dict)  # how libsndfile encodes a stream


def _next(rates: tuple[int, ...]) -> Callable[[int], int]:
    return lambda rate: next((known for known in rates if known >= rate), rates[-1])


_CONSTANT = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
"""Without a header that counts frames, players tell the length of an MP3 from its bit rate."""

_KNOWN = {
    "wav": Format("audio/wav"),
    "pcm": Format("audio/pcm", rate=lambda _: PCM_RATE),
    "flac": Format("audio/flac", "FLAC", "PCM_16"),
    "mp3": Format("audio/mpeg", "MP3", "MPEG_LAYER_III", _next(MP3_RATES), _CONSTANT),
    "opus": Format("audio/ogg", "OGG", "OPUS", _next(OPUS_RATES)),
}
FORMATS = {
    name: form
    for name, form in _KNOWN.items()
    if form.container is None or form.subtype in soundfile.available_subtypes(form.container)
}
"""What the libsndfile at hand can write."""


def format_of(name: str) -> Format:
    if name not in FORMATS:
        raise UsageError(f"this server cannot write {name}; it can {', '.join(FORMATS)}")
    return FORMATS[name]


def encode(name: str, wave_S: FloatArray, sample_rate: int) -> bytes:
    """A whole file. SynthesisError for samples that are not finite."""
    form = format_of(name)
    rate = form.rate(sample_rate)
    pcm_S = to_pcm16(_resampled(wave_S, sample_rate, rate))
    if name == "pcm":
        return pcm_S.astype("<i2").tobytes()
    file = io.BytesIO()
    soundfile.write(file, pcm_S, rate, format=form.container or "WAV", subtype=form.subtype or "PCM_16")
    return file.getvalue()


class StreamEncoder:
    """``push`` chunks, then ``end``; each returns the bytes that are final. Not to be shared between threads."""

    def __init__(self, name: str, sample_rate: int) -> None:
        form = format_of(name)
        self.rate = form.rate(sample_rate)
        self._resampler = None
        if self.rate != sample_rate:
            self._resampler = soxr.ResampleStream(sample_rate, self.rate, 1, dtype="float32")
        self._head = _wav_header(self.rate) if name == "wav" else b""
        self._sink = _Growing()
        self._file = None
        if form.container:
            self._file = soundfile.SoundFile(
                self._sink,
                "w",
                self.rate,
                channels=1,
                format=form.container,
                subtype=form.subtype,
                **form.streamed,
            )

    def push(self, wave_S: FloatArray, *, last: bool = False) -> bytes:
        """SynthesisError for samples that are not finite."""
        to_pcm16(wave_S)
        if self._resampler is not None:
            wave_S = self._resampler.resample_chunk(wave_S, last=last)
        pcm_S = to_pcm16(wave_S)
        if self._file is None:
            head, self._head = self._head, b""
            return head + pcm_S.astype("<i2").tobytes()
        self._file.write(pcm_S)
        if last:
            self._file.close()
        return self._sink.taken()

    def end(self) -> bytes:
        return self.push(np.zeros(0, np.float32), last=True)


class _Growing(io.RawIOBase):
    """What libsndfile writes, in order. At its end it goes back to complete the header; those bytes have left by then and
    the formats read without them, so they are dropped."""

    def __init__(self) -> None:
        self._fresh, self._left, self._at = bytearray(), 0, 0

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        content = bytes(data)
        start = self._at - self._left
        if start >= 0:
            self._fresh[start : start + len(content)] = content
        elif start + len(content) > 0:
            kept = content[-start:]
            self._fresh[: len(kept)] = kept
        self._at += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = self._left + len(self._fresh)
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        start = max(self._at - self._left, 0)
        content = bytes(self._fresh[start:] if size < 0 else self._fresh[start : start + size])
        self._at += len(content)
        return content

    def taken(self) -> bytes:
        content = bytes(self._fresh)
        self._left += len(content)
        self._fresh.clear()
        return content


def _resampled(wave_S: FloatArray, source: int, target: int) -> FloatArray:
    if source == target:
        return wave_S
    resampled: FloatArray = soxr.resample(wave_S, source, target, quality="HQ")
    return resampled


def _wav_header(rate: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", UNKNOWN)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", UNKNOWN)
    )
