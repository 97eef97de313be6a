"""Clients that listen: many at once, each asks again when it was answered, and notes what a listener would have noticed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from scripts.server.running import percentile
from tts_trt.playback import NOTICED_SECONDS
from tts_trt.quality.continuity import Piece, continuity

RATE = 24_000  # of pcm


@dataclass(frozen=True)
class Heard:
    status: int
    code: str | None  # of the error
    latency: float  # seconds
    first_audio: float | None
    seconds: float  # of sound
    underrun: float  # worst gap for who starts to play at once


async def ask(client: httpx.AsyncClient, body: dict[str, Any]) -> Heard:
    """One request of pcm, whole or streamed. A connection that breaks is status 0."""
    began = time.perf_counter()
    pieces: list[Piece] = []
    try:
        async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            if answer.status_code != 200:
                error = (await answer.aread(), answer.json())[1]["error"]
                return Heard(answer.status_code, error["code"], time.perf_counter() - began, None, 0.0, 0.0)
            async for part in answer.aiter_raw():
                pieces.append(Piece(time.perf_counter() - began, len(part) / 2 / RATE))
    except httpx.RemoteProtocolError:
        return Heard(0, "cut", time.perf_counter() - began, None, 0.0, 0.0)
    latency = time.perf_counter() - began
    seconds = sum(piece.seconds for piece in pieces)
    heard = continuity(pieces) if pieces else None
    return Heard(200, None, latency, heard and heard.first_audio, seconds, heard.deficit if heard else 0.0)


async def listen(url: str, bodies: Sequence[dict[str, Any]], clients: int) -> tuple[list[Heard], float]:
    """All bodies, ``clients`` at a time; and the seconds it took."""
    waiting, heard = list(reversed(bodies)), []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:

        async def work() -> None:
            while waiting:
                heard.append(await ask(client, waiting.pop()))

        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(clients)))
        return heard, time.perf_counter() - began


def summary(heard: Sequence[Heard], took: float, *, streamed: bool) -> dict[str, Any]:
    good = [one for one in heard if one.status == 200]
    seconds = sum(one.seconds for one in good)
    found: dict[str, Any] = {
        "requests": len(heard),
        "answers": {str(status): count for status, count in Counter(one.status for one in heard).items()},
        "audio_seconds": round(seconds, 2),
        "took": round(took, 2),
        "audio_per_second": round(seconds / took, 3),
        "latency_p50": percentile([one.latency for one in good], 0.5),
        "latency_p95": percentile([one.latency for one in good], 0.95),
    }
    if streamed:
        firsts = [one.first_audio for one in good if one.first_audio is not None]
        found |= {
            "first_audio_p50": percentile(firsts, 0.5),
            "first_audio_p95": percentile(firsts, 0.95),
            "underrun_worst": round(max((one.underrun for one in good), default=0.0), 3),
            "without_gap": round(sum(one.underrun < NOTICED_SECONDS for one in good) / max(len(good), 1), 3),
        }
    return found
