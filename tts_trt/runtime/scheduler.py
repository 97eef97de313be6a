"""Many requests at once, on one set of engines.

    with Scheduler(tts) as scheduler:
        ticket = scheduler.submit(Request("Good morning.", "anna"), stream=StreamOptions())
        for chunk in ticket.chunks():
            ...

What a request gets does not depend on what else runs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from tts_trt.errors import Busy, DeadlineExceeded, TtsTrtError, UsageError
from tts_trt.runtime.request import Request, Result
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.ticket import StreamOptions, Ticket, as_error

__all__ = [
    "Busy",
    "DeadlineExceeded",
    "Scheduler",
    "SchedulerSettings",
    "SchedulerStats",
    "StreamOptions",
    "Ticket",
]

FIRST_GUESS_SECONDS = 1.0  # of work a request, before any was measured


@dataclass(frozen=True)
class SchedulerSettings:
    cache_slots: int = 8  # rows that are decoded at once, at most the bundle's batch
    queue: int = 32  # requests that wait before more are refused
    flow_rows: int = 0  # rows of one flow or vocoder call; 0: what suits the device
    workers: int = 0  # threads that run engines; 0: what suits the device
    prefills: int = 1  # new rows between two steps of the running ones


@dataclass(frozen=True)
class SchedulerStats:
    """A snapshot; counts and sums are since the start."""

    waiting: int = 0  # requests
    running: int = 0
    cache_slots: int = 0
    cache_slots_used: int = 0
    prefills: int = 0
    steps: int = 0
    step_rows: int = 0  # rows of all steps together
    flow_calls: int = 0
    flow_rows: int = 0
    vocoder_calls: int = 0
    vocoder_rows: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    audio_seconds: float = 0.0


class Scheduler:
    def __init__(self, tts: Synthesizer, settings: SchedulerSettings | None = None) -> None:
        self.tts, self.settings = tts, settings or SchedulerSettings()
        self._stats = SchedulerStats(cache_slots=self.settings.cache_slots)
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._running: Ticket | None = None
        self._closing = False
        self._mean_seconds = FIRST_GUESS_SECONDS
        self._thread = threading.Thread(target=self._work, name="tts-trt-scheduler", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self, request: Request, *, stream: StreamOptions | None = None, deadline: float | None = None
    ) -> Ticket:
        """Queues a request. TextError or UsageError at once for what cannot be spoken, Busy when the queue is full;
        ``deadline``: seconds from now, after which the request fails with DeadlineExceeded."""
        self.tts.speech.plan(request)
        ticket = Ticket(request, stream, deadline)
        with self._changed:
            if self._closing:
                raise UsageError("the scheduler is closed")
            if len(self._waiting) >= self.settings.queue:
                self._count(refused=1)
                raise Busy(
                    f"{len(self._waiting)} requests are waiting, as many as may",
                    retry_after=self._mean_seconds * len(self._waiting),
                )
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def stats(self) -> SchedulerStats:
        with self._changed:
            return replace(self._stats, waiting=len(self._waiting), running=int(self._running is not None))

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Takes no more requests; finishes those it has, for at most ``timeout`` seconds, or fails them."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if drain:
                self._changed.wait_for(lambda: not self._waiting and self._running is None, timeout)
            left = [*self._waiting, *([self._running] if self._running else [])]
        for ticket in left:
            ticket.fail(TtsTrtError("the scheduler was closed"))
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                self._running = ticket = self._waiting.popleft()
            began = time.monotonic()
            try:
                self._run(ticket)
            except Exception as error:  # noqa: BLE001 - the worker's edge: it fails its request and goes on
                self._count(failed=int(ticket.fail(as_error(error))))
            with self._changed:
                self._mean_seconds += 0.2 * (time.monotonic() - began - self._mean_seconds)
                self._running = None
                self._changed.notify_all()

    def _run(self, ticket: Ticket) -> None:
        if ticket.done:
            return
        ticket.began()
        if ticket.expires is not None and time.monotonic() > ticket.expires:
            raise DeadlineExceeded("the deadline passed before the request's turn came")
        if ticket.stream is None:
            result = self.tts.synthesize(ticket.request)
            ticket.emit(result.wave)
        else:
            for chunk_S in self.tts.stream(
                ticket.request, ticket.stream.first_codes, ticket.stream.chunk_codes
            ):
                ticket.emit(chunk_S)
            result = Result(ticket.joined(), self.tts.dims.audio.sample_rate, (), ())
        if ticket.finish(result):
            self._count(finished=1, audio_seconds=result.seconds)

    def _count(self, **more: float) -> None:
        with self._changed:
            now = {name: getattr(self._stats, name) + value for name, value in more.items()}
            self._stats = replace(self._stats, **now)
