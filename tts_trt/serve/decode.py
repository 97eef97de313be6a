"""An uploaded recording to plain PCM, in a process of its own: ``python -m tts_trt.serve.decode SECONDS BYTES``.

    stdin: the file -> stdout: 16-bit mono WAV, exit 0
                    -> stdout: why not, in words, exit 2

A decoder is C code fed by strangers. Here it may crash, loop or fill memory without harm: the process has limits of time,
memory and files, sees none of the server's memory, and decodes no further than the limit: a few MB can hold hours.
"""

from __future__ import annotations

import asyncio
import io
import os
import resource
import sys

import numpy as np
import soundfile

from tts_trt.errors import ReferenceAudioError
from tts_trt.frontend.audio import HIGHEST_RATE, LOWEST_RATE, FloatArray, load_reference, wav_bytes

CONTAINERS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG", "AIFF")
CHANNELS = 8
HIGHEST_KEPT = 48_000  # Hz
CPU_SECONDS, MEMORY_BYTES = 20, 2 * 2**30
WALL_SECONDS = 30.0
REFUSED = 2

Decoded = tuple[bytes, float]
"""WAV, and its seconds."""


async def decode_apart(content: bytes, seconds: float) -> Decoded:
    """Raises ReferenceAudioError for what is not a usable recording of at most ``seconds``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tts_trt.serve.decode", str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(content), WALL_SECONDS)
    except TimeoutError:
        raise ReferenceAudioError("the recording takes too long to decode") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == REFUSED:
        raise ReferenceAudioError(out.decode("utf-8", "replace"))
    if process.returncode != 0:
        raise ReferenceAudioError("the recording cannot be decoded: its decoder gave up")
    with soundfile.SoundFile(io.BytesIO(out)) as file:
        return out, file.frames / file.samplerate


def decode(content: bytes, seconds: float) -> bytes:
    """The same here and now."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.format not in CONTAINERS:
                raise ReferenceAudioError(
                    f"{file.format} is not accepted; expected WAV, FLAC, Ogg, MP3 or AIFF"
                )
            if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE or not 1 <= file.channels <= CHANNELS:
                raise ReferenceAudioError(
                    f"the recording has {file.channels} channels at {file.samplerate} Hz, expected 1 to {CHANNELS} "
                    f"at {LOWEST_RATE} to {HIGHEST_RATE} Hz"
                )
            rate, samples = file.samplerate, _read(file, seconds)
    except soundfile.SoundFileError as error:
        raise ReferenceAudioError(
            "the upload is not audio that can be read; expected WAV, FLAC, Ogg or MP3"
        ) from error
    kept = min(rate, HIGHEST_KEPT)
    wave_S = load_reference(samples, kept, seconds + 1, source_rate=rate)
    return wav_bytes(wave_S / max(1.0, float(np.abs(wave_S).max())), kept)


def _read(file: soundfile.SoundFile, seconds: float) -> FloatArray:
    """(S) mono; a second at a time, so that what a header promises costs nothing."""
    blocks, left = [], int(seconds * file.samplerate)
    while len(block := file.read(file.samplerate, dtype="float32", always_2d=True)):
        left -= len(block)
        if left < 0:
            raise ReferenceAudioError(f"the recording is longer than {seconds:g} s, which is the limit")
        blocks.append(block.mean(1))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def main() -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        made, code = decode(sys.stdin.buffer.read(), float(sys.argv[1])), 0
    except ReferenceAudioError as error:
        made, code = error.args[0].encode(), REFUSED
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
