"""The decode loop: text and conditioning in, codes and latents out.

Legend: B rows, L text ids, N conditioning rows, S embedding rows, M codes of one row, D width, V codes in the vocabulary.

    with decoder.batch(rows) as batch:          prompt, prefill
        for _ in batch.steps(cancel):           transformer step, draw, stop
            ...                                 batch.codes(b) grows
        batch.latents()                         one (M,D) per row

Rows are right-padded to the longest. One that has stopped runs on harmlessly until all have: nothing it does reaches
another row. The latent of code j is the state that predicted it: its own decode-time state in one-pass models, and in
exact models that of a second pass over the finished codes, which starts from the prompt's part of the cache.

On a GPU the host runs ``LAG`` steps ahead of what it has read: codes come back while the device is drawing further ones,
and what was drawn beyond a row's end is dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.errors import EngineError, SynthesisError, TextError, TtsTrtError, UsageError
from tts_trt.runtime.device import Array, Device, Reading, Tensor
from tts_trt.runtime.engine import Engine, Engines
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.repetition import RepetitionGuard
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.slots import Slots
from tts_trt.spec import Limits

Finish = Literal["stop", "length", "repetition"]
Ids = NDArray[np.int64]

LAG = 4
"""Steps queued on a GPU beyond the one whose codes are being waited for: enough to hide a read-back, few to throw away."""


class Cancelled(TtsTrtError):
    """The caller set the cancel event."""


@dataclass(frozen=True)
class DecodeRow:
    conditioning_ND: NDArray[np.float32]
    text_L: Ids
    rate: float
    sampling: SamplingParams
    segment: int = 0  # keys the noise, with the seed


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
        checked = [_within(row, self.dims, self.limits) for row in rows]
        if not 1 <= len(rows) <= self.limits.batch:
            raise UsageError(f"{len(rows)} rows, expected 1 to {self.limits.batch}")
        with self.slots(len(rows)) as slots:
            yield DecodeBatch(self, slots, checked)

    @contextmanager
    def slots(self, rows: int) -> Iterator[Slots]:
        """With an empty cache. After a failed run they are thrown away: they may hold values that are not numbers."""
        with self._lock:
            found = next((s for s in self._pool if s.rows == rows), None)
            if found:
                self._pool.remove(found)
        slots = found or Slots(self.engines, self.dims, self.limits, rows)
        slots.cache.reset()
        failed = False
        try:
            yield slots
        except (EngineError, SynthesisError):
            failed = True
            raise
        finally:
            if not failed:
                self._give_back(slots)

    def _give_back(self, slots: Slots) -> None:
        with self._lock:
            self._pool.append(slots)
            while len(self._pool) > 1 and sum(s.rows for s in self._pool) > self.limits.batch:
                self._pool.pop(0)


class DecodeBatch:
    """The state of one batch; ``finish[b]`` is None while row b runs."""

    def __init__(self, decoder: Decoder, slots: Slots, rows: Sequence[DecodeRow]) -> None:
        self.rows = list(rows)
        self.finish: list[Finish | None] = [None] * len(rows)
        self._decoder, self._slots, self._device = decoder, slots, decoder.device
        self._exact = decoder.dims.latents == "exact"
        self._codes: list[list[int]] = [[] for _ in rows]
        self._guards = [RepetitionGuard.of(decoder.dims) for _ in rows]
        prompt_BSD, self._prompt_lengths_B = prompt(decoder.engines["prompt"], rows)
        slots.start([row.sampling for row in rows], [row.segment for row in rows], self._prompt_lengths_B)
        logits_BV, hidden_BSD = slots.cache.append(prompt_BSD, self._prompt_lengths_B)
        self._device.copy(slots.logits_BV, logits_BV)
        for b, length in enumerate(self._prompt_lengths_B):
            self._device.copy(slots.hidden_B1D[b, 0], hidden_BSD[b, int(length) - 1])
        if self._exact:  # what the second pass starts from
            self._prompt_BSD, self._first_BD = prompt_BSD, self._device.cloned(slots.hidden_B1D[:, 0])

    def codes(self, row: int) -> Ids:
        return np.array(self._codes[row], np.int64)

    def drawn(self, row: int) -> int:
        return len(self._codes[row])

    def steps(self, cancel: threading.Event | None = None) -> Iterator[Ids]:
        """Yields after every draw the codes (B), the stop code where a row has none. Ends with all rows finished.

        Raises Cancelled when the event is set, SynthesisError when the scores are not numbers.
        """
        most = max(row.sampling.max_codes or 0 for row in self.rows)
        ahead = 0 if self._device.host else LAG
        on_their_way: deque[tuple[Reading, Reading]] = deque()
        queued = 0
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"cancelled after {max(map(len, self._codes))} codes")
            while queued < most and len(on_their_way) <= ahead:
                on_their_way.append(self._slots.draw(queued, [f is not None for f in self.finish]))
                queued += 1
            codes, scores = on_their_way.popleft()
            code_B = codes.value()
            if not np.isfinite(scores.value()).all():
                raise SynthesisError(f"the scores of code {len(self._codes[0]) + 1} are not numbers")
            over_B = np.array([f is not None for f in self.finish])
            code_B = np.where(over_B, self._decoder.dims.gpt.stop_code, code_B)
            for b in np.flatnonzero(~over_B):
                self._take(int(b), int(code_B[b]))
            yield code_B
            if all(self.finish):
                return

    def _take(self, b: int, code: int) -> None:
        if code == self._decoder.dims.gpt.stop_code:
            self.finish[b] = "stop"
            return
        self._codes[b].append(code)
        sampling, drawn = self.rows[b].sampling, len(self._codes[b])
        looping = self._guards[b].add(code)
        if drawn == sampling.max_codes:
            self.finish[b] = "length"
        elif looping and drawn >= sampling.min_codes:
            self.finish[b] = "repetition"

    def latents(self) -> list[Tensor]:
        """(M,D) float32 per row, of the codes so far; exact models must have finished, their cache is reused."""
        states_MBD = self._slots.states_MBD
        if states_MBD is not None:
            return [self._device.cloned(states_MBD[: len(c), b]) for b, c in enumerate(self._codes)]
        self._slots.cache.rewind(self._prompt_lengths_B)
        second = SecondPass(self._decoder, self._slots.cache, self._first_BD)
        return second.extend([self.codes(b) for b in range(len(self.rows))])

    @contextmanager
    def growing_latents(self) -> Iterator[GrowingLatents]:
        """Latents of row 0 while it is being decoded."""
        if not self._exact:
            yield GrowingLatents(self, None)
            return
        with self._decoder.slots(1) as slots:
            slots.cache.append(self._device.cloned(self._prompt_BSD[:1]), self._prompt_lengths_B[:1])
            yield GrowingLatents(self, SecondPass(self._decoder, slots.cache, self._first_BD[:1]))


class GrowingLatents:
    """All latents of row 0 so far; exact models pass only what is new through a cache of its own."""

    def __init__(self, batch: DecodeBatch, second: SecondPass | None) -> None:
        self._batch, self._second = batch, second
        self._parts: list[NDArray[np.float32]] = []

    def now(self) -> NDArray[np.float32]:
        if self._second is None:
            return self._batch.latents()[0].numpy()
        self._parts += [part.numpy() for part in self._second.extend([self._batch.codes(0)])]
        return np.concatenate(self._parts)


class SecondPass:
    """Latents of exact models: codes with contiguous positions, after the prompt that is in the cache."""

    def __init__(self, decoder: Decoder, cache: KvCache, first_BD: Tensor) -> None:
        self._embed = decoder.engines["code_embedding"]
        self._cache, self._device = cache, decoder.device
        self._pending: list[Tensor | None] = [first_BD[b] for b in range(len(first_BD))]
        self._fed_B = np.zeros(len(first_BD), np.int64)

    def extend(self, codes: Sequence[Ids]) -> list[Tensor]:
        """All codes so far of each row -> the latents (new, D) since the last call."""
        wanted_B = np.array([len(c) - 1 for c in codes]) - self._fed_B  # the last code predicts nothing
        hidden_BSD = self._hidden(codes, wanted_B) if wanted_B.max() > 0 else None
        made = []
        for b, (pending, wanted) in enumerate(zip(self._pending, wanted_B.tolist(), strict=True)):
            first = int(pending is not None)
            rows = self._device.empty((first + wanted, self._width()), np.float32)
            if pending is not None:
                self._device.copy(rows[0], pending)
            if hidden_BSD is not None and wanted:
                self._device.copy(rows[first:], hidden_BSD[b, :wanted])
            made.append(rows)
        self._pending = [None] * len(codes)
        self._fed_B = self._fed_B + wanted_B
        return made

    def _hidden(self, codes: Sequence[Ids], wanted_B: Ids) -> Tensor:
        embeddings_BMD = self._embed.launch({"codes": padded(codes)})["embeddings"]
        batch, _, width = embeddings_BMD.shape
        chunk = self._device.zeros((batch, int(wanted_B.max()), width), embeddings_BMD.dtype)
        for b, (fed, wanted) in enumerate(zip(self._fed_B.tolist(), wanted_B.tolist(), strict=True)):
            self._device.copy(chunk[b, :wanted], embeddings_BMD[b, fed : fed + wanted])
        return self._cache.append(chunk, wanted_B)[1]

    def _width(self) -> int:
        return int(self._embed.spec.output("embeddings").shape[2])


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


def padded(rows: Sequence[Array], least: int = 0) -> Array:
    """Rows of different length as one array, zeros after each row's end; at least ``least`` long."""
    longest = max(least, *(len(row) for row in rows))
    made = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype)
    for into, row in zip(made, rows, strict=True):
        into[: len(row)] = row
    return made


def _within(row: DecodeRow, dims: ModelDims, limits: Limits) -> DecodeRow:
    """The row with its limit of codes filled in."""
    if not 1 <= len(row.text_L) <= limits.text_of(dims):
        raise TextError(
            f"a segment of {len(row.text_L)} text ids, expected 1 to {limits.text_of(dims)}",
            hint="let the text be split into shorter segments",
        )
    most, asked = limits.codes_of(dims), row.sampling
    if max(asked.min_codes, asked.max_codes or 0) > most:
        raise UsageError(
            f"{max(asked.min_codes, asked.max_codes or 0)} codes are asked for, this bundle makes at most {most} "
            f"({most / dims.codes_per_second:.1f} s) a segment",
            hint="split the text, or build the bundle with more codes",
        )
    return replace(row, sampling=replace(asked, max_codes=asked.max_codes or most))
