"""What B rows need from step to step, on the device: allocated, bound and recorded once, used by batch after batch.

    hidden, logits  -> sampler ->  code, next embedding, next slot, state
          ^                             |
          +-------- gpt (S = 1) <-------+        + cache, in place

Nothing in a step comes from the host but the noise, which the host knows ahead. Rows share the steps and nothing else: each is
at a step of its own, and may be taken over into other slots between two of them. V codes in the vocabulary, D width.

    states   [ .. s4 s5 | s0 s1 s2 s3 .. ]     a ring of draws, M of them; a row's began where it came in
    places   [ r0 r1 r2 | .. .. .. .. .. ]     a step goes over the first ``width`` of them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.runtime.device import Reading, Tensor
from tts_trt.runtime.engine import Bound, Engines
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.sampling import RowNoise, SamplingParams
from tts_trt.spec import Limits

STATE = ("seen", "step", "done")

REFERENCE_HISTORY = 1
"""Exact models: the reference's repetition penalty takes the prompt for a row of this code."""

LAG = 4
"""Steps queued on a GPU beyond the one whose codes are being waited for: enough to hide a read-back, few to throw away."""


@dataclass(frozen=True)
class _Step:
    """Of so many places."""

    gpt: Bound
    draw: Callable[[], None]
    advance: Callable[[], None]  # the transformer's step, then the draw


class Slots:
    def __init__(self, engines: Engines, dims: ModelDims, limits: Limits, rows: int) -> None:
        gpt, sampler, axes = engines["gpt"], engines["sampler"], {"B": rows, "S": 1}
        self.rows, self._dims, self._device = rows, dims, gpt.device
        self.width = rows
        """Places that a step goes over: on a host each costs time, elsewhere all are recorded once."""
        self._engines, self._steps = (gpt, sampler), dict[int, _Step]()
        self.cache = KvCache(gpt, rows)
        self.logits_BV, self.hidden_B1D = gpt.allocate("logits", axes), gpt.allocate("hidden", axes)
        self._most = limits.codes_of(dims)
        self._states_MBD: Tensor | None = None
        if dims.latents == "one-pass":  # room for what is drawn before the host notices that a row has ended
            shape = (self._most + LAG + 1, rows, dims.gpt.dim)
            self._states_MBD = self._device.empty(shape, np.float32)
        self._tick, self._began, self._drawn = 0, [0] * rows, [0] * rows
        self._in = {t.name: sampler.allocate(t.name, axes) for t in sampler.spec.inputs}
        self._in["logits"] = self.logits_BV
        self._out = {t.name: sampler.allocate(t.name, axes) for t in sampler.spec.outputs}
        self._lengths_B = self._device.upload(np.ones(rows, np.int64))
        self._start_B = gpt.allocate("start", axes)
        self._noise: list[RowNoise | None] = [None] * rows

    def start(
        self, sampling: Sequence[SamplingParams], segments: Sequence[int], prompt_lengths_B: NDArray[np.int64]
    ) -> None:
        """A new batch: the sampler's state and settings."""
        seen_BV = np.zeros(self._in["seen"].shape, bool)
        if self._dims.latents == "exact":
            seen_BV[:, [REFERENCE_HISTORY, self._dims.gpt.start_code]] = True
        settings: dict[str, list[float]] = {
            "temperature": [0.0 if p.greedy else p.temperature for p in sampling],
            "top_k": [p.top_k for p in sampling],
            "top_p": [p.top_p for p in sampling],
            "penalty": [p.repetition_penalty for p in sampling],
            "min_codes": [p.min_codes for p in sampling],
            "max_codes": [p.max_codes or 0 for p in sampling],
            "step": [0] * self.rows,
            "done": [False] * self.rows,
        }
        for name, values in settings.items():
            self._device.write(self._in[name], np.array(values, self._in[name].dtype))
        self._device.write(self._in["seen"], seen_BV)
        self._device.write(self._in["prompt_lengths"], prompt_lengths_B)
        size, ahead = self._dims.gpt.codes, not self._device.host
        self._noise = [
            None if p.greedy else RowNoise(p.seed, segment, size, ahead=ahead)
            for p, segment in zip(sampling, segments, strict=True)
        ]
        self._tick, self._began, self._drawn = 0, [0] * self.rows, [0] * self.rows
        self.width = self.rows

    def idle(self) -> None:
        """No row in any place: each waits for one to be taken over."""
        idle = SamplingParams(greedy=True)
        self.start([idle] * self.rows, [0] * self.rows, np.zeros(self.rows, np.int64))
        self._device.write(self._in["done"], np.ones(self.rows, bool))
        for name in ("next_embedding", "next_pos"):
            self._device.zero(self._out[name])

    def take_over(self, place: int, source: Slots, row: int) -> None:
        """A row of other slots goes on here, in ``place``, from its next step."""
        pairs = [(self._in[t], source._in[t]) for t in self._in if t not in ("logits", "noise")]
        pairs += [(self._out[t], source._out[t]) for t in ("next_embedding", "next_pos")]
        for mine, theirs in pairs:
            self._device.copy(mine[place : place + 1], theirs[row : row + 1])
        drawn = source._drawn[row]
        filled = min(source.cache.slots, int(source.cache.pos_B[row]) + drawn)
        self.cache.copy_row(place, source.cache, row, filled)
        self.cache.pos_B[place] = source.cache.pos_B[row]
        self._noise[place], self._drawn[place] = source._noise[row], drawn
        self._began[place] = self._tick - drawn
        if self._states_MBD is not None:
            self._keep(place, source.states(row, drawn))

    def states(self, row: int, count: int) -> Tensor:
        """(M,D) float32, a copy: the states that predicted a row's first ``count`` codes. One-pass models alone."""
        assert self._states_MBD is not None
        made = self._device.empty((count, self._states_MBD.shape[2]), np.float32)
        for ring, part in self._stretches(row, count):
            self._device.copy(made[part], self._states_MBD[ring, row])
        return made

    def draw(self, finished: Sequence[bool]) -> tuple[Reading, Reading]:
        """Queue the next draw of the first ``width`` places, after the transformer's step over the codes before it. -> the
        codes (B), and scores (B,...) that are numbers only if all of a row's are: those of every code on the host, of the
        first one elsewhere, as one value that is not a number spreads through every later state."""
        width = self.width
        for place, drawn in enumerate(self._drawn[:width]):
            if drawn >= self._most:
                self._rewind(place)
        noise = [
            None if done else noise for noise, done in zip(self._noise[:width], finished[:width], strict=True)
        ]
        if any(noise):
            noise_BV = np.full((width, self._dims.gpt.codes), 0.5, np.float32)
            for place, source in enumerate(noise):
                if source is not None:
                    noise_BV[place] = source.of(self._drawn[place])
            self._device.write(self._in["noise"][:width], noise_BV)
        if any(self._drawn[:width]):
            self._step.advance()
        else:
            self._step.draw()
        if self._states_MBD is not None:
            now = self._states_MBD[self._tick % len(self._states_MBD)]
            self._device.copy(now[:width], self.hidden_B1D[:width, 0])
        self._tick += 1
        for place in range(width):
            self._drawn[place] += 1
        scores_BV = self.logits_BV[:width]
        return (
            self._device.read(self._out["code"][:width]),
            self._device.read(scores_BV if self._device.host else scores_BV[:, :1]),
        )

    def step_at(self, slot: int) -> None:
        """The transformer's step alone, every row at this slot of its cache, waited for: to measure it."""
        self._device.write(self._out["next_pos"], np.full(self.rows, slot, np.int64))
        self._step.gpt.launch()
        self._device.synchronize()

    def _rewind(self, place: int) -> None:
        """A row that has drawn all it may, or no row at all, goes on over the same slots of its cache: not beyond them,
        and not over its prompt."""
        here = slice(place, place + 1)
        self._device.zero(self._in["step"][here])
        self._device.copy(self._out["next_pos"][here], self._in["prompt_lengths"][here])
        self._device.write(self._in["done"][here], np.ones(1, bool))
        self._drawn[place] = 1

    def _keep(self, row: int, states_MD: Tensor) -> None:
        assert self._states_MBD is not None
        for ring, part in self._stretches(row, len(states_MD)):
            self._device.copy(self._states_MBD[ring, row], states_MD[part])

    def _stretches(self, row: int, count: int) -> list[tuple[slice, slice]]:
        """Where the first ``count`` states of a row lie: a stretch of the ring, or two."""
        assert self._states_MBD is not None
        size = len(self._states_MBD)
        first = self._began[row] % size
        until = min(count, size - first)
        stretches = [(slice(first, first + until), slice(0, until))]
        if until < count:
            stretches.append((slice(0, count - until), slice(until, count)))
        return stretches

    @property
    def _step(self) -> _Step:
        if self.width not in self._steps:
            self._steps[self.width] = self._bound(self.width)
        return self._steps[self.width]

    def _bound(self, width: int) -> _Step:
        """The graphs on the first places of every tensor."""
        gpt, sampler = self._engines
        given = {name: tensor[:width] for name, tensor in self._in.items()}
        drawn = {name: tensor[:width] for name, tensor in self._out.items()}
        caches = {name: tensor[:width] for name, tensor in self.cache.tensors.items()}
        own = {
            "embeddings": drawn["next_embedding"],
            "lengths": self._lengths_B[:width],
            "pos": drawn["next_pos"],
            "start": self._start_B[:width],
        }
        made = {"logits": given["logits"], "hidden": self.hidden_B1D[:width]}
        made |= {out: caches[name] for out, name in gpt.spec.aliases.items()}
        step, sampling = gpt.bind(own | caches, made), sampler.bind(given, drawn)

        def draw() -> None:
            sampling.launch()
            for name in STATE:
                self._device.copy(given[name], drawn[f"{name}_out"])

        def advance() -> None:
            step.launch()
            draw()

        recordable = step.recordable and sampling.recordable
        return _Step(step, draw, self._device.record(advance) if recordable else advance)
