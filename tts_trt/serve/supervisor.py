"""Keeps a worker alive and routes its answers.

    event loop   speak() -> Job ... its chunks; watchdog: a worker that is silent or stuck is killed
    keeper       one thread: launch, listen until the worker is gone, fail its jobs, wait, launch again

A worker that is gone is noticed at once, by its pipe. The wait before the next launch doubles from 0.1 to 30 s as long as
workers die without having finished one request.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import multiprocessing
import pickle
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from multiprocessing import connection
from typing import Any, Final

from tts_trt.errors import EngineError, TtsTrtError, UsageError
from tts_trt.serve.errors import PARAMS, ApiError
from tts_trt.serve.messages import (
    Beat,
    Cancel,
    Chunk,
    Close,
    Done,
    Failed,
    Fatal,
    Model,
    Order,
    Ready,
    Report,
    Speak,
    Spoken,
)
from tts_trt.serve.settings import ServerSettings
from tts_trt.serve.worker import Opener, Plan, main, open_bundles

LOG = logging.getLogger("tts_trt.serve")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
CLOSE_SECONDS = 10.0


class Job:
    """One request at the worker. For the event loop only."""

    def __init__(self, number: int, send: Callable[[Order], None]) -> None:
        self.number, self._send = number, send
        self._reports: asyncio.Queue[Chunk | Done | ApiError] = asyncio.Queue()
        self.over = False

    def put(self, report: Chunk | Done | ApiError) -> None:
        if not self.over:
            self.over = not isinstance(report, Chunk)
            self._reports.put_nowait(report)

    def cancel(self) -> None:
        """Nothing more is wanted; whoever waits for a report gets an error."""
        if not self.over:
            self._send(Cancel(self.number))
            self.put(ApiError(503, "the request was cancelled", code="cancelled"))

    async def reports(self) -> AsyncIterator[Chunk | Done]:
        """Chunks, then Done. ApiError for a request that failed."""
        while True:
            report = await self._reports.get()
            if isinstance(report, ApiError):
                raise report
            yield report
            if isinstance(report, Done):
                return


class _Process:
    """One worker and both ends of talking to it."""

    def __init__(self, plan: Plan, opener: Opener) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=main, args=(theirs, plan, opener), name="tts-trt-worker", daemon=True
        )
        self.process.start()
        theirs.close()  # or its death would not end our end
        self.heard = time.monotonic()
        self.useful = False
        self._outbox: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="tts-trt-worker-orders", daemon=True).start()
        atexit.register(self.kill)

    def send(self, order: Order | None) -> None:
        """Never blocks; an order to a dead worker is dropped."""
        self._outbox.put(order)

    def receive(self, seconds: float) -> Report | None:
        """The next report, None when there was none in time. EOFError when the worker is gone."""
        ready = connection.wait([self.pipe, self.process.sentinel], seconds)
        if not ready:
            return None
        if self.pipe not in ready and not self.pipe.poll():
            raise EOFError
        report: Report = self.pipe.recv()
        self.heard = time.monotonic()
        return report

    def kill(self) -> None:
        with suppress(ValueError):
            self.process.kill()

    def reap(self) -> int | None:
        """Exit code of a worker that is gone or goes now."""
        self.send(None)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        self.pipe.close()
        atexit.unregister(self.kill)
        return code

    def _write(self) -> None:
        while (order := self._outbox.get()) is not None:
            with suppress(OSError, ValueError):
                self.pipe.send(order)


class Supervisor:
    def __init__(self, plan: Plan, settings: ServerSettings, opener: Opener = open_bundles) -> None:
        self._plan, self._settings, self._opener = plan, settings, opener
        self._most: Final = len(plan.bundles) * (plan.scheduler.cache_slots + plan.scheduler.queue)
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._waiting = 0
        self._process: _Process | None = None
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._progress: tuple[Any, float] = (None, time.monotonic())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: asyncio.Event = asyncio.Event()
        self.models: tuple[Model, ...] = ()
        self.stats: Mapping[str, Mapping[str, float]] = {}
        self.restarts = 0

    @property
    def ready(self) -> bool:
        return self._ready.is_set() and not self._closing.is_set()

    @property
    def pid(self) -> int | None:
        return self._process.process.pid if self._process else None

    @property
    def jobs(self) -> int:
        return len(self._jobs)

    def start(self) -> None:
        """Launch the first worker and wait for it. TtsTrtError says why it cannot start."""
        self._process = self._launch()

    def attach(self) -> None:
        """From now on in the running event loop."""
        if self._process is None:
            raise RuntimeError("the supervisor was not started")
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        self._keeper = threading.Thread(
            target=self._keep, args=(self._process,), name="tts-trt-keeper", daemon=True
        )
        self._keeper.start()
        self._watchdog = self._loop.create_task(self._watch())

    async def speak(self, spoken: Spoken) -> Job:
        """ApiError 503 when too much waits, or no worker is there in time."""
        if self._closing.is_set():
            raise ApiError(503, "the server is shutting down", code="shutting_down", retry_after=5)
        if len(self._jobs) + self._waiting >= self._most:
            raise overloaded(None)
        if not self._ready.is_set():
            self._waiting += 1
            try:
                await asyncio.wait_for(self._ready.wait(), self._settings.restart_wait_seconds)
            except TimeoutError:
                raise ApiError(
                    503, "the speech worker is being restarted", code="worker_restarting", retry_after=5
                ) from None
            finally:
                self._waiting -= 1
        assert self._process is not None
        job = Job(next(self._numbers), self._process.send)
        self._jobs[job.number] = job
        self._process.send(Speak(job.number, spoken))
        return job

    def forget(self, job: Job) -> None:
        """Every job is forgotten once, however it ended; what still runs of it is cancelled."""
        job.cancel()
        self._jobs.pop(job.number, None)

    async def close(self) -> None:
        """Let the worker finish and end; then make it."""
        self._closing.set()
        if self._watchdog:
            self._watchdog.cancel()
        if self._process:
            self._process.send(Close())
        if self._keeper:
            await asyncio.to_thread(self._keeper.join, CLOSE_SECONDS)
        self.kill()

    def kill(self) -> None:
        self._closing.set()
        if self._process:
            self._process.kill()

    # in the keeper's thread

    def _launch(self) -> _Process:
        process = _Process(self._plan, self._opener)
        try:
            first = process.receive(self._settings.start_seconds)
        except (EOFError, OSError):
            code = process.reap()
            raise EngineError(f"the speech worker ended with {code} while it was loading") from None
        if isinstance(first, Ready):
            self.models = first.models
            return process
        process.reap()
        if isinstance(first, Fatal):
            raise UsageError(first.message) if first.usage else TtsTrtError(first.message)
        raise EngineError(f"the speech worker was not ready after {self._settings.start_seconds:g} s")

    def _keep(self, process: _Process) -> None:
        pause = FIRST_PAUSE
        while True:
            self._listen(process)
            code = process.reap()
            self._post(self._down)
            if process.useful:
                pause = FIRST_PAUSE
            while True:
                if self._closing.is_set():
                    return
                LOG.error("the speech worker ended with %s; a new one starts in %.1f s", code, pause)
                if self._closing.wait(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
                try:
                    process = self._launch()
                    break
                except TtsTrtError as error:
                    code = None
                    LOG.error("no new speech worker: %s", error)
            self._post(self._up, process)

    def _listen(self, process: _Process) -> None:
        """Until it is gone."""
        while True:
            try:
                report = process.receive(1.0)
            except (EOFError, OSError, pickle.UnpicklingError):
                return
            if report is not None:
                process.useful = process.useful or isinstance(report, Done)
                self._post(self._take, report)

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it everyone who waited
            if self._loop:
                self._loop.call_soon_threadsafe(call, *arguments)

    # in the event loop

    def _up(self, process: _Process) -> None:
        self._process, self._progress = process, (None, time.monotonic())
        if self._closing.is_set():
            process.kill()
        self._ready.set()

    def _down(self) -> None:
        self._ready.clear()
        self.stats = {}
        if not self._closing.is_set():
            self.restarts += 1
        for job in self._jobs.values():
            job.put(
                ApiError(503, "the speech worker died in the middle of it", code="worker_died", retry_after=1)
            )

    def _take(self, report: Report) -> None:
        if isinstance(report, Beat):
            self.stats = report.stats
        elif isinstance(report, Chunk | Done | Failed):
            job = self._jobs.get(report.number)
            if job is not None:
                job.put(_answer(report) if isinstance(report, Failed) else report)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if not self._ready.is_set() or self._process is None:
                continue
            now, counters = time.monotonic(), (self.stats, frozenset(self._jobs))
            if counters != self._progress[0] or not self._jobs:
                self._progress = (counters, now)
            if now - self._process.heard > self._settings.silence_seconds:
                LOG.error("the speech worker has been silent for %g s", self._settings.silence_seconds)
                self._process.kill()
            elif now - self._progress[1] > self._settings.stall_seconds:
                LOG.error("the speech worker got nowhere for %g s", self._settings.stall_seconds)
                self._process.kill()


def overloaded(retry_after: float | None) -> ApiError:
    return ApiError(503, "too many requests are waiting", code="overloaded", retry_after=retry_after or 1)


def _answer(failed: Failed) -> ApiError:
    if failed.kind == "usage":
        return ApiError(400, failed.message, param=PARAMS.get(failed.field or ""))
    if failed.kind == "busy":
        return overloaded(failed.retry_after)
    if failed.kind == "deadline":
        return ApiError(503, failed.message, code="deadline_exceeded", retry_after=failed.retry_after or 5)
    if failed.kind == "cancelled":
        return ApiError(503, failed.message, code="cancelled", retry_after=1)
    return ApiError(503, failed.message, code="synthesis_failed", retry_after=1)
