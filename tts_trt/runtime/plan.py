"""From a request's text to segments with ids, a rate and, where a duration is set, an exact number of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.errors import UsageError
from tts_trt.frontend.opening import Tokenizer
from tts_trt.runtime.request import RATES, Request
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.spec import Limits

__all__ = ["Plan", "Planner", "Segment", "Tokenizer"]

SILENCE_SECONDS = {"exact": 0.2, "one-pass": 0.15}
"""Between segments, by kind of model: the reference pipeline's, and one that suits short sentences."""

SPOKEN_RATES = (0.7, 1.4)
"""The rate asked of the code model for a set duration; what is left is stretched with the mel frames."""

CODE_RESERVE = 0.75
"""Share of the most codes of a segment that its natural length may take; speech varies around the mean."""


@dataclass(frozen=True)
class Segment:
    text: str
    ids_L: NDArray[np.int64]
    rate: float
    sampling: SamplingParams
    index: int
    samples: int | None = None  # None: as long as it gets


@dataclass(frozen=True)
class Plan:
    segments: tuple[Segment, ...]
    silence: int  # samples between segments


class Planner:
    def __init__(self, tokenizer: Tokenizer, dims: ModelDims, limits: Limits) -> None:
        self._tokenizer, self._dims, self._limits = tokenizer, dims, limits

    def plan(self, request: Request) -> Plan:
        """TextError for text that cannot be spoken, UsageError for a duration out of reach."""
        rate_hz = self._dims.audio.sample_rate
        silence = request.silence_seconds
        gap = round((SILENCE_SECONDS[self._dims.latents] if silence is None else silence) * rate_hz)
        text = self._tokenizer.normalise(request.text)
        sampling = request.sampling or SamplingParams.of(self._dims)
        if request.duration is None:
            texts = self._split(text, request.segment_ids, request.rate)
            return Plan(
                tuple(Segment(t, self._ids(t), request.rate, sampling, i) for i, t in enumerate(texts)), gap
            )
        expected = self._tokenizer.natural_seconds(text) / request.duration
        texts = self._split(text, request.segment_ids, float(np.clip(expected, *RATES)))
        return Plan(self._timed(texts, sampling, request.duration, gap, stretch=request.stretch), gap)

    def _ids(self, text: str) -> NDArray[np.int64]:
        return np.asarray(self._tokenizer.encode(text), np.int64)

    def _split(self, text: str, most_ids: int, rate: float) -> list[str]:
        """Segments within both limits: text ids, and codes at the natural length."""
        most = min(most_ids, self._limits.text_of(self._dims))
        seconds = CODE_RESERVE * self._limits.codes_of(self._dims) / self._dims.codes_per_second

        def size(part: str) -> int:
            spoken = self._tokenizer.natural_seconds(part) / rate
            return max(len(self._tokenizer.encode(part)), round(most * spoken / seconds))

        return self._tokenizer.split(text, most, size)

    def _timed(
        self, texts: Sequence[str], sampling: SamplingParams, duration: float, gap: int, *, stretch: bool
    ) -> tuple[Segment, ...]:
        """Segments that share the duration in proportion to their natural lengths, exact in sum."""
        rate_hz = self._dims.audio.sample_rate
        natural = np.array([self._tokenizer.natural_seconds(t) for t in texts])
        pauses = gap * (len(texts) - 1)
        speech = round(duration * rate_hz) - pauses
        ratio = natural.sum() * rate_hz / speech if speech > 0 else float("inf")
        if not RATES[0] <= ratio <= RATES[1]:
            shortest, longest = (natural.sum() / r + pauses / rate_hz for r in reversed(RATES))
            raise UsageError(
                f"a duration of {duration:.2f} s is out of reach for this text: {shortest:.2f} to {longest:.2f} s can be met",
                hint="change the duration, or shorten or lengthen the text",
                field="duration",
            )
        ends = np.rint(np.cumsum(natural) / natural.sum() * speech).astype(int)
        samples = np.diff(ends, prepend=0)
        made = []
        for i, (text, size) in enumerate(zip(texts, samples.tolist(), strict=True)):
            codes = max(1, round(size / rate_hz * self._dims.codes_per_second))
            rate = float(np.clip(ratio, *SPOKEN_RATES))
            drawn = sampling if stretch else sampling.forced(codes)
            made.append(Segment(text, self._ids(text), rate, drawn, i, size))
        return tuple(made)
