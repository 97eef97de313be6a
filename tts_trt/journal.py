"""What is finished is kept: work that was stopped, by whatever, goes on where it was.

    with Journal(folder, "render") as journal:
        if key not in journal:
            journal.add(key, value)      on disk when this returns

FOLDER/journal.jsonl holds one line per finished item. A key is the hash of everything an item depends on, so that what
changed since is made anew and the rest stays.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tts_trt.errors import TtsTrtError, UsageError

FILE = "journal.jsonl"


def key_of(kind: str, **depends: Any) -> str:
    """Hash of a kind of item and of what it depends on, which must be JSON."""
    text = json.dumps([kind, depends], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Journal:
    """Of one process at a time: UsageError while another one holds the folder. TtsTrtError when the disk refuses."""

    def __init__(self, folder: Path, what: str, hint: str = "another folder") -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / FILE).open("a+b", buffering=0)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(f"another {what} is working in {folder}", hint=hint) from error
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
        """None for what is not finished."""
        return self._values.get(key)

    def add(self, key: str, value: Any) -> None:
        line = json.dumps({"key": key, "value": value}, allow_nan=False)
        end = self._file.seek(0, os.SEEK_END)
        try:
            left = memoryview(line.encode() + b"\n")
            while left:
                left = left[self._file.write(left) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(end)  # half a line would hide what comes after it
            raise TtsTrtError(
                f"cannot write {self.folder / FILE}: {error.strerror}",
                hint="free some space; what is finished is kept",
            ) from error
        self._values[key] = json.loads(line)["value"]  # as a later run will read it

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
        return values
