"""One request being spoken: a job's chunks to bytes, whole or as they come, with an end that always reaches the worker.

first ----> headers ----> waves ... ----> end          whatever breaks this chain cancels the job
no sound: an error        a failure: the stream is cut off, so that no client takes it for whole
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
from fastapi.responses import Response
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from tts_trt.errors import SynthesisError, TtsTrtError
from tts_trt.serve.context import Serving
from tts_trt.serve.encode import StreamEncoder, encode, format_of
from tts_trt.serve.errors import ApiError, of_tts_trt
from tts_trt.serve.messages import Chunk, Done, Model
from tts_trt.serve.metrics import Experience
from tts_trt.serve.supervisor import Job

EVENTS = "text/event-stream"
SILENCE = 1e-3
"""No sample above it: what is heard so far may be silence to the end."""


class Take:
    """``until``: of the event loop's clock, when patience ends."""

    def __init__(
        self, here: Serving, form: str, model: Model, job: Job, one: Experience, until: float
    ) -> None:
        self.here, self.form, self.model, self.job, self.one = here, form, model, job, one
        self._reports, self._until = job.reports(), until
        self._done: Done | None = None

    @asynccontextmanager
    async def ending(self, request: Request) -> AsyncIterator[None]:
        """However it ends, and also when the client goes, the worker hears of it."""
        watch = asyncio.create_task(_cancel_when_gone(request, self.job))
        try:
            yield
            self.here.metrics.answered(self.one, time.perf_counter())
        finally:
            watch.cancel()
            self.here.supervisor.forget(self.job)

    async def first(self) -> NDArray[np.float32]:
        """Sound to begin with; silence before it is held back. SynthesisError when there is none."""
        held: list[NDArray[np.float32]] = []
        while (chunk := await self._chunk()) is not None:
            held.append(self._heard(chunk))
            if np.abs(held[-1]).max() > SILENCE:
                return np.concatenate(held)
        raise SynthesisError("there is no sound")

    async def rest(self) -> AsyncIterator[NDArray[np.float32]]:
        while (chunk := await self._chunk()) is not None:
            yield self._heard(chunk)

    @property
    def usage(self) -> dict[str, int]:
        ids, codes = (self._done.text_ids, self._done.codes) if self._done else (0, 0)
        return {"input_tokens": ids, "output_tokens": codes, "total_tokens": ids + codes}

    @property
    def headers(self) -> dict[str, str]:
        rate = format_of(self.form).rate(self.model.sample_rate)
        return {"X-Sample-Rate": str(rate), "X-Bundle": self.model.id, "Cache-Control": "no-store"}

    def _heard(self, chunk: Chunk) -> NDArray[np.float32]:
        self.one.heard(time.perf_counter(), len(chunk.wave_S) / self.model.sample_rate)
        return chunk.wave_S

    async def _chunk(self) -> Chunk | None:
        """The next with sound in it; None after the last."""
        try:
            async with asyncio.timeout_at(self._until):
                async for report in self._reports:
                    if isinstance(report, Done):
                        self._done, self.one.queued = report, report.queued
                    elif len(report.wave_S):
                        return report
        except TimeoutError:
            raise ApiError(503, "it took too long", code="deadline_exceeded", retry_after=5) from None
        return None


async def whole(take: Take, request: Request) -> Response:
    async with take.ending(request):
        wave_S = np.concatenate([await take.first(), *[part async for part in take.rest()]])
        content = await asyncio.to_thread(encode, take.form, wave_S, take.model.sample_rate)
    length = {"X-Audio-Seconds": f"{len(wave_S) / take.model.sample_rate:.6f}"}
    return Response(content, media_type=format_of(take.form).content_type, headers=take.headers | length)


async def streamed(take: Take, request: Request, *, events: bool) -> Response:
    """An answer that begins when there is sound: what goes wrong before that is raised here."""
    parts = _parts(take, request, events=events)
    first = await anext(parts)
    media = EVENTS if events else format_of(take.form).content_type
    return SoundStream(first, parts, media, take.headers)


async def _parts(take: Take, request: Request, *, events: bool) -> AsyncGenerator[bytes, None]:
    begun = False
    try:
        async with take.ending(request), aclosing(_encoded(take)) as encoded:
            async for made in encoded:
                yield _delta(made) if events else made
                begun = True
            if events:
                yield _event({"type": "speech.audio.done", "usage": take.usage})
    except (ApiError, TtsTrtError) as error:
        if not begun:
            raise
        known = error if isinstance(error, ApiError) else of_tts_trt(error)
        take.here.metrics.failed(known.code or "error")
        if not events:
            raise Cut from None
        yield _event({"type": "error"} | known.body)


async def _encoded(take: Take) -> AsyncGenerator[bytes, None]:
    """The first part may be empty: some encoders hold back what they were given first."""
    encoder = StreamEncoder(take.form, take.model.sample_rate)
    yield encoder.push(await take.first())
    async for wave_S in take.rest():
        if made := encoder.push(wave_S):
            yield made
    if made := encoder.end():
        yield made


class Cut(Exception):
    """The stream cannot go on."""


class SoundStream(Response):
    """A body in parts; without its proper end when it is cut."""

    def __init__(
        self, first: bytes, parts: AsyncGenerator[bytes, None], media_type: str, headers: dict[str, str]
    ) -> None:
        self._first, self._parts = first, parts
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for part in self._parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except Cut:
            return  # the server closes the connection
        finally:
            await self._parts.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_when_gone(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


def _delta(made: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(made).decode()})


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()
