"""The decode loop: text and conditioning in, codes and latents out.

Legend: B places, L text ids, N conditioning rows, S embedding rows, M codes of one row, D width, V codes in the vocabulary.

    with decoder.batch(rows) as batch:          prompt, prefill
        for _ in batch.steps(cancel):           transformer step, draw, stop
            ...                                 batch.codes(b) grows
        batch.latents()                         one (M,D) per row

    running = decoder.open(8)                   places without rows
    running.adopt(decoder.begin(row))           a row after its prefill and first draw, between two steps of the others
    running.tick()                              one step of all; a row that has finished is released

Rows are right-padded to the longest. One that has stopped runs on harmlessly until its place is given away: nothing it does
reaches another row. The latent of code j is the state that predicted it: its own decode-time state in one-pass models, and
in exact models that of a second pass over the finished codes, which starts from the prompt's part of the cache.

On a GPU the host runs ``LAG`` steps ahead of what it has read: codes come back while the device is drawing further ones,
and what was drawn beyond a row's end is dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from tts_trt.dims import ModelDims
from tts_trt.errors import EngineError, SynthesisError, TtsTrtError, UsageError
from tts_trt.runtime.device import Device, Reading, Tensor
from tts_trt.runtime.engine import Engine, Engines
from tts_trt.runtime.latents import RowLatents, SecondPass
from tts_trt.runtime.rows import DecodeRow, Finish, Ids, RowState, padded, within
from tts_trt.runtime.slots import LAG, Slots
from tts_trt.spec import Limits

__all__ = ["LAG", "Cancelled", "DecodeBatch", "DecodeRow", "Decoded", "Decoder", "Finish"]


class Cancelled(TtsTrtError):
    """The caller set the cancel event."""


@dataclass(frozen=True)
class Decoded:
    codes_M: Ids  # without the stop code
    latents_MD: Tensor
    finish: Finish


class Decoder:
    """Serves batches from a small pool of slots. Threads may decode at once, each its own batch."""

    def __init__(self, engines: Engines, dims: ModelDims, limits: Limits) -> None:
        self.engines, self.dims, self.limits = engines, dims, limits
        self._pool: list[Slots] = []
        self._lock = threading.Lock()

    @property
    def device(self) -> Device:
        return self.engines["gpt"].device

    def run(self, rows: Sequence[DecodeRow], cancel: threading.Event | None = None) -> list[Decoded]:
        """All rows to their end. Raises Cancelled when the event is set."""
        with self.batch(rows) as batch:
            for _ in batch.steps(cancel):
                pass
            latents = batch.latents()
            return [Decoded(batch.codes(b), latents[b], batch.finish[b] or "stop") for b in range(len(rows))]

    @contextmanager
    def batch(self, rows: Sequence[DecodeRow]) -> Iterator[DecodeBatch]:
        """Rows after their prefill. UsageError for more than ``limits.batch``, over-long text or codes."""
        checked = [within(row, self.dims, self.limits) for row in rows]
        if not 1 <= len(rows) <= self.limits.batch:
            raise UsageError(f"{len(rows)} rows, expected 1 to {self.limits.batch}")
        with self.slots(len(rows)) as slots:
            batch = DecodeBatch(self, slots)
            batch.prefill(checked)
            yield batch

    def begin(self, row: DecodeRow) -> DecodeBatch:
        """A batch of one row after its prefill, its first draw queued: to be adopted, or closed."""
        checked = within(row, self.dims, self.limits)
        batch = DecodeBatch(self, self.take(1))
        try:
            batch.prefill([checked])
            batch.queue()
        except BaseException:
            batch.close(failed=True)
            raise
        return batch

    def open(self, places: int) -> DecodeBatch:
        """A batch of places without rows; to be closed."""
        slots = self.take(places)
        slots.idle()
        return DecodeBatch(self, slots)

    @contextmanager
    def slots(self, rows: int) -> Iterator[Slots]:
        """From the pool, with an empty cache."""
        slots, failed = self.take(rows), False
        try:
            yield slots
        except (EngineError, SynthesisError):
            failed = True
            raise
        finally:
            self.give_back(slots, failed=failed)

    def take(self, rows: int) -> Slots:
        with self._lock:
            found = next((s for s in self._pool if s.rows == rows), None)
            if found:
                self._pool.remove(found)
        slots = found or Slots(self.engines, self.dims, self.limits, rows)
        slots.cache.reset()
        return slots

    def give_back(self, slots: Slots, *, failed: bool = False) -> None:
        """After a failed run they are thrown away: they may hold values that are not numbers. On a host, where a step
        over fewer rows costs less, all sizes of a batch are kept."""
        if failed:
            return
        most = self.limits.batch * (2 if self.device.host else 1)
        with self._lock:
            self._pool.append(slots)
            while len(self._pool) > 1 and sum(s.rows for s in self._pool) > most:
                self._pool.pop(0)


class DecodeBatch:
    """Rows in the places of one set of slots; ``rows[b]`` is None where there is none."""

    def __init__(self, decoder: Decoder, slots: Slots) -> None:
        self.rows: list[RowState | None] = [None] * slots.rows
        self._decoder, self._slots, self._device = decoder, slots, decoder.device
        self._on_their_way: deque[tuple[Reading, Reading, list[RowState | None]]] = deque()

    def prefill(self, rows: Sequence[DecodeRow]) -> None:
        """A row for every place."""
        slots = self._slots
        prompt_BSD, lengths_B = prompt(self._decoder.engines["prompt"], rows)
        slots.start([row.sampling for row in rows], [row.segment for row in rows], lengths_B)
        logits_BV, hidden_BSD = slots.cache.append(prompt_BSD, lengths_B)
        self._device.copy(slots.logits_BV, logits_BV)
        for b, (row, length) in enumerate(zip(rows, lengths_B.tolist(), strict=True)):
            state = RowState(row, self._decoder.dims, slots, b, length)
            self._device.copy(slots.hidden_B1D[b, 0], hidden_BSD[b, length - 1])
            if self._decoder.dims.latents == "exact":  # what the second pass starts from
                state.first_D = self._device.cloned(slots.hidden_B1D[b, 0])
            self.rows[b] = state

    @property
    def places(self) -> int:
        return len(self.rows)

    @property
    def finish(self) -> list[Finish | None]:
        return [None if state is None else state.finish for state in self.rows]

    @property
    def live(self) -> list[RowState]:
        """Rows that have not finished."""
        return [state for state in self.rows if state is not None and state.finish is None]

    def codes(self, row: int) -> Ids:
        return self._state(row).codes_M

    def drawn(self, row: int) -> int:
        return len(self._state(row).codes)

    def steps(self, cancel: threading.Event | None = None) -> Iterator[None]:
        """Yields after every draw. Ends with all rows finished.

        Raises Cancelled when the event is set, SynthesisError when the scores are not numbers.
        """
        most = max(state.row.sampling.max_codes or 0 for state in self.live)
        ahead = 0 if self._device.host else LAG
        queued = 0
        while True:
            if cancel is not None and cancel.is_set():
                drawn = max(len(state.codes) for state in self.rows if state is not None)
                raise Cancelled(f"cancelled after {drawn} codes")
            while queued < most and len(self._on_their_way) <= ahead:
                self.queue()
                queued += 1
            for failure in self.collect().values():
                raise failure
            yield
            if not self.live:
                return

    def queue(self) -> None:
        """One more step and draw of every row."""
        if self._device.host:
            self._pack()
        finished = [state is None or state.finish is not None for state in self.rows]
        drawn = self._slots.draw(finished)
        self._on_their_way.append((*drawn, self.rows[: self._slots.width]))

    def _pack(self) -> None:
        """Rows to the front, for a step over no place without one: there it would cost as much as a row. Elsewhere steps are
        recorded over all places."""
        rows = self.rows
        while None in rows and (hole := rows.index(None)) < (last := _last(rows)):
            state = rows[last]
            assert state is not None
            self._slots.take_over(hole, self._slots, last)
            state.place, rows[hole], rows[last] = hole, state, None
        self._slots.width = _last(rows) + 1

    def collect(self) -> dict[RowState, SynthesisError]:
        """The codes of the oldest draw, waited for; the rows whose scores were not numbers are over."""
        codes, scores, rows = self._on_their_way.popleft()
        code_B, finite_B = codes.value(), np.all(np.isfinite(scores.value()), axis=-1)
        failed = {}
        for state, code, finite in zip(rows, code_B.tolist(), list(finite_B), strict=True):
            if state is None or state.finish is not None:
                continue
            try:
                state.take(code, bool(finite))
            except SynthesisError as error:
                failed[state] = error
        return failed

    def tick(self) -> dict[RowState, SynthesisError]:
        """One step; what comes back by then. -> the rows whose scores were not numbers."""
        ahead = 0 if self._device.host else LAG
        failed: dict[RowState, SynthesisError] = {}
        if self.live:
            self.queue()
        while self._on_their_way and (len(self._on_their_way) > ahead or not self.live):
            failed |= self.collect()
        return failed

    def adopt(self, other: DecodeBatch) -> None:
        """Take over all rows of another batch, which is empty and to be closed then. EngineError without room."""
        for state in [state for state in other.rows if state is not None]:
            if None not in self.rows:
                raise EngineError(f"all {len(self.rows)} places are taken")
            place = self.rows.index(None)
            self._slots.take_over(place, other._slots, state.place)
            state.slots, state.place = self._slots, place
            self.rows[place] = state
        self._on_their_way += other._on_their_way
        other._on_their_way.clear()
        other.rows = [None] * len(other.rows)

    def release(self, state: RowState) -> None:
        """The row's place is free."""
        self.rows[self.rows.index(state)] = None

    def close(self, *, failed: bool = False) -> None:
        """Slots back to the pool."""
        self._decoder.give_back(self._slots, failed=failed)

    def latents(self) -> list[Tensor]:
        """(M,D) float32 per row, of the codes so far; exact models must have finished, their cache is reused."""
        states = [self._state(b) for b in range(len(self.rows))]
        if self._decoder.dims.latents == "one-pass":
            return [self._slots.states(b, len(state.codes)) for b, state in enumerate(states)]
        self._slots.cache.rewind(np.array([state.prompt_length for state in states]))
        first = [state.first_D for state in states if state.first_D is not None]
        second = SecondPass(self._decoder.engines["code_embedding"], self._slots.cache, first)
        return second.extend([state.codes_M for state in states])

    @contextmanager
    def growing_latents(self) -> Iterator[RowLatents]:
        """Latents of row 0 while it is being decoded."""
        latents = RowLatents(self._decoder, self._state(0))
        try:
            yield latents
        finally:
            latents.close()

    def _state(self, row: int) -> RowState:
        state = self.rows[row]
        if state is None:
            raise EngineError(f"there is no row in place {row}")
        return state


def _last(rows: Sequence[RowState | None]) -> int:
    """The last place with a row, -1 where there is none."""
    return max((place for place, state in enumerate(rows) if state is not None), default=-1)


def prompt(engine: Engine, rows: Sequence[DecodeRow]) -> tuple[Tensor, Ids]:
    """-> embeddings (B,S,D) right-padded, real lengths (B)."""
    out = engine.launch(
        {
            "conditioning": np.stack([row.conditioning_ND for row in rows]),
            "text": padded([row.text_L for row in rows]),
            "text_lengths": np.array([len(row.text_L) for row in rows], np.int64),
            "rate": np.array([row.rate for row in rows], np.float32),
        }
    )
    return out["embeddings"], out["lengths"].numpy()
