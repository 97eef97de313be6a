"""Takes of one passage: spoken, checked, and spoken again until quality control has nothing against it.

for each (speaker, seed) of a ladder:   speak -> check -> good: keep it
none was good:                          keep the one with the fewest faults, and flag it
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from tts_trt.errors import SynthesisError, UsageError
from tts_trt.quality.qc import Finding, SpeechSegment, Thresholds, check_segment
from tts_trt.quality.qc_checks import broken
from tts_trt.render.speakers import Speaker
from tts_trt.runtime.request import Request, Result

LARGEST_SEED = 2**63

Natural = Callable[[str], float]
"""Seconds that a normalised text takes at rate 1."""

Samples = Callable[[int], int]
"""Samples that so many codes become."""


@dataclass(frozen=True)
class Take:
    """``faults`` is empty where quality control passed; ``error`` says why there is no sound at all."""

    bundle: str
    precision: str
    seed: int
    took: float  # seconds of work
    seconds: float = 0.0  # of sound
    faults: tuple[str, ...] = ()
    error: str | None = None

    @property
    def passed(self) -> bool:
        return not self.faults and self.error is None


@dataclass(frozen=True)
class Kept:
    result: Result
    takes: tuple[Take, ...]
    chosen: int  # which of them

    @property
    def flagged(self) -> bool:
        """No take was good; this is the best of them."""
        return not self.takes[self.chosen].passed


@dataclass(frozen=True)
class Inspector:
    """Quality control of what a request was answered with. ``limits`` None: there are none for this model, and only sound that
    is broken outright is a fault. ``style``: who speaks and how, as the limits name it. ``samples_of``: sound that is not as
    long as its codes has lost or gained something since they were drawn, wherever that was and however smooth it sounds; sound
    that was stretched to a duration may differ by ``most_stretch``."""

    limits: Thresholds | None
    style: str
    natural_seconds: Natural
    samples_of: Samples | None = None
    most_stretch: float = math.inf

    @cached_property
    def identity(self) -> str:
        """Hash of the limits."""
        return hashlib.sha256(self.limits.model_dump_json().encode()).hexdigest() if self.limits else ""

    def faults(self, request: Request, result: Result) -> tuple[str, ...]:
        found: list[str] = []
        for info, codes_M in zip(result.segments, result.codes, strict=True):
            start = round(info.start * result.sample_rate)
            wave_S = result.wave[start : start + round(info.seconds * result.sample_rate)]
            forced = request.duration is not None and not request.stretch
            expected = (
                info.seconds if request.duration is not None else self.natural_seconds(info.text) / info.rate
            )
            segment = SpeechSegment(wave_S, result.sample_rate, info.text, codes_M, expected, self.style)
            found += [str(one) for one in self._findings(segment)]
            if info.finish != "stop" and not forced:
                found.append(f"cut short by {info.finish}")
            found += self._length(request, len(wave_S), len(codes_M))
        return tuple(found)

    def _length(self, request: Request, samples: int, codes: int) -> list[str]:
        natural = self.samples_of(codes) if self.samples_of else samples
        if request.stretch:
            factor = samples / max(natural, 1)
            within = 1 / self.most_stretch <= factor <= self.most_stretch
            return [] if within else [f"stretch {factor:.2f}, limit {self.most_stretch:g} or its inverse"]
        if request.duration is not None or samples == natural:
            return []
        return [f"length {samples} samples, {natural} of {codes} codes"]

    def _findings(self, segment: SpeechSegment) -> Sequence[Finding]:
        if self.limits is None:
            return broken(segment)
        return [f for f in check_segment(segment, self.limits).findings if f.severity == "fail"]


def seed_of(seed: int, text: str, take: int) -> int:
    """Of a take; not of a place, so that what stands elsewhere in a script does not change how a passage sounds."""
    digest = hashlib.sha256(f"{seed}\n{take}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % LARGEST_SEED


def seeded(request: Request, seed: int) -> Request:
    """UsageError for a request that leaves its sampling to the model."""
    if request.sampling is None:
        raise UsageError("a take needs sampling to put its seed into")
    return replace(request, sampling=replace(request.sampling, seed=seed))


def best_take(ladder: Sequence[tuple[Speaker, Request]], inspector: Inspector) -> Kept:
    """The first good take, else the one with the fewest faults; of equals the later one, whose precision is no lower.
    SynthesisError where none gave any sound."""
    takes: list[Take] = []
    best: tuple[int, Result] | None = None
    for speaker, asked in ladder:
        seed = asked.sampling.seed if asked.sampling else 0
        made = partial(Take, speaker.offer.name, speaker.offer.precision, seed)
        began = time.perf_counter()
        try:
            result = speaker.speaks.synthesize(asked)
        except SynthesisError as error:
            takes.append(made(time.perf_counter() - began, error=error.args[0]))
            continue
        took = time.perf_counter() - began
        takes.append(made(took, result.seconds, inspector.faults(asked, result)))
        if best is None or len(takes[-1].faults) <= len(takes[best[0]].faults):
            best = (len(takes) - 1, result)
        if takes[-1].passed:
            break
    if best is None:
        raise SynthesisError(
            f"{ladder[0][1].text[:40]!r} could not be spoken in {len(takes)} takes: {takes[-1].error}",
            hint="change the passage, or another --seed",
        )
    return Kept(best[1], tuple(takes), best[0])
