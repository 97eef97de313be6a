"""What is asked of a synthesizer and what it answers; a request is checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import EMOTIONS
from tts_trt.errors import UsageError
from tts_trt.runtime.rows import Finish
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.voice import Source, Voice

RATES = (0.5, 2.0)  # speaking rate, 1 is natural
EMOTION_LIMIT = 1.2  # of one weight, and of all together
LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class Request:
    """``emotion`` (a vector) and ``emotion_audio`` exclude each other; so do ``rate`` and ``duration``. What is stretched cannot
    be streamed: how far is known at its end."""

    text: str
    voice: str | Source | Voice  # a name from the bundle, a recording, or an encoded voice
    emotion: tuple[float, ...] | None = None  # weight per emotion, in the order of EMOTIONS
    emotion_audio: Source | None = None
    alpha: float = 1.0  # strength of the emotion given, 0..1
    rate: float = 1.0
    duration: float | None = None  # seconds, met to the sample
    stretch: bool = False  # to a duration: the voice ends where it will, and its codes are stretched; else it is held to their number
    sampling: SamplingParams | None = None  # None: the model's defaults
    steps: int | None = None  # of the flow; None: the model's
    guidance: float | None = None  # of the flow; None: the model's
    segment_ids: int = 120  # text ids a segment has at most
    silence_seconds: float | None = None  # between segments; None: the model's

    def __post_init__(self) -> None:
        if self.emotion is not None:
            object.__setattr__(self, "emotion", emotion_vector(self.emotion))
            if self.emotion_audio is not None:
                raise UsageError(
                    "both an emotion vector and an emotion recording are given, expected one of them"
                )
        _within("alpha", self.alpha, 0.0, 1.0)
        _within("rate", self.rate, *RATES)
        if self.duration is not None:
            _within("duration", self.duration, 0.05, LONGEST_SECONDS)
            if self.rate != 1.0:
                raise UsageError("both a rate and a duration are given, expected one of them")
        elif self.stretch:
            raise UsageError("there is no duration to stretch to", hint="duration=2.5")
        if self.steps is not None:
            _within("steps", self.steps, 1, 200)
        if self.guidance is not None:
            _within("guidance", self.guidance, 0.0, 10.0)
        if self.silence_seconds is not None:
            _within("silence_seconds", self.silence_seconds, 0.0, 10.0)
        _within("segment_ids", self.segment_ids, 1, 100_000)

    def check_streamed(self) -> None:
        """UsageError for what cannot be streamed."""
        if self.stretch:
            raise UsageError("what is stretched to a duration cannot be streamed", hint="stretch=False")


@dataclass(frozen=True)
class SegmentInfo:
    text: str
    start: float  # seconds into the wave
    seconds: float
    codes: int
    finish: Finish  # why the code model ended: "length" without a set duration is speech cut short
    rate: float


@dataclass(frozen=True)
class Result:
    wave: NDArray[np.float32]  # (S) mono in [-0.99, 0.99]
    sample_rate: int
    codes: tuple[NDArray[np.int64], ...]  # per segment
    segments: tuple[SegmentInfo, ...]
    timings: dict[str, float] = field(default_factory=dict)  # stage -> seconds, of the whole batch

    @property
    def seconds(self) -> float:
        return len(self.wave) / self.sample_rate


def emotion_vector(values: Any) -> tuple[float, ...]:
    """Eight finite weights of at most 1.2 together. UsageError otherwise."""
    try:
        vector = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"the emotion vector {values!r} is not a list of numbers", hint=_EXAMPLE, field="emotion"
        ) from error
    if len(vector) != len(EMOTIONS):
        raise UsageError(
            f"the emotion vector has {len(vector)} entries, expected {len(EMOTIONS)}: {', '.join(EMOTIONS)}",
            hint=_EXAMPLE,
            field="emotion",
        )
    for name, value in zip(EMOTIONS, vector, strict=True):
        if not math.isfinite(value) or not 0.0 <= value <= EMOTION_LIMIT:
            raise UsageError(
                f"the weight of {name} is {value}, expected 0 to {EMOTION_LIMIT}", field="emotion"
            )
    if sum(vector) > EMOTION_LIMIT + 1e-6:
        raise UsageError(
            f"the emotion weights add up to {sum(vector):.2f}, expected at most {EMOTION_LIMIT}",
            hint="scale them down",
            field="emotion",
        )
    return vector


_EXAMPLE = "for example 0.6,0,0,0,0,0,0.2,0"


def _within(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise UsageError(f"{name} is {value}, expected {low:g} to {high:g}")
