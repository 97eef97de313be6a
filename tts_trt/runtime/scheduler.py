"""Many requests at once, on one set of engines.

    with Scheduler(tts) as scheduler:
        ticket = scheduler.submit(Request("Good morning.", "anna"), stream=StreamOptions())
        for chunk in ticket.chunks():
            ...

    submit -> [ queue ] -> let in: a segment of the request that has fewest in flight
                             -> prefill -> steps of all running rows -> flow steps of rows of like length -> vocoder -> ticket

Work is cut into pieces (``work.py``): a prefill, a step of all rows, one Euler step, a vocoder call. Workers take the piece
that is wanted first (``speaking.py``), so that nothing waits longer than a piece for what is more urgent. What a request gets does
not depend on what else runs: rows see neither each other nor their padding, noise is keyed by seed, segment and step, and chunks
end at the same codes.

On a host the workers are threads, each with a piece of its own: engines of one thread each then keep all cores busy, which is
worth more than several threads per engine. A GPU has one worker and batches instead.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from tts_trt.errors import Busy, DeadlineExceeded, TtsTrtError, UsageError
from tts_trt.runtime.acoustic_stage import AcousticStage
from tts_trt.runtime.decode_stage import DecodeStage
from tts_trt.runtime.request import Request
from tts_trt.runtime.speaking import Run, Speaking
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.ticket import StreamOptions, Ticket, as_error
from tts_trt.runtime.work import Counts, Work

__all__ = [
    "Busy",
    "DeadlineExceeded",
    "Scheduler",
    "SchedulerSettings",
    "SchedulerStats",
    "StreamOptions",
    "Ticket",
]

FIRST_GUESS_SECONDS = 1.0
"""Between two requests that end, before any has been measured."""

SMOOTHING = 0.2
"""Weight of the newest such interval."""

ABOUT_SECONDS = 0.1
"""Work that is wanted within this time is wanted at once."""

IN_FLIGHT_PER_SLOT = 2
"""Segments in flight, decoded or not, for each cache slot: enough for the acoustics never to wait, few to keep in memory."""


@dataclass(frozen=True)
class SchedulerSettings:
    cache_slots: int = 8  # rows that are decoded at once, at most the bundle's batch
    queue: int = 32  # requests that wait before more are refused
    acoustic_rows: int = 0  # rows of one flow or vocoder call; 0: 1 on a host, the bundle's batch elsewhere
    workers: int = 0  # threads that run engines; 0: one per core on a host, one elsewhere
    prefills: int = 1  # new rows between two steps of the running ones

    def __post_init__(self) -> None:
        for name, least in (
            ("cache_slots", 1),
            ("queue", 1),
            ("acoustic_rows", 0),
            ("workers", 0),
            ("prefills", 1),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}, expected at least {least}")


@dataclass(frozen=True)
class SchedulerStats:
    """A snapshot; counts and sums are since the start."""

    waiting: int  # requests that have not begun
    running: int  # requests that have
    cache_slots: int
    cache_slots_used: int
    prefills: int
    steps: int
    step_rows: int  # rows of all steps together
    flow_calls: int
    flow_rows: int
    vocoder_calls: int
    vocoder_rows: int
    finished: int
    failed: int
    cancelled: int
    expired: int
    refused: int
    audio_seconds: float


@dataclass
class _Outcomes:
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    audio_seconds: float = 0.0


class Scheduler:
    def __init__(self, tts: Synthesizer, settings: SchedulerSettings | None = None) -> None:
        self.tts, self.settings = tts, settings or SchedulerSettings()
        chosen, speech, host = self.settings, tts.speech, tts.engines["gpt"].device.host
        self._counts, self._outcomes = Counts(), _Outcomes()
        batch = tts.limits.batch
        places = min(chosen.cache_slots, batch)
        together = min(chosen.acoustic_rows, batch) or (1 if host else batch)
        self._decode = DecodeStage(speech.decoder, places, chosen.prefills, self._counts)
        self._acoustics = AcousticStage(speech.acoustic, together, self._counts)
        self._waiting: deque[Speaking] = deque()
        self._running: list[Speaking] = []
        self._changed = threading.Condition()
        self._closing, self._interval, self._last_end = False, FIRST_GUESS_SECONDS, time.monotonic()
        workers = chosen.workers or ((os.cpu_count() or 1) if host else 1)
        self._threads = [
            threading.Thread(target=self._work, name=f"tts-trt-scheduler-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    def submit(
        self, request: Request, *, stream: StreamOptions | None = None, deadline: float | None = None
    ) -> Ticket:
        """Queues a request. TextError or UsageError at once for what cannot be spoken, Busy when the queue is full;
        ``deadline``: seconds from now, after which the request fails with DeadlineExceeded. A recording that cannot be
        used is told by the ticket."""
        if stream is not None:
            request.check_streamed()
        plan = self.tts.speech.plan(request)
        speaking = Speaking(Ticket(request, stream, deadline), plan, self.tts.speech)
        with self._changed:
            if self._closing:
                raise Busy("the scheduler is closing", retry_after=self._interval)
            self._reap()
            waiting = len(self._waiting)
            if waiting >= self.settings.queue:
                self._outcomes.refused += 1
                raise Busy(
                    f"{waiting} requests are waiting, as many as may",
                    retry_after=max(0.1, waiting * self._interval),
                    hint="come again later, or give the queue more room",
                )
            if not self._running and not self._waiting:
                self._last_end = time.monotonic()  # nothing was under way: the next interval begins here
            self._waiting.append(speaking)
            self._changed.notify_all()
        return speaking.ticket

    def stats(self) -> SchedulerStats:
        with self._changed:
            self._reap()
            return SchedulerStats(
                waiting=len(self._waiting),
                running=len(self._running),
                cache_slots=self._decode.places,
                cache_slots_used=self._decode.used,
                **asdict(self._counts),
                **asdict(self._outcomes),
            )

    def close(self, drain: bool = True, timeout: float | None = None) -> None:
        """Takes no more requests; finishes those it has, for at most ``timeout`` seconds, and fails the rest."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            if drain:
                self._changed.wait_for(lambda: not self._waiting and not self._running, timeout)
            self._fail_all(TtsTrtError("the scheduler was closed before the request was done"))
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # all below runs in the workers, under the lock but for the work itself

    def _work(self) -> None:
        try:
            with self._changed:
                while (work := self._next()) is not None:
                    self._do(work)
        except BaseException as error:
            with self._changed:  # a mistake of the scheduler's own: nobody is left waiting for it
                self._closing = True
                self._fail_all(as_error(error))
                self._running.clear()
                self._changed.notify_all()
            raise

    def _next(self) -> Work | None:
        """The most urgent piece of work, claimed; None when all is done and closed."""
        while True:
            self._reap()
            self._let_in()
            runs = [run for speaking in self._running for run in speaking.runs]
            offers = [*self._decode.offer(), *self._acoustics.offer(runs)]
            if offers:
                # wanted at about the same time: what comes first on the way, so that rows meet in batches
                work = min(offers, key=lambda offer: int(offer.due / ABOUT_SECONDS))
                work.claim()
                for run in work.runs:
                    run.claims += 1
                return work
            if self._closing and not self._waiting and not self._running:
                self._changed.notify_all()
                return None
            self._changed.wait(self._until_next_deadline())

    def _do(self, work: Work) -> None:
        failed: dict[Run, Exception] = {}
        whole = False
        self._changed.release()
        try:
            failed = work.run()
        except Exception as error:  # noqa: BLE001 - the worker's edge: it fails the requests concerned and goes on
            whole, failed = True, dict.fromkeys(work.runs, error)
        finally:
            self._changed.acquire()
        work.settle(failed=whole)
        for run in work.runs:
            run.claims -= 1
        for run, reason in failed.items():
            self._fail(run.speaking.ticket, as_error(reason))
        for speaking in {id(run.speaking): run.speaking for run in work.runs}.values():
            self._go_on(speaking)
        self._changed.notify_all()

    def _go_on(self, speaking: Speaking) -> None:
        """Give out what is ready; the end of a request."""
        if speaking.ticket.done:
            return
        for run in speaking.runs:
            if run.spoken is not None:
                run.close()
        if not speaking.advance():
            return
        self._running.remove(speaking)
        try:
            speaking.finish()
        except TtsTrtError as error:
            self._fail(speaking.ticket, error)
            return
        now = time.monotonic()
        self._interval += SMOOTHING * (now - self._last_end - self._interval)
        self._last_end = now
        self._outcomes.finished += 1
        self._outcomes.audio_seconds += speaking.seconds

    def _let_in(self) -> None:
        """Segments of those who have fewest in flight, while there is room for their rows."""
        while self._decode.used < self._decode.places:
            flying = sum(len(speaking.runs) for speaking in self._running)
            startable = [s for s in (*self._running, *self._waiting) if s.startable and not s.ticket.done]
            if not startable or flying >= IN_FLIGHT_PER_SLOT * self._decode.places:
                return
            chosen = min(startable, key=lambda s: (len(s.runs), s.due))
            if chosen in self._waiting:
                self._waiting.remove(chosen)
                self._running.append(chosen)
            self._decode.waiting.append(chosen.start())

    def _reap(self) -> None:
        """Drop who was cancelled, failed or ran out of time, as soon as no work is being done on it."""
        now = time.monotonic()
        for speaking in (*self._waiting, *self._running):
            expires = speaking.ticket.expires
            if expires is not None and now > expires:
                self._fail(
                    speaking.ticket, DeadlineExceeded("the request's time was up before its audio was whole")
                )
        for speaking in [s for s in (*self._waiting, *self._running) if s.ticket.done]:
            if self._dropped(speaking):
                self._outcomes.cancelled += speaking.ticket.cancelled
                (self._waiting if speaking in self._waiting else self._running).remove(speaking)
                self._changed.notify_all()

    def _dropped(self, speaking: Speaking) -> bool:
        decode = self._decode
        for run in list(speaking.runs):
            if run.claims or run in decode.rows.values():
                continue
            for queue in (decode.waiting, decode.ready):
                if run in queue:
                    queue.remove(run)
            run.close()
            speaking.runs.remove(run)
        return not speaking.runs

    def _fail(self, ticket: Ticket, error: TtsTrtError) -> None:
        if ticket.fail(error):
            if isinstance(error, DeadlineExceeded):
                self._outcomes.expired += 1
            else:
                self._outcomes.failed += 1

    def _fail_all(self, error: TtsTrtError) -> None:
        for speaking in (*self._waiting, *self._running):
            self._fail(speaking.ticket, error)

    def _until_next_deadline(self) -> float | None:
        times = [s.ticket.expires for s in (*self._waiting, *self._running) if s.ticket.expires is not None]
        return max(0.0, min(times) - time.monotonic()) + 0.001 if times else None
