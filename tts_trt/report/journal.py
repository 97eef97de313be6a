"""What is finished is kept: a report that was stopped goes on where it was.

FOLDER/journal.jsonl   one line per finished item: its key, its kind, its value
FOLDER/waves/          what was said, FLAC of 16 bits
FOLDER/mels/           where a mel differs, PNG

A key is the hash of everything an item depends on; an item whose bundle, line or setting changed has another key and is made
anew, the others stay.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from tts_trt import __version__
from tts_trt.atomic import write_atomic
from tts_trt.errors import UsageError
from tts_trt.frontend.audio import to_pcm16

FORMAT = 1
"""Raised when an item's value means something else than before."""
JOURNAL = "journal.jsonl"


def key_of(kind: str, **depends: Any) -> str:
    """Hash of a kind of item and what it depends on, which must be JSON, and of the version that measures."""
    text = json.dumps([FORMAT, __version__, kind, depends], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Journal:
    """Of one report at a time: UsageError while another one holds the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / JOURNAL).open("a+b")
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(f"another report is being written to {folder}", hint="another --out") from error
        self._values = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def get(self, key: str) -> Any:
        return self._values.get(key)

    def add(self, key: str, kind: str, value: Any) -> None:
        """On disk when this returns."""
        line = json.dumps({"key": key, "kind": kind, "value": value}, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._values[key] = json.loads(line)["value"]  # as a later run will read it

    def wave(self, key: str) -> Path:
        return self.folder / "waves" / f"{key}.flac"

    def picture(self, key: str) -> Path:
        return self.folder / "mels" / f"{key}.png"

    def _read(self) -> dict[str, Any]:
        """A line that was being written when the process ended is cut off."""
        self._file.seek(0)
        values, good = {}, 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                values[str(entry["key"])] = entry["value"]
            except (ValueError, KeyError, TypeError):
                break
            good += len(line)
        self._file.truncate(good)
        self._file.seek(0, os.SEEK_END)
        return values


def save_wave(path: Path, wave_S: NDArray[np.float32], rate: int) -> None:
    made = io.BytesIO()
    soundfile.write(made, to_pcm16(wave_S), rate, format="FLAC", subtype="PCM_16")
    write_atomic(path, [made.getvalue()])


def load_wave(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples (S) and their rate. What is measured is what was written: a report made in one go and one that was stopped
    say the same."""
    wave_S, rate = soundfile.read(path, dtype="float32")
    return wave_S, int(rate)
