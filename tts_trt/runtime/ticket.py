"""What a caller holds of a request that is on its way: its audio as it comes, its result, the means to stop it.

    submit -> [ waiting ] -> [ running ] -> finished | failed | cancelled | out of time
                                  +-> chunks, each final when it appears

The scheduler writes, any number of threads read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import TtsTrtError, UsageError
from tts_trt.runtime.decode import Cancelled
from tts_trt.runtime.request import Request, Result

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class StreamOptions:
    """How a request is cut into chunks; see ``stream.py``."""

    first_codes: int = 20  # drawn before the first chunk of a segment
    chunk_codes: int = 40  # more before each further one
    first_steps: int | None = None  # Euler steps of a request's first chunk; None: as the others

    def __post_init__(self) -> None:
        if self.first_codes < 1 or self.chunk_codes < 1:
            raise UsageError(
                f"chunks of {self.first_codes} and {self.chunk_codes} codes, expected at least 1"
            )
        if self.first_steps is not None and not 1 <= self.first_steps <= 200:
            raise UsageError(f"first_steps is {self.first_steps}, expected 1 to 200")


class Ticket:
    def __init__(self, request: Request, stream: StreamOptions | None, deadline: float | None) -> None:
        """``deadline``: seconds from now."""
        self.request, self.stream = request, stream
        self.submitted = time.monotonic()
        self.expires = None if deadline is None else self.submitted + deadline
        self.queued_seconds: float | None = None
        """Until the request's first work began; None before that."""
        self.first_audio_seconds: float | None = None
        """From submission until the first samples were there; None before that."""
        self._changed = threading.Condition()
        self._chunks: list[FloatArray] = []
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._cancelled = False

    @property
    def done(self) -> bool:
        """Finished, failed, cancelled or out of time."""
        return self._result is not None or self._error is not None

    @property
    def cancelled(self) -> bool:
        """Somebody asked for it; the work ends at its next step."""
        return self._cancelled

    def cancel(self) -> None:
        """Stop the work; readers get Cancelled. Without effect on what is done."""
        self._cancelled = True
        self.fail(Cancelled("cancelled by the caller"))

    def chunks(self) -> Iterator[FloatArray]:
        """Samples (S) float32 as they become final, from the first; a request that is not streamed yields its whole wave
        once. Ends with the request and raises its error."""
        given = 0
        while (chunk_S := self._chunk(given)) is not None:
            given += 1
            yield chunk_S
        if self._error is not None:
            raise self._error

    def result(self, timeout: float | None = None) -> Result:
        """The whole, waited for; of a stream its chunks joined. TimeoutError after ``timeout`` seconds, else the
        request's own error."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.done, timeout):
                raise TimeoutError(f"no result within {timeout} s")
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    # what follows is the scheduler's

    def began(self) -> None:
        if self.queued_seconds is None:
            self.queued_seconds = time.monotonic() - self.submitted

    def emit(self, chunk_S: FloatArray) -> None:
        with self._changed:
            if self.done:
                return
            if self.first_audio_seconds is None:
                self.first_audio_seconds = time.monotonic() - self.submitted
            self._chunks.append(chunk_S)
            self._changed.notify_all()

    def finish(self, result: Result) -> bool:
        """False when it was done already."""
        return self._end(result, None)

    def fail(self, error: BaseException) -> bool:
        """False when it was done already."""
        return self._end(None, error)

    def joined(self) -> FloatArray:
        """All chunks so far."""
        with self._changed:
            return np.concatenate([np.zeros(0, np.float32), *self._chunks])

    def _chunk(self, index: int) -> FloatArray | None:
        with self._changed:
            self._changed.wait_for(lambda: index < len(self._chunks) or self.done)
            return self._chunks[index] if index < len(self._chunks) else None

    def _end(self, result: Result | None, error: BaseException | None) -> bool:
        with self._changed:
            if self.done:
                return False
            self._result, self._error = result, error
            self._changed.notify_all()
            return True


def as_error(error: BaseException) -> TtsTrtError:
    """What a reader gets for an error nobody foresaw."""
    if isinstance(error, TtsTrtError):
        return error
    made = TtsTrtError(f"the request failed: {type(error).__name__}: {error}")
    made.__cause__ = error
    return made
