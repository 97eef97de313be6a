"""Speech that takes exactly the time it is given: cues of a film, or one text.

    cue        start_ms ............ end_ms
    samples    round(start * rate)   round(end * rate)      the wave of the cue has as many samples as lie between
    codes      drawn   as many as the voice needs, asked to speak at the rate that fits; it ends where a sentence ends
               forced  exactly as many as fill that time: the voice may be cut off, or go on where it had ended
    frames     the length regulator stretches codes to ceil(samples / hop) frames, the wave is cut to the sample

Sentences share the time in proportion to their natural lengths. Every cue is held against the rates that sound natural before
anything is spoken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tts_trt.errors import TextError, UsageError
from tts_trt.policy import Dubbing
from tts_trt.render.speakers import Speaker
from tts_trt.render.srt import Cue, overlaps
from tts_trt.render.takes import seed_of, seeded
from tts_trt.runtime.plan import Planner, Tokenizer
from tts_trt.runtime.request import LONGEST_SECONDS, Request

NAMED = 5
"""Refused cues an error names; the others are counted."""


@dataclass(frozen=True)
class Fit:
    """How long a text may take. Pauses between its sentences are not spoken faster."""

    natural: float  # seconds of speech at rate 1
    pauses: float

    def rate(self, seconds: float) -> float:
        left = seconds - self.pauses
        return self.natural / left if left > 0 else math.inf

    def range(self, policy: Dubbing) -> tuple[float, float]:
        """Shortest and longest seconds."""
        return self.natural / policy.fastest + self.pauses, self.natural / policy.slowest + self.pauses


@dataclass(frozen=True)
class Spot:
    """A text and the samples it fills. ``rate``: what the voice must speak at, 1 being its own."""

    name: str
    text: str
    start: int
    end: int
    sample_rate: int
    fit: Fit

    @property
    def samples(self) -> int:
        return self.end - self.start

    @property
    def seconds(self) -> float:
        return self.samples / self.sample_rate

    @property
    def rate(self) -> float:
        return self.fit.rate(self.seconds)

    def against(self, policy: Dubbing) -> str | None:
        """Why the policy refuses it; None where it fits."""
        if policy.slowest <= self.rate <= policy.fastest:
            return None
        shortest, longest = self.fit.range(policy)
        needed = (
            f"would need a rate of {self.rate:.2f}"
            if math.isfinite(self.rate)
            else "leaves no time beside the pauses between its sentences"
        )
        return (
            f"{self.name}: {self.seconds:.2f} s for {self.text[:40]!r} {needed}, expected "
            f"{policy.slowest:g} to {policy.fastest:g}, which is {shortest:.2f} to {longest:.2f} s"
        )

    def request(self, asked: Request, *, stretch: bool = False) -> Request:
        return replace(asked, text=self.text, duration=self.seconds, stretch=stretch)


class Room:
    """Where texts are held against their times: what a model needs for that."""

    def __init__(self, planner: Planner, tokenizer: Tokenizer, sample_rate: int) -> None:
        self._planner, self._tokenizer, self._rate = planner, tokenizer, sample_rate

    def spots(self, cues: Sequence[Cue], policy: Dubbing) -> list[Spot]:
        """UsageError that names the cues whose text does not fit their time, with the rate each would need and the time it
        could have, or cues that overlap where the policy refuses that; TextError for a cue that cannot be spoken."""
        if policy.overlaps == "refuse" and (pairs := overlaps(cues)):
            raise UsageError(
                f"{len(pairs)} cues start before an earlier one has ended: {pairs[0][1]} in {pairs[0][0]}",
                hint='overlaps = "mix" in a policy file, or a file per voice',
            )
        found = [
            self._spot(str(c), c.text, *(round(ms * self._rate / 1000) for ms in (c.start_ms, c.end_ms)))
            for c in cues
        ]
        return _fitting(found, policy)

    def spot(self, text: str, seconds: float, policy: Dubbing) -> Spot:
        """One text that fills ``seconds``. Errors as ``spots``."""
        if not math.isfinite(seconds) or not 0 < seconds <= LONGEST_SECONDS:
            raise UsageError(f"a duration of {seconds} s, expected above 0 and at most {LONGEST_SECONDS:g} s")
        return _fitting([self._spot("the text", text, 0, round(seconds * self._rate))], policy)[0]

    def fit(self, text: str) -> Fit:
        """TextError for what cannot be spoken."""
        plan = self._planner.plan(Request(text, ""))
        natural = sum(self._tokenizer.natural_seconds(segment.text) for segment in plan.segments)
        return Fit(natural, plan.silence * (len(plan.segments) - 1) / self._rate)

    def _spot(self, name: str, text: str, start: int, end: int) -> Spot:
        try:
            return Spot(name, text, start, end, self._rate, self.fit(text))
        except TextError as error:
            raise TextError(f"{name}: {error.args[0]}", hint=error.hint) from error


def ladder(
    spot: Spot, speaker: Speaker, asked: Request, policy: Dubbing, seed: int
) -> list[tuple[Speaker, Request]]:
    """Takes with a natural end first, then those held to their codes."""
    kinds = [True] * policy.drawn_takes + [False] * policy.forced_takes
    return [
        (speaker, seeded(spot.request(asked, stretch=stretch), seed_of(seed, spot.text, take)))
        for take, stretch in enumerate(kinds)
    ]


def _fitting(spots: list[Spot], policy: Dubbing) -> list[Spot]:
    if reasons := [reason for spot in spots if (reason := spot.against(policy))]:
        more = f"\n  and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
        raise UsageError(
            f"{len(reasons)} of {len(spots)} do not fit their time:\n  "
            + "\n  ".join(reasons[:NAMED])
            + more,
            hint="change the times or the words; the limits are slowest and fastest in a policy file",
        )
    return spots
