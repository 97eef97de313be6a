"""What a running server holds, and how a route gets at it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request

from tts_trt.serve.catalogue import Catalogue
from tts_trt.serve.metrics import Metrics
from tts_trt.serve.settings import Settings
from tts_trt.serve.supervisor import Supervisor
from tts_trt.serve.voices import VoiceStore

DECODERS = 2
"""Uploads decoded at a time."""

NOBODY = "local"
"""Who owns voices where there are no keys."""


@dataclass(frozen=True)
class Serving:
    settings: Settings
    supervisor: Supervisor
    catalogue: Catalogue
    voices: VoiceStore
    metrics: Metrics
    decoders: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DECODERS))


def serving(request: Request) -> Serving:
    here: Serving = request.app.state.serving
    return here


def owner_of(request: Request) -> str:
    """Name of the key that asks."""
    owner: str | None = getattr(request.state, "owner", None)
    return owner or NOBODY
