"""The process that owns the engines: one scheduler per bundle, a thread per request that hands its sound on.

    main thread   reads orders; its pipe ending means that the server is gone, and so is the worker then
    beat          a sign of life and figures, every second
    speak-N       submits one request, sends its chunks

It ends by itself when engines keep failing: a new process is the only cure for a broken device.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.artifacts import sha256_file
from tts_trt.errors import Busy, DeadlineExceeded, EngineError, SynthesisError, TtsTrtError, UsageError
from tts_trt.manifest import MANIFEST
from tts_trt.runtime.decode import Cancelled
from tts_trt.runtime.loading import Bundle
from tts_trt.runtime.request import Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings, StreamOptions, Ticket
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.serve.messages import (
    Beat,
    Cancel,
    Chunk,
    Close,
    Done,
    Failed,
    Fatal,
    Kind,
    Model,
    Ready,
    Recording,
    Report,
    Speak,
    Spoken,
)

LOG = logging.getLogger("tts_trt.serve.worker")

BEAT_SECONDS = 1.0
FAILURES = 3
"""Requests in a row that may fail by the engines' fault before the worker gives up its place."""


@dataclass(frozen=True)
class Plan:
    """What a worker opens; picklable."""

    bundles: tuple[Path, ...]
    public_key: Path | None  # or a folder of them
    threads: int
    device: str
    scheduler: SchedulerSettings


@dataclass(frozen=True)
class Opened:
    model: Model
    tts: Synthesizer


Opener = Callable[[Plan], list[Opened]]
"""A module's function, so that the new process can import it."""


def open_bundles(plan: Plan) -> list[Opened]:
    """Bundles in order, each verified before anything of it is opened."""
    opened = []
    for path in plan.bundles:
        bundle = Bundle.load(path, require_signature=plan.public_key or False)
        tts, manifest = bundle.synthesizer(threads=plan.threads, device=plan.device), bundle.manifest
        model = Model(
            id=path.resolve().name,
            path=path,
            model=manifest.model.name,
            precision=manifest.precision,
            executor=manifest.executor.name,
            weights_sha256=manifest.model.weights_sha256,
            manifest_sha256=sha256_file(path / MANIFEST),
            created=int(manifest.created.timestamp()),
            sample_rate=tts.dims.audio.sample_rate,
            voices=tuple(tts.voices),
        )
        opened.append(Opened(model, tts))
    return opened


def main(pipe: Connection[Report, Any], plan: Plan, opener: Opener) -> None:
    """Entry of the process. Signals meant for the group are the server's to answer: it lets the worker finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        opened = opener(plan)
    except TtsTrtError as error:
        pipe.send(Fatal(str(error), isinstance(error, UsageError)))
        return
    worker = Worker(pipe, opened, plan.scheduler)
    pipe.send(Ready(tuple(one.model for one in opened)))
    worker.serve()


class Worker:
    def __init__(
        self, pipe: Connection[Report, Any], opened: list[Opened], settings: SchedulerSettings
    ) -> None:
        self._pipe, self._sending = pipe, threading.Lock()
        self._tts = {one.model.id: one.tts for one in opened}
        self._schedulers = {name: Scheduler(tts, settings) for name, tts in self._tts.items()}
        self._tickets: dict[int, Ticket | None] = {}  # None: not yet submitted
        self._lock = threading.Lock()
        self._failures = 0
        self._over = threading.Event()

    def serve(self) -> None:
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        while True:
            try:
                order = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(order, Speak):
                self._tickets[order.number] = None
                threading.Thread(
                    target=self._speak, args=(order,), name=f"speak-{order.number}", daemon=True
                ).start()
            elif isinstance(order, Cancel):
                self._cancel(order.number)
            elif isinstance(order, Close):
                self._over.set()
                for scheduler in self._schedulers.values():
                    scheduler.close(drain=True, timeout=5.0)
                sys.stderr.flush()
                os._exit(0)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            self._send(Beat({name: _figures(one.stats()) for name, one in self._schedulers.items()}))

    def _send(self, report: Report) -> None:
        with self._sending, suppress(OSError):  # the server is gone; the main thread sees it
            self._pipe.send(report)

    def _cancel(self, number: int) -> None:
        with self._lock:
            ticket = self._tickets.pop(number, None)
        if ticket is not None:
            ticket.cancel()

    def _speak(self, order: Speak) -> None:
        number, spoken = order.number, order.spoken
        try:
            done = self._spoken(number, spoken)
        except Exception as error:  # noqa: BLE001 - the worker's edge: whatever happened, the request gets an answer
            self._send(_failed(number, error))
            self._count(error)
        else:
            self._failures = 0
            if done is not None:
                self._send(done)
        finally:
            with self._lock:
                self._tickets.pop(number, None)

    def _spoken(self, number: int, spoken: Spoken) -> Done | None:
        """None when it was cancelled before it began."""
        tts = self._tts[spoken.bundle]
        stream = None if spoken.chunks is None else StreamOptions(*spoken.chunks)
        request = request_of(spoken, tts)
        ticket = self._schedulers[spoken.bundle].submit(request, stream=stream, deadline=spoken.deadline)
        with self._lock:
            wanted = number in self._tickets
            self._tickets[number] = ticket
        if not wanted:
            ticket.cancel()
            return None
        for wave_S in ticket.chunks():
            self._send(Chunk(number, sound(wave_S)))
        result = ticket.result()
        ids = sum(len(tts.bundle.tokenizer.encode(segment.text)) for segment in result.segments)
        return Done(number, ids, sum(map(len, result.codes)), ticket.queued_seconds)

    def _count(self, error: Exception) -> None:
        """What the caller got wrong says nothing about the engines, nor does a sound that failed its check."""
        if _foreseen(error) and not isinstance(error, EngineError):
            return
        LOG.error("a request failed by the engines' fault", exc_info=error)
        self._failures += 1
        if self._failures >= FAILURES:
            LOG.error("%d requests in a row failed: this worker gives up its place", self._failures)
            os._exit(1)


def request_of(spoken: Spoken, tts: Synthesizer) -> Request:
    """UsageError for a name that is not one of the bundle's voices."""

    def source(voice: str | Recording) -> Any:
        if isinstance(voice, Recording):
            return voice.content
        if voice not in tts.voices:
            raise UsageError(f"there is no voice {voice!r}, only {', '.join(tts.voices)}")
        return voice

    emotion_audio = None if spoken.emotion_audio is None else source(spoken.emotion_audio)
    if isinstance(emotion_audio, str):
        emotion_audio = tts.voices[emotion_audio]
    return Request(
        text=spoken.text,
        voice=source(spoken.voice),
        emotion=spoken.emotion,
        emotion_audio=emotion_audio,
        alpha=spoken.alpha,
        rate=spoken.rate,
        duration=spoken.duration,
        sampling=SamplingParams.of(tts.dims, seed=spoken.seed),
        steps=spoken.steps,
    )


def sound(wave_S: NDArray[np.float32]) -> NDArray[np.float32]:
    """The chunk itself. SynthesisError unless it is finite samples."""
    if wave_S.ndim != 1 or not np.isfinite(wave_S).all():
        raise SynthesisError("samples are not finite numbers")
    return wave_S


def _failed(number: int, error: Exception) -> Failed:
    kinds: list[tuple[type[Exception], Kind]] = [
        (Busy, "busy"),
        (DeadlineExceeded, "deadline"),
        (Cancelled, "cancelled"),
        (UsageError, "usage"),
        (Exception, "failed"),
    ]
    kind = next(word for kind, word in kinds if isinstance(error, kind))
    words = str(error.args[0]) if _foreseen(error) and error.args else "the engines failed"
    return Failed(number, kind, words, getattr(error, "retry_after", None), getattr(error, "field", None))


def _foreseen(error: Exception) -> bool:
    """The scheduler hands on what nobody foresaw as a plain TtsTrtError; a client learns nothing from its words."""
    return isinstance(error, TtsTrtError) and type(error) is not TtsTrtError


def _figures(stats: Any) -> Mapping[str, float]:
    return {name: value for name, value in asdict(stats).items() if isinstance(value, int | float)}
