"""Uploaded voices: decoded PCM under an id of ours, each seen by the key that uploaded it only.

    FOLDER/voice_<24 hex>.wav     16-bit mono
    FOLDER/voice_<24 hex>.json    name, owner, time: written last, removed first, so a kill leaves no half voice

A client's words never become a path: an id is looked up in the table of what is there.
"""

from __future__ import annotations

import json
import logging
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tts_trt.atomic import write_atomic
from tts_trt.errors import TtsTrtError, UsageError

LOG = logging.getLogger("tts_trt.serve")
LONGEST_NAME = 64


@dataclass(frozen=True)
class Uploaded:
    id: str
    name: str
    owner: str
    created: int  # Unix seconds
    seconds: float


class Full(TtsTrtError):
    """There are as many voices as may be."""


class VoiceStore:
    """``folder`` None: they live as long as the process."""

    def __init__(self, folder: Path | None, most: int) -> None:
        self._own = None if folder else tempfile.TemporaryDirectory(prefix="tts-trt-voices-")
        self._folder, self._most = folder or Path(self._own.name if self._own else ""), most
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self._folder} cannot hold voices: {error.strerror}") from error
        self._table = {voice.id: voice for voice in self._found()}

    def close(self) -> None:
        if self._own:
            self._own.cleanup()

    def of(self, owner: str) -> list[Uploaded]:
        return [voice for voice in self._table.values() if voice.owner == owner]

    def get(self, number: str, owner: str) -> Uploaded | None:
        voice = self._table.get(number)
        return voice if voice and voice.owner == owner else None

    def recording(self, voice: Uploaded) -> bytes:
        """The bytes of its WAV file. TtsTrtError when it cannot be read."""
        try:
            return self._path(voice, "wav").read_bytes()
        except OSError as error:
            raise TtsTrtError(f"the recording of {voice.id} cannot be read: {error.strerror}") from error

    def room(self) -> None:
        """Full when there is none."""
        if len(self._table) >= self._most:
            raise Full(f"there are {len(self._table)} voices, which is the limit", hint="delete one")

    def add(self, name: str, owner: str, wav: bytes, seconds: float) -> Uploaded:
        """Full, UsageError for a name that is none, TtsTrtError when the disk refuses."""
        if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise UsageError(
                f"a voice cannot be called {name[:80]!r}: expected 1 to {LONGEST_NAME} printable characters"
            )
        self.room()
        voice = Uploaded(f"voice_{secrets.token_hex(12)}", name, owner, int(time.time()), round(seconds, 3))
        try:
            write_atomic(self._path(voice, "wav"), [wav])
            write_atomic(self._path(voice, "json"), [json.dumps(asdict(voice)).encode()])
        except OSError as error:
            self._path(voice, "wav").unlink(missing_ok=True)
            raise TtsTrtError(f"the voice cannot be kept: {error.strerror}") from error
        self._table[voice.id] = voice
        return voice

    def remove(self, voice: Uploaded) -> None:
        self._table.pop(voice.id, None)
        self._path(voice, "json").unlink(missing_ok=True)
        self._path(voice, "wav").unlink(missing_ok=True)

    def _path(self, voice: Uploaded, suffix: str) -> Path:
        return self._folder / f"{voice.id}.{suffix}"

    def _found(self) -> list[Uploaded]:
        found = []
        for path in sorted(self._folder.glob("voice_*.json")):
            try:
                voice = Uploaded(**json.loads(path.read_bytes()))
                if voice.id != path.stem or not self._path(voice, "wav").is_file():
                    raise ValueError("its recording is missing")
                found.append(voice)
            except (OSError, ValueError, TypeError) as error:
                LOG.warning("%s is no voice: %s", path, error)
        return found
