"""What the server and its worker say to each other over a pipe.

server -> worker   Speak  Cancel  Close
worker -> server   Ready | Fatal, then Beat ..., and per Speak: Chunk ... Done | Failed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["usage", "busy", "deadline", "cancelled", "failed"]


@dataclass(frozen=True)
class Recording:
    """Bytes of an audio file."""

    content: bytes


@dataclass(frozen=True)
class Spoken:
    """One request in words of a bundle. A voice is a name of the bundle's own or a recording, never a path."""

    bundle: str
    text: str
    voice: str | Recording
    emotion: tuple[float, ...] | None = None
    emotion_audio: str | Recording | None = None
    alpha: float = 1.0
    rate: float = 1.0
    duration: float | None = None
    seed: int = 0
    steps: int | None = None
    chunks: tuple[int, int] | None = None  # codes of the first and of further chunks; None: whole
    deadline: float | None = None  # seconds from now


@dataclass(frozen=True)
class Speak:
    number: int
    spoken: Spoken


@dataclass(frozen=True)
class Cancel:
    number: int


@dataclass(frozen=True)
class Close:
    """Finish what runs and end."""


@dataclass(frozen=True)
class Model:
    """A bundle that is open."""

    id: str  # name of its folder
    path: Path
    model: str
    precision: str
    executor: str
    weights_sha256: str
    manifest_sha256: str
    created: int  # Unix seconds
    sample_rate: int
    voices: tuple[str, ...]


@dataclass(frozen=True)
class Ready:
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Fatal:
    """The worker cannot start. ``usage``: because of what it was told."""

    message: str
    usage: bool


@dataclass(frozen=True)
class Beat:
    """A sign of life; figures per bundle, as ``SchedulerStats`` names them."""

    stats: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Chunk:
    number: int
    wave_S: NDArray[np.float32]


@dataclass(frozen=True)
class Done:
    number: int
    text_ids: int
    codes: int
    queued: float | None  # seconds


@dataclass(frozen=True)
class Failed:
    number: int
    kind: Kind
    message: str
    retry_after: float | None = None
    field: str | None = None  # of the Request, where one is at fault


Order = Speak | Cancel | Close
Report = Ready | Fatal | Beat | Chunk | Done | Failed
