"""What tests of the scheduler share: requests, engines that wait to be let on, what a request gets alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.model.tiny import TINY
from tts_trt.runtime.engine import Arrays, Engines
from tts_trt.runtime.request import Request, Result
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.scheduler import Scheduler, SchedulerSettings, StreamOptions
from tts_trt.runtime.synthesizer import Synthesizer

CHUNKS = StreamOptions(first_codes=5, chunk_codes=7)
TEXTS = ("See me.", "No bad cat to see, no!", "See me. No cat. Bad, bad!", "To me?")
PATIENT = 60.0  # seconds: more than a busy machine needs
ONE_WORKER = SchedulerSettings(workers=1)
BATCHED = SchedulerSettings(workers=1, acoustic_rows=4)
"""As on a GPU."""


def sampling(seed: int, **changes: object) -> SamplingParams:
    return SamplingParams.of(TINY, seed=seed, temperature=1.0, repetition_penalty=1.2, **changes)


def asked(recording: np.ndarray, count: int = 8, **changes: object) -> list[Request]:
    """Of one segment and of several, short and long."""
    return [
        Request(TEXTS[i % len(TEXTS)], recording, sampling=sampling(i, **changes), segment_ids=8)
        for i in range(count)
    ]


class Gate:
    """Holds every run of one fake engine until it is opened; ``reached`` is set when one waits there."""

    def __init__(self, engines: Engines, name: str, after: int = 0) -> None:
        engine, self.reached, self._open = engines[name], threading.Event(), threading.Event()
        whole, runs = engine.compute, itertools.count()  # type: ignore[attr-defined]

        def compute(x: Arrays) -> dict[str, np.ndarray]:
            if next(runs) >= after:
                self.reached.set()
                assert self._open.wait(PATIENT)
            return whole(x)

        engine.compute = compute  # type: ignore[attr-defined]

    def open(self) -> None:
        self._open.set()


@contextmanager
def opened(gate: Gate) -> Iterator[None]:
    try:
        yield
    finally:
        gate.open()


_BY_ITSELF: dict[tuple[int, int, bool], tuple[Result, list[np.ndarray]]] = {}


def by_itself(tts: Synthesizer, one: Request) -> tuple[Result, list[np.ndarray]]:
    """Whole and in chunks, by the synthesizer."""
    assert one.sampling is not None
    key = (id(tts), one.sampling.seed, one.sampling.greedy)
    if key not in _BY_ITSELF:
        chunks = list(tts.stream(one, CHUNKS.first_codes, CHUNKS.chunk_codes))
        _BY_ITSELF[key] = tts.synthesize(one), chunks
    return _BY_ITSELF[key]


def idle(scheduler: Scheduler) -> bool:
    """Soon: what is being worked on at this moment still ends."""
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        stats = scheduler.stats()
        if (stats.waiting, stats.running, stats.cache_slots_used) == (0, 0, 0):
            return True
        time.sleep(0.005)
    return False
