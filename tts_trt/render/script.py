"""The file that is to be spoken, read with care: it may be anything."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from tts_trt.errors import TextError, UsageError

LONGEST_BYTES = 20_000_000  # some twenty novels

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_script(path: Path) -> str:
    """Text with ``\\n`` line ends, without a byte order mark. UsageError for a path that cannot be read, TextError for what is
    empty, too long, binary, or neither UTF-8 nor UTF-16 with a mark."""
    try:
        with path.open("rb") as file:
            raw = file.read(LONGEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
    if len(raw) > LONGEST_BYTES:
        raise TextError(f"{path} has more than {LONGEST_BYTES} bytes", hint="split it into volumes")
    text = _decoded(path, raw)
    if odd := _CONTROL.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise TextError(
            f"{path} is not text: line {line} holds the control character U+{ord(odd[0]):04X}",
            hint="give plain text, Markdown or SRT",
        )
    if not text.strip():
        raise TextError(f"{path} is empty", hint="give at least one sentence")
    return re.sub(r"\r\n?|\u2028|\u2029|\x0b|\x0c|\x85", "\n", text)


def _decoded(path: Path, raw: bytes) -> str:
    try:
        return raw.decode("utf-16" if raw.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path} is not {error.encoding.upper()}: byte {error.start} is 0x{raw[error.start]:02x}",
            hint=f"iconv -f WINDOWS-1252 -t UTF-8 {path.name}",
        ) from error
