"""One long sound to WAV or FLAC, 16 bits, with its marks in the file: what players show as chapters.

WAV     cue chunk (positions) and LIST adtl (labels), after the samples
FLAC    Vorbis comments CHAPTER001=00:00:00.000, CHAPTER001NAME=...

A file appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tts_trt.atomic import write_atomic
from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.frontend.audio import to_pcm16

FORMATS = (".wav", ".flac")
LARGEST_WAV = 2**32 - 2**16  # bytes of samples: sizes in the header have 32 bits
COPY = 2**20

_STREAMINFO, _VORBIS_COMMENT = 0, 4

Blocks = Iterable[NDArray[np.float32]]


@dataclass(frozen=True)
class Mark:
    sample: int
    title: str


def check_format(path: Path) -> None:
    """UsageError for a name that is neither WAV nor FLAC, or in a folder that does not exist."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path.name} is neither {' nor '.join(FORMATS)}", hint="--out book.flac")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; cannot write {path.name} there")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, expected a file to write")


def write_sound(
    path: Path, blocks: Callable[[], Blocks], samples: int, rate: int, marks: Sequence[Mark]
) -> str:
    """SHA-256 of the file. ``blocks`` gives all ``samples`` in order. TtsTrtError when the disk refuses, UsageError for a WAV
    beyond 4 GB."""
    digest = hashlib.sha256()

    def told(chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    try:
        if path.suffix.lower() == ".wav":
            write_atomic(path, told(_wav(blocks(), samples, rate, marks)))
        else:
            _write_flac(path, blocks, samples, rate, marks, told)
    except OSError as error:
        raise TtsTrtError(
            f"cannot write {path}: {error.strerror}", hint="check the disk space; what is finished is kept"
        ) from error
    return digest.hexdigest()


def _wav(blocks: Blocks, samples: int, rate: int, marks: Sequence[Mark]) -> Iterator[bytes]:
    if 2 * samples > LARGEST_WAV:
        raise UsageError(
            f"{samples / rate / 3600:.1f} hours do not fit into a WAV file", hint="--out book.flac"
        )
    tail = _cues(marks)
    fmt = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    size = 4 + 8 + len(fmt) + 8 + 2 * samples + len(tail)
    yield b"RIFF" + struct.pack("<I", size) + b"WAVE" + _chunk(b"fmt ", fmt)
    yield b"data" + struct.pack("<I", 2 * samples)
    for block_S in blocks:
        yield to_pcm16(block_S).astype("<i2").tobytes()
    yield tail


def _cues(marks: Sequence[Mark]) -> bytes:
    if not marks:
        return b""
    points = [struct.pack("<II4sIII", i, m.sample, b"data", 0, 0, m.sample) for i, m in enumerate(marks, 1)]
    labels = [
        _chunk(b"labl", struct.pack("<I", i) + m.title.encode() + b"\0") for i, m in enumerate(marks, 1)
    ]
    return _chunk(b"cue ", struct.pack("<I", len(marks)) + b"".join(points)) + _chunk(
        b"LIST", b"adtl" + b"".join(labels)
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _write_flac(
    path: Path,
    blocks: Callable[[], Blocks],
    samples: int,
    rate: int,
    marks: Sequence[Mark],
    told: Callable[[Iterable[bytes]], Iterator[bytes]],
) -> None:
    """The encoder swallows errors of the disk; what it wrote is read back before it counts."""
    plain = path.parent / f".{path.name}.encoding"
    try:
        written = hashlib.sha256()
        try:
            with soundfile.SoundFile(plain, "w", rate, 1, "PCM_16", format="FLAC") as file:
                for block_S in blocks():
                    pcm_S = to_pcm16(block_S)
                    written.update(pcm_S.tobytes())
                    file.write(pcm_S)
            read = hashlib.sha256()
            for pcm_S in soundfile.blocks(plain, COPY, dtype="int16"):
                read.update(pcm_S.tobytes())
        except (soundfile.SoundFileError, AssertionError) as error:
            raise OSError(0, f"{error or 'fewer samples were written than given'}") from error
        if read.digest() != written.digest():
            raise OSError(0, f"of {samples} samples not all are on the disk")
        write_atomic(path, told(_with_comments(plain, rate, marks)))
    finally:
        plain.unlink(missing_ok=True)


def _with_comments(plain: Path, rate: int, marks: Sequence[Mark]) -> Iterator[bytes]:
    """The file with its comment block replaced."""
    with plain.open("rb") as file:
        found = []
        assert file.read(4) == b"fLaC"
        last = False
        while not last:
            head = file.read(4)
            last, kind, size = bool(head[0] & 0x80), head[0] & 0x7F, int.from_bytes(head[1:], "big")
            found.append((kind, file.read(size)))
        kept = [block for block in found if block[0] != _VORBIS_COMMENT]
        kept.insert(1, (_VORBIS_COMMENT, _comments(rate, marks)))  # STREAMINFO comes first
        yield b"fLaC"
        for i, (kind, content) in enumerate(kept):
            flag = 0x80 if i == len(kept) - 1 else 0
            yield bytes([flag | kind]) + len(content).to_bytes(3, "big") + content
        while chunk := file.read(COPY):
            yield chunk


def _comments(rate: int, marks: Sequence[Mark]) -> bytes:
    fields = [b"tts_trt"]
    for i, mark in enumerate(marks, 1):
        fields += [
            f"CHAPTER{i:03}={clock(mark.sample, rate)}".encode(),
            f"CHAPTER{i:03}NAME={mark.title}".encode(),
        ]
    sized = [struct.pack("<I", len(field)) + field for field in fields]
    return sized[0] + struct.pack("<I", len(fields) - 1) + b"".join(sized[1:])


def clock(sample: int, rate: int) -> str:
    """HH:MM:SS.mmm."""
    ms = round(1000 * sample / rate)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
