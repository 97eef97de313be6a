"""The journal of a report, and what lies beside it.

FOLDER/journal.jsonl   one line per finished item
FOLDER/waves/          what was said, FLAC of 16 bits
FOLDER/mels/           where a mel differs, PNG
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tts_trt import __version__, journal
from tts_trt.atomic import write_atomic
from tts_trt.frontend.audio import to_pcm16

FORMAT = 1
"""Raised when an item's value means something else than before."""


def key_of(kind: str, **depends: Any) -> str:
    """Also of the version that measures."""
    return journal.key_of(kind, **depends, format=FORMAT, version=__version__)


class Journal(journal.Journal):
    """Of one report at a time: UsageError while another one holds the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "report", hint="another --out")

    def wave(self, key: str) -> Path:
        return self.folder / "waves" / f"{key}.flac"

    def picture(self, key: str) -> Path:
        return self.folder / "mels" / f"{key}.png"


def save_wave(path: Path, wave_S: NDArray[np.float32], rate: int) -> None:
    made = io.BytesIO()
    soundfile.write(made, to_pcm16(wave_S), rate, format="FLAC", subtype="PCM_16")
    write_atomic(path, [made.getvalue()])


def load_wave(path: Path) -> tuple[NDArray[np.float32], int]:
    """Samples (S) and their rate. What is measured is what was written: a report made in one go and one that was stopped
    say the same."""
    wave_S, rate = soundfile.read(path, dtype="float32")
    return wave_S, int(rate)
