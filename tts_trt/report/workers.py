"""Work that needs no engine, in processes of its own: while one sentence is listened to, the next is being spoken."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Self

from tts_trt.errors import TtsTrtError

Then = Callable[[Any], None]


class WorkerError(TtsTrtError):
    """A process that measures was ended from outside."""


class Workers:
    """``processes`` 0: in this process, at once. Results are handed over in the caller's thread, in any order."""

    def __init__(self, processes: int) -> None:
        self._waiting: dict[Future[Any], Then] = {}
        self._most = 2 * processes
        self._pool = (
            ProcessPoolExecutor(
                processes, multiprocessing.get_context("spawn"), initializer=_leave_interrupts_to_the_parent
            )
            if processes
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, then: Then, job: Callable[..., Any], *arguments: Any) -> None:
        """``then`` gets the job's result, now or in a later call. Waits while too many jobs are under way, so that what was
        said is not far ahead of what was kept. What a job raises is raised here."""
        if self._pool is None:
            then(job(*arguments))
            return
        try:
            self._waiting[self._pool.submit(job, *arguments)] = then
        except BrokenProcessPool as error:
            raise _ended() from error
        self._hand_over(self._most)

    def finish(self) -> None:
        """All results."""
        self._hand_over(0)

    def _hand_over(self, most: int) -> None:
        while True:
            ready = [future for future in self._waiting if future.done()]
            for future in ready:
                then = self._waiting.pop(future)
                try:
                    then(future.result())
                except BrokenProcessPool as error:
                    raise _ended() from error
            if len(self._waiting) <= most:
                return
            wait(self._waiting, return_when=FIRST_COMPLETED)


def _ended() -> WorkerError:
    return WorkerError(
        "a process that measures was ended from outside", hint="the same command goes on from here"
    )


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
