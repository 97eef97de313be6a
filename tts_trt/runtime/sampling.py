"""How codes are drawn: the parameters of a request and its noise.

V codes in the vocabulary. The draw itself is in the ``sampler`` graph.
"""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.errors import UsageError
from tts_trt.spec import SAMPLER_TOP

CODE_NOISE, MEL_NOISE = 0, 1
"""Kinds of noise of one segment; each has a stream of its own."""

_KINDS = 2

NOISE_BLOCK = 16
"""Steps whose noise is drawn together, ahead of their time."""

_AHEAD = ThreadPoolExecutor(1, thread_name_prefix="tts-trt-noise")


@dataclass(frozen=True)
class SamplingParams:
    """Defaults are IndexTTS-2's; ``of`` gives a model's own. UsageError for values out of range."""

    temperature: float = 0.8
    top_k: int = 30  # candidates kept, at most SAMPLER_TOP
    top_p: float = 0.8  # probability mass kept
    repetition_penalty: float = 10.0  # 1: none
    greedy: bool = False  # the best code, whatever temperature, top_k and top_p say
    seed: int = 0
    min_codes: int = 1
    max_codes: int | None = None  # None: as many as the model can

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.01, 10.0)
        _check("top_k", self.top_k, 1, SAMPLER_TOP)
        _check("top_p", self.top_p, 0.01, 1.0)
        _check("repetition_penalty", self.repetition_penalty, 1.0, 100.0)
        _check("seed", self.seed, 0, 2**63 - 1)
        _check("min_codes", self.min_codes, 1, 1_000_000)
        if self.max_codes is not None:
            _check("max_codes", self.max_codes, self.min_codes, 1_000_000)

    @classmethod
    def of(cls, dims: ModelDims, **changes: Any) -> Self:
        """The model's defaults with ``changes``."""
        own = {
            "temperature": dims.temperature,
            "top_k": dims.top_k,
            "top_p": dims.top_p,
            "repetition_penalty": dims.repetition_penalty,
        }
        return cls(**(own | changes))

    def forced(self, codes: int) -> Self:
        """The same draw with exactly this many codes."""
        return replace(self, min_codes=codes, max_codes=codes)


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{name} is {value}, expected {low} to {high}")
    if isinstance(low, int) and value != int(value):
        raise UsageError(f"{name} is {value}, expected a whole number")


def code_noise(seed: int, segment: int, step: int, size: int) -> NDArray[np.float32]:
    """Uniform draws (V) in [0,1) of one step. Depends on nothing but the arguments: neither on the rows that are
    decoded beside this one nor on the executor."""
    generator = np.random.Philox(key=_key(seed, segment, CODE_NOISE), counter=[0, 0, step, 0])
    return np.random.Generator(generator).random(size, dtype=np.float32)


class RowNoise:
    """The noise of one row, step by step. ``ahead``: drawn in the background a block before it is wanted, as on a GPU a
    step may take less time than its noise."""

    def __init__(self, seed: int, segment: int, size: int, *, ahead: bool) -> None:
        self._key, self._size, self._ahead = (seed, segment), size, ahead
        self._blocks: dict[int, Future[list[NDArray[np.float32]]]] = {}

    def of(self, step: int) -> NDArray[np.float32]:
        """(V) uniform draws."""
        if not self._ahead:
            return code_noise(*self._key, step, self._size)
        block, place = divmod(step, NOISE_BLOCK)
        for wanted in (block, block + 1):
            if wanted not in self._blocks:
                self._blocks[wanted] = _AHEAD.submit(self._draw_block, wanted)
        for old in [b for b in self._blocks if b < block]:
            del self._blocks[old]
        return self._blocks[block].result()[place]

    def _draw_block(self, block: int) -> list[NDArray[np.float32]]:
        steps = range(block * NOISE_BLOCK, (block + 1) * NOISE_BLOCK)
        return [code_noise(*self._key, step, self._size) for step in steps]


def mel_noise(seed: int, segment: int, frames: int, mels: int) -> NDArray[np.float32]:
    """Normal draws (mels, frames). A frame's noise does not depend on how many frames follow."""
    generator = np.random.Generator(np.random.Philox(key=_key(seed, segment, MEL_NOISE)))
    return generator.standard_normal((frames, mels), dtype=np.float32).T


def _key(seed: int, segment: int, kind: int) -> NDArray[np.uint64]:
    return np.array([seed, _KINDS * segment + kind], np.uint64)
