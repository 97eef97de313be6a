"""A live voice: what the first chunk costs by stage, held against a budget, and what is given up before a line is refused.

    probe    the first chunk by itself, best of a few: plan, decode, sound (condition, flow, vocoder)
    too late     -> fewer flow steps, as long as there are fewer
    speaking     line by line as a stream; a gap in playback -> larger chunks, then fewer flow steps
    still late   -> refused, with every stage and its budget

Times are those of this machine in this minute; what is said is the same performance at every number of codes a chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import TtsTrtError
from tts_trt.policy import Budget, Live
from tts_trt.quality.continuity import Piece, continuity
from tts_trt.runtime.request import Request, Result

FloatArray = NDArray[np.float32]
PROBES = 3
SOUND = ("mel_condition", "flow", "vocoder")

Clock = Callable[[], float]


class Streams(Protocol):
    """What of a synthesizer a live voice needs."""

    def synthesize(self, request: Request) -> Result: ...

    def stream(self, request: Request, first_codes: int, chunk_codes: int) -> Iterator[FloatArray]: ...


class TooLate(TtsTrtError):
    """The budget cannot be met, whatever is given up."""


@dataclass(frozen=True)
class Stages:
    """Milliseconds of the first chunk."""

    plan: float
    decode: float
    sound: float

    @property
    def first_audio(self) -> float:
        return self.plan + self.decode + self.sound

    def beyond(self, budget: Budget) -> list[str]:
        """Each stage that takes longer than its budget, in words."""
        return [
            f"{name} {getattr(self, name):.0f} ms of {getattr(budget, name):g}"
            for name in ("plan", "decode", "sound", "first_audio")
            if getattr(self, name) > getattr(budget, name)
        ]


@dataclass(frozen=True)
class Spoken:
    """A line as a listener had it. ``underrun_ms``: the longest wait for samples once it had begun."""

    text: str
    wave_S: FloatArray
    first_audio_ms: float
    underrun_ms: float
    chunks: int
    chunk_codes: int
    flow_steps: int


@dataclass
class LiveVoice:
    """``given_up`` says what was, and why."""

    tts: Streams
    policy: Live
    asked: Request  # all of it but the text
    own_steps: int  # of the model
    sample_rate: int
    clock: Clock = time.perf_counter
    given_up: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        steps = [count or self.own_steps for count in self.policy.flow_steps]
        fewer = [count for i, count in enumerate(steps) if i == 0 or count < min(steps[:i])]
        self._steps, self._chunks = fewer, list(self.policy.chunk_codes)

    @property
    def flow_steps(self) -> int:
        return self._steps[0]

    @property
    def chunk_codes(self) -> int:
        return self._chunks[0]

    def prepare(self, text: str) -> Stages:
        """Speak the first chunk of ``text``, a segment, until it is soon enough. TooLate when it never is."""
        while True:
            stages = self._probe(text)
            over = stages.beyond(self.policy.budget_ms)
            if stages.first_audio <= self.policy.budget_ms.first_audio:
                self.warnings += [f"first chunk: {words}" for words in over]
                return stages
            if not self._fewer_steps(", ".join(over)):
                raise TooLate(
                    f"the first chunk is too late even with {self.flow_steps} flow steps: {', '.join(over)}",
                    hint="a faster bundle (--report says which), fewer first_codes, or a larger budget_ms",
                )

    def say(self, text: str) -> Spoken:
        """A line as a stream; what it lacked, the next one has."""
        request = replace(self.asked, text=text, steps=self.flow_steps)
        chunk_codes, flow_steps = self.chunk_codes, self.flow_steps
        parts: list[FloatArray] = []
        pieces: list[Piece] = []
        began = self.clock()
        for wave_S in self.tts.stream(request, self.policy.first_codes, chunk_codes):
            pieces.append(Piece(self.clock() - began, len(wave_S) / self.sample_rate))
            parts.append(wave_S)
        heard = continuity(pieces)
        first_ms, underrun_ms = 1e3 * heard.first_audio, 1e3 * heard.deficit
        self._adapt(first_ms, underrun_ms)
        return Spoken(text, np.concatenate(parts), first_ms, underrun_ms, len(parts), chunk_codes, flow_steps)

    def _adapt(self, first_ms: float, underrun_ms: float) -> None:
        if underrun_ms > self.policy.underrun_ms:
            reason = f"a gap of {underrun_ms:.0f} ms, {self.policy.underrun_ms:g} are allowed"
            if not self._larger_chunks(reason) and not self._fewer_steps(reason):
                self.warnings.append(f"{reason}; nothing is left to give up")
        elif first_ms > self.policy.budget_ms.first_audio:
            reason = f"first audio after {first_ms:.0f} ms of {self.policy.budget_ms.first_audio:g}"
            if not self._fewer_steps(reason):
                self.warnings.append(f"{reason}; nothing is left to give up")

    def _probe(self, text: str) -> Stages:
        sampling = self.asked.sampling
        assert sampling is not None
        request = replace(
            self.asked, text=text, steps=self.flow_steps, sampling=sampling.forced(self.policy.first_codes)
        )
        found = [self.tts.synthesize(request).timings for _ in range(PROBES)]
        best = {name: 1e3 * min(times[name] for times in found) for name in found[0]}
        return Stages(best["plan"], best["decode"], sum(best[name] for name in SOUND))

    def _fewer_steps(self, reason: str) -> bool:
        return self._next(self._steps, "flow steps", reason)

    def _larger_chunks(self, reason: str) -> bool:
        return self._next(self._chunks, "codes a chunk", reason)

    def _next(self, ladder: list[int], what: str, reason: str) -> bool:
        """One rung down, where there is one."""
        if len(ladder) < 2:
            return False
        self.given_up.append(f"{ladder[1]} {what} instead of {ladder[0]}: {reason}")
        ladder.pop(0)
        return True
