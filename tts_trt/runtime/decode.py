"""The decode loop: text and conditioning in, codes and latents out.

Legend: B rows, L text ids, N conditioning rows, S embedding rows, M codes of one row, D width, V codes in the vocabulary.

    with decoder.batch(rows) as batch:          prompt, prefill
        for _ in batch.steps(cancel):           draw, append, stop, step
            ...                                 batch.codes(b) grows
        batch.latents()                         one (M,D) per row

Rows are right-padded to the longest. One that has stopped runs on harmlessly until all have: nothing it does reaches
another row. The latent of code j is the state that predicted it: its own decode-time state in one-pass models, and in
exact models that of a second pass over the finished codes, which starts from the prompt's part of the cache.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.errors import EngineError, SynthesisError, TextError, TtsTrtError, UsageError
from tts_trt.runtime.engine import Array, Engine, Engines
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.repetition import RepetitionGuard
from tts_trt.runtime.sampling import SamplingParams, code_noise
from tts_trt.spec import Limits

Finish = Literal["stop", "length", "repetition"]
Ids = NDArray[np.int64]

REFERENCE_HISTORY = 1
"""Exact models: the reference's repetition penalty takes the prompt for a row of this code."""


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
    latents_MD: NDArray[np.float32]
    finish: Finish


class Decoder:
    """Serves batches from a small pool of caches. Threads may decode at once, each its own batch."""

    def __init__(self, engines: Engines, dims: ModelDims, limits: Limits) -> None:
        self.engines, self.dims, self.limits = engines, dims, limits
        self._pool: list[KvCache] = []
        self._lock = threading.Lock()

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
        with self.cache(len(rows)) as cache:
            yield DecodeBatch(self, cache, checked)

    @contextmanager
    def cache(self, rows: int) -> Iterator[KvCache]:
        """An empty cache. After a failed run it is thrown away: it may hold values that are not numbers."""
        with self._lock:
            found = next((c for c in self._pool if c.rows == rows), None)
            if found:
                self._pool.remove(found)
        cache = found or KvCache(self.engines["gpt"], rows)
        cache.reset()
        failed = False
        try:
            yield cache
        except (EngineError, SynthesisError):
            failed = True
            raise
        finally:
            if not failed:
                self._give_back(cache)

    def _give_back(self, cache: KvCache) -> None:
        with self._lock:
            self._pool.append(cache)
            while len(self._pool) > 1 and sum(c.rows for c in self._pool) > self.limits.batch:
                self._pool.pop(0)


class DecodeBatch:
    """The state of one batch; ``finish[b]`` is None while row b runs."""

    def __init__(self, decoder: Decoder, cache: KvCache, rows: Sequence[DecodeRow]) -> None:
        self.rows = list(rows)
        self.finish: list[Finish | None] = [None] * len(rows)
        self._decoder, self._cache = decoder, cache
        self._exact = decoder.dims.latents == "exact"
        self._codes: list[list[int]] = [[] for _ in rows]
        self._hidden: list[list[NDArray[np.float32]]] = [[] for _ in rows]
        self._guards = [RepetitionGuard.of(decoder.dims) for _ in rows]
        self._sampler = _Sampler(decoder.engines["sampler"], decoder.dims, rows)
        self._prompt_BSD, self._prompt_lengths_B = prompt(decoder.engines["prompt"], rows)
        logits_BV, hidden_BSD = cache.append(self._prompt_BSD, self._prompt_lengths_B)
        self._logits_BV = logits_BV
        self._state_BD = hidden_BSD[np.arange(len(rows)), self._prompt_lengths_B - 1]
        self._first_BD = self._state_BD

    def codes(self, row: int) -> Ids:
        return np.array(self._codes[row], np.int64)

    def drawn(self, row: int) -> int:
        return len(self._codes[row])

    def steps(self, cancel: threading.Event | None = None) -> Iterator[Ids]:
        """Yields after every draw the codes (B), the stop code where a row has none. Ends with all rows finished.

        Raises Cancelled when the event is set, SynthesisError when the scores are not numbers.
        """
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"cancelled after {max(map(len, self._codes))} codes")
            if not np.isfinite(self._logits_BV).all():
                raise SynthesisError(f"the scores of code {len(self._codes[0]) + 1} are not numbers")
            code_B, embedding_B1D = self._sampler.draw(self._logits_BV, self._prompt_lengths_B)
            for b in range(len(self.rows)):
                self._take(b, int(code_B[b]))
            yield code_B
            if all(self.finish):
                return
            ones = np.ones(len(self.rows), np.int64)
            self._logits_BV, hidden_B1D = self._cache.append(embedding_B1D, ones)
            self._state_BD = hidden_B1D[:, 0]

    def _take(self, b: int, code: int) -> None:
        if self.finish[b]:
            return
        if code == self._decoder.dims.gpt.stop_code:
            self.finish[b] = "stop"
            return
        self._codes[b].append(code)
        if not self._exact:
            self._hidden[b].append(self._state_BD[b])
        sampling, drawn = self.rows[b].sampling, len(self._codes[b])
        looping = self._guards[b].add(code)
        if drawn == sampling.max_codes:
            self.finish[b] = "length"
        elif looping and drawn >= sampling.min_codes:
            self.finish[b] = "repetition"
        if self.finish[b]:
            self._sampler.stop(b)

    def latents(self) -> list[NDArray[np.float32]]:
        """(M,D) per row, of the codes so far; exact models must have finished, their cache is reused."""
        if not self._exact:
            return [np.stack(hidden) for hidden in self._hidden]
        self._cache.rewind(self._prompt_lengths_B)
        second = SecondPass(self._decoder, self._cache, self._first_BD)
        return second.extend([self.codes(b) for b in range(len(self.rows))])

    @contextmanager
    def growing_latents(self) -> Iterator[GrowingLatents]:
        """Latents of row 0 while it is being decoded."""
        if not self._exact:
            yield GrowingLatents(self, None)
            return
        with self._decoder.cache(1) as cache:
            cache.append(self._prompt_BSD[:1], self._prompt_lengths_B[:1])
            yield GrowingLatents(self, SecondPass(self._decoder, cache, self._first_BD[:1]))


class GrowingLatents:
    """All latents of row 0 so far; exact models pass only what is new through a cache of its own."""

    def __init__(self, batch: DecodeBatch, second: SecondPass | None) -> None:
        self._batch, self._second = batch, second
        self._rows: list[NDArray[np.float32]] = []

    def now(self) -> NDArray[np.float32]:
        if self._second is None:
            return self._batch.latents()[0]
        self._rows += self._second.extend([self._batch.codes(0)])
        return np.concatenate(self._rows)


class SecondPass:
    """Latents of exact models: codes with contiguous positions, after the prompt that is in the cache."""

    def __init__(self, decoder: Decoder, cache: KvCache, first_BD: NDArray[np.float32]) -> None:
        self._embed = decoder.engines["code_embedding"]
        self._cache = cache
        self._pending: list[list[NDArray[np.float32]]] = [[row] for row in first_BD]
        self._fed_B = np.zeros(len(first_BD), np.int64)

    def extend(self, codes: Sequence[Ids]) -> list[NDArray[np.float32]]:
        """All codes so far of each row -> the latents (new, D) since the last call."""
        wanted_B = np.array([len(c) - 1 for c in codes]) - self._fed_B  # the last code predicts nothing
        if wanted_B.max() > 0:
            embeddings_BMD = self._embed.run({"codes": padded(codes)})["embeddings"]
            chunk = padded(
                [e[fed : fed + n] for e, fed, n in zip(embeddings_BMD, self._fed_B, wanted_B, strict=True)]
            )
            _, hidden_BSD = self._cache.append(chunk, wanted_B)
            self._fed_B = self._fed_B + wanted_B
            for pending, hidden, n in zip(self._pending, hidden_BSD, wanted_B, strict=True):
                pending.extend(hidden[:n])
        made = [np.stack(p) if p else np.zeros((0, self._width()), np.float32) for p in self._pending]
        self._pending = [[] for _ in codes]
        return made

    def _width(self) -> int:
        return int(self._embed.spec.output("embeddings").shape[2])


class _Sampler:
    """The ``sampler`` graph and its state from draw to draw."""

    def __init__(self, engine: Engine, dims: ModelDims, rows: Sequence[DecodeRow]) -> None:
        self._engine, self._rows, self._codes = engine, rows, dims.gpt.codes
        params = [row.sampling for row in rows]

        def column(values: list[float], dtype: type) -> Array:
            return np.array(values, dtype)

        self._scalars = {
            "temperature": column([0.0 if p.greedy else p.temperature for p in params], np.float32),
            "top_k": column([p.top_k for p in params], np.int64),
            "top_p": column([p.top_p for p in params], np.float32),
            "penalty": column([p.repetition_penalty for p in params], np.float32),
            "min_codes": column([p.min_codes for p in params], np.int64),
            "max_codes": column([p.max_codes or 0 for p in params], np.int64),
        }
        self._seen_BV = np.zeros((len(rows), dims.gpt.codes), bool)
        if dims.latents == "exact":
            self._seen_BV[:, [REFERENCE_HISTORY, dims.gpt.start_code]] = True
        self._step_B = np.zeros(len(rows), np.int64)
        self._done_B = np.zeros(len(rows), bool)

    def draw(self, logits_BV: Array, prompt_lengths_B: Ids) -> tuple[Ids, Array]:
        """-> codes (B), their embeddings (B,1,D)."""
        out = self._engine.run(
            {
                "logits": logits_BV,
                "seen": self._seen_BV,
                "noise": self._noise(),
                "prompt_lengths": prompt_lengths_B,
                "step": self._step_B,
                "done": self._done_B,
                **self._scalars,
            }
        )
        self._seen_BV, self._step_B, self._done_B = out["seen_out"], out["step_out"], out["done_out"].copy()
        return out["code"], out["next_embedding"]

    def stop(self, row: int) -> None:
        self._done_B[row] = True

    def _noise(self) -> NDArray[np.float32]:
        noise = np.full((len(self._rows), self._codes), 0.5, np.float32)
        for b, row in enumerate(self._rows):
            if not (self._done_B[b] or row.sampling.greedy):
                noise[b] = code_noise(row.sampling.seed, row.segment, int(self._step_B[b]), self._codes)
        return noise


def prompt(engine: Engine, rows: Sequence[DecodeRow]) -> tuple[Array, Ids]:
    """-> embeddings (B,S,D) right-padded, real lengths (B)."""
    out = engine.run(
        {
            "conditioning": np.stack([row.conditioning_ND for row in rows]),
            "text": padded([row.text_L for row in rows]),
            "text_lengths": np.array([len(row.text_L) for row in rows], np.int64),
            "rate": np.array([row.rate for row in rows], np.float32),
        }
    )
    return out["embeddings"], out["lengths"]


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
