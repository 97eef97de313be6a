"""Audio files: reference recordings in, 16-bit WAV out.

Shapes: S samples. Waves are mono float32 in [-1, 1].
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tts_trt.atomic import write_atomic
from tts_trt.errors import ReferenceAudioError, SynthesisError, TtsTrtError, UsageError

FloatArray = NDArray[np.float32]

LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000  # Hz
SHORTEST_SECONDS = 0.3
LONGEST_SECONDS = 30 * 60.0
SILENCE_DBFS = -60.0  # RMS
HIGHEST_PEAK = 8.0  # full scale is 1; beyond this the samples are not audio in [-1, 1]
RESAMPLER_TAIL_SECONDS = 0.1  # read past the cut, so that the resampler's edge is not in what is kept
PCM16_MAX = 32767


def load_reference(
    source: str | Path | bytes | NDArray[Any],
    sample_rate: int,
    max_seconds: float,
    *,
    source_rate: int | None = None,
) -> FloatArray:
    """The first ``max_seconds`` of a recording, mono at ``sample_rate``, (S) float32.

    ``source`` is a path, the bytes of an audio file, or an array (S) or (S, channels) of floats in [-1, 1]
    or of signed integers, sampled at ``source_rate`` (Hz, by default ``sample_rate``). Channels are averaged;
    level and silence are left as they are. ReferenceAudioError says what makes a recording unusable.
    """
    keep_seconds = max_seconds + RESAMPLER_TAIL_SECONDS
    if isinstance(source, np.ndarray):
        rate, name = sample_rate if source_rate is None else source_rate, "the array"
        _check_array(source)
        _check_format(name, rate, len(source))
        samples = _float_samples(source[: int(keep_seconds * rate)])
    else:
        name = "the audio data" if isinstance(source, bytes) else str(source)
        samples, rate = _read_file(source, name, keep_seconds)
    wave = samples.mean(1, dtype=np.float64) if samples.ndim == 2 else samples
    _check_samples(name, wave, rate)
    if rate != sample_rate:
        wave = soxr.resample(wave.astype(np.float32), rate, sample_rate, quality="HQ")
    return np.ascontiguousarray(wave[: int(max_seconds * sample_rate)], dtype=np.float32)


def to_pcm16(wave_S: FloatArray) -> NDArray[np.int16]:
    """Float samples to 16-bit, clamped at full scale, (S). SynthesisError unless finite and mono."""
    if wave_S.ndim != 1:
        raise SynthesisError(f"expected mono samples (S), found an array of shape {wave_S.shape}")
    if not np.isfinite(wave_S).all():
        bad = int(np.flatnonzero(~np.isfinite(wave_S))[0])
        raise SynthesisError(f"sample {bad} of {len(wave_S)} is {wave_S[bad]}, expected a finite number")
    scaled = np.clip(wave_S, -1.0, 1.0) * PCM16_MAX
    return np.rint(scaled).astype(np.int16)


def wav_bytes(wave_S: FloatArray, sample_rate: int) -> bytes:
    """A mono 16-bit PCM WAV file in memory. SynthesisError as ``to_pcm16``."""
    file = io.BytesIO()
    soundfile.write(file, to_pcm16(wave_S), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def write_wav(path: str | Path, wave_S: FloatArray, sample_rate: int) -> None:
    """Write a mono 16-bit PCM WAV; the file appears whole or not at all.

    SynthesisError as ``to_pcm16``, UsageError for a folder that does not exist, TtsTrtError when the disk
    refuses.
    """
    path = Path(path)
    content = wav_bytes(wave_S, sample_rate)
    if not path.parent.is_dir():
        raise UsageError(
            f"{path.parent} is not a folder; cannot write {path.name} there",
            hint=f"mkdir -p '{path.parent}'",
        )
    try:
        write_atomic(path, [content])
    except OSError as error:
        raise TtsTrtError(
            f"cannot write {path}: {error.strerror}", hint="check the disk space and permissions"
        ) from error


def _read_file(source: str | Path | bytes, name: str, seconds: float) -> tuple[FloatArray, int]:
    """Decode the first ``seconds``: samples (S, channels) float32 and their rate."""
    if not isinstance(source, bytes):
        _check_path(source)
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
            _check_format(name, file.samplerate, file.frames)
            return file.read(int(seconds * file.samplerate), dtype="float32", always_2d=True), file.samplerate
    except soundfile.SoundFileError as error:
        raise ReferenceAudioError(
            f"{name} is not audio that can be read: {error}", hint="convert it to WAV or FLAC"
        ) from error


def _check_path(path: str | Path) -> None:
    # os.path, unlike pathlib, answers False for a name that is too long or in a folder that may not be read.
    if not os.path.exists(path):
        raise ReferenceAudioError(f"{path} does not exist", hint="check the path of the recording")
    if not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "not a regular file"
        raise ReferenceAudioError(f"{path} is {what}, expected an audio file", hint="name one recording")
    if Path(path).suffix.lower() == ".raw":
        raise ReferenceAudioError(
            f"{path} is headerless: its rate and format are unknown", hint="convert it to WAV or FLAC"
        )


def _check_format(name: str, rate: int, frames: int) -> None:
    """What can be refused before anything is decoded."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ReferenceAudioError(
            f"{name} is sampled at {rate} Hz, expected {LOWEST_RATE} to {HIGHEST_RATE} Hz",
            hint="resample the recording to 22050 Hz or 48000 Hz",
        )
    if frames > LONGEST_SECONDS * rate:
        raise ReferenceAudioError(
            f"{name} is {frames / rate / 60:.0f} minutes long, expected at most {LONGEST_SECONDS / 60:.0f}",
            hint="cut 5 to 15 s of clear speech of one speaker",
        )


def _check_samples(name: str, wave_S: NDArray[Any], rate: int) -> None:
    seconds = len(wave_S) / rate
    if seconds < SHORTEST_SECONDS:
        raise ReferenceAudioError(
            f"{name} is {seconds:.2f} s long, expected at least {SHORTEST_SECONDS} s",
            hint="use 5 to 15 s of clear speech",
        )
    if not np.isfinite(wave_S).all():
        raise ReferenceAudioError(
            f"{name} contains NaN or infinite samples", hint="export it again as 16-bit WAV"
        )
    peak = float(np.abs(wave_S).max())
    if peak > HIGHEST_PEAK:
        raise ReferenceAudioError(
            f"{name} has samples up to {peak:.3g}, expected -1 to 1",
            hint="scale it, or export it as 16-bit WAV",
        )
    rms = float(np.std(wave_S, dtype=np.float64))  # a constant offset is silence too
    if rms < 10 ** (SILENCE_DBFS / 20):
        raise ReferenceAudioError(
            f"{name} is silent in its first {seconds:.1f} s: RMS below {SILENCE_DBFS:.0f} dBFS",
            hint="use a recording that starts with speech",
        )


def _check_array(samples: NDArray[Any]) -> None:
    if samples.ndim not in (1, 2) or samples.dtype.kind not in "fi":
        raise ReferenceAudioError(
            f"the array is {samples.dtype} of shape {samples.shape}, expected (S) or (S, channels) of floats "
            "or signed integers",
            hint="decode the recording first, or pass its path or bytes",
        )


def _float_samples(samples: NDArray[Any]) -> NDArray[Any]:
    """Integers scaled to [-1, 1), floats as they are."""
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples
