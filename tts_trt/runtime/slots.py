"""What a batch of B rows needs from step to step, on the device: allocated, bound and recorded once, used by batch after batch.

    hidden, logits  -> sampler ->  code, next embedding, next slot, state
          ^                             |
          +-------- gpt (S = 1) <-------+        + cache, in place

Nothing in a step comes from the host but the noise, which the host knows ahead. V codes in the vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.runtime.device import Reading, Tensor
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.kv_cache import KvCache
from tts_trt.runtime.sampling import Noise, SamplingParams
from tts_trt.spec import Limits

STATE = ("seen", "step", "done")

REFERENCE_HISTORY = 1
"""Exact models: the reference's repetition penalty takes the prompt for a row of this code."""


class Slots:
    def __init__(self, engines: Engines, dims: ModelDims, limits: Limits, rows: int) -> None:
        gpt, sampler, axes = engines["gpt"], engines["sampler"], {"B": rows, "S": 1}
        self.rows, self._dims, self._device = rows, dims, gpt.device
        self.cache = KvCache(gpt, rows)
        self.logits_BV, self.hidden_B1D = gpt.allocate("logits", axes), gpt.allocate("hidden", axes)
        self.states_MBD: Tensor | None = None
        if dims.latents == "one-pass":
            shape = (limits.codes_of(dims), rows, dims.gpt.dim)
            self.states_MBD = self._device.empty(shape, np.float32)
        self._in = {t.name: sampler.allocate(t.name, axes) for t in sampler.spec.inputs}
        self._in["logits"] = self.logits_BV
        self._out = {t.name: sampler.allocate(t.name, axes) for t in sampler.spec.outputs}
        lengths_B = self._device.upload(np.ones(rows, np.int64))
        self._sampler = sampler.bind(self._in, self._out)
        self._gpt = gpt.bind(
            {
                "embeddings": self._out["next_embedding"],
                "lengths": lengths_B,
                "pos": self._out["next_pos"],
                "start": gpt.allocate("start", axes),
                **self.cache.tensors,
            },
            {
                "logits": self.logits_BV,
                "hidden": self.hidden_B1D,
                **{out: self.cache.tensors[name] for out, name in gpt.spec.aliases.items()},
            },
        )
        recordable = self._sampler.recordable and self._gpt.recordable
        self._advance = self._device.record(self._step_and_draw) if recordable else self._step_and_draw
        self._noise: Noise | None = None

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
        self._noise = Noise(sampling, segments, self._dims.gpt.codes, ahead=not self._device.host)

    def draw(self, step: int, finished: Sequence[bool]) -> tuple[Reading, Reading]:
        """Queue the draw of code ``step``, after the transformer's step over the code before it. -> the codes (B), and
        scores that are numbers only if all are: those of every code on the host, of the first one elsewhere, as one
        value that is not a number spreads through every later state."""
        if self._noise is not None and (noise_BV := self._noise.of(step, finished)) is not None:
            self._device.write(self._in["noise"], noise_BV)
        if step:
            self._advance()
        else:
            self._draw()
        if self.states_MBD is not None:
            self._device.copy(self.states_MBD[step], self.hidden_B1D[:, 0])
        scores = self.logits_BV if self._device.host else self.logits_BV[:, :1]
        return self._device.read(self._out["code"]), self._device.read(scores)

    def step_at(self, slot: int) -> None:
        """The transformer's step alone, every row at this slot of its cache, waited for: to measure it."""
        self._device.write(self._out["next_pos"], np.full(self.rows, slot, np.int64))
        self._gpt.launch()
        self._device.synchronize()

    def _step_and_draw(self) -> None:
        self._gpt.launch()
        self._draw()

    def _draw(self) -> None:
        self._sampler.launch()
        for name in STATE:
            self._device.copy(self._in[name], self._out[f"{name}_out"])
