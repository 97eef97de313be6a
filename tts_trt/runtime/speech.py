"""What every way of speaking shares: plan, voice, conditioning, rows, frames, and the result.

``Synthesizer`` speaks one call at a time with it, ``Scheduler`` many requests at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import EMOTIONS
from tts_trt.errors import UsageError
from tts_trt.runtime.acoustic import Acoustic
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.decode import Decoder
from tts_trt.runtime.finish import Heard, check, fade, join, levelled
from tts_trt.runtime.plan import Plan, Planner, Segment
from tts_trt.runtime.request import Request, Result, SegmentInfo
from tts_trt.runtime.rows import DecodeRow, Finish
from tts_trt.runtime.stream import ChunkedWave
from tts_trt.runtime.voice import Source, Voice, VoiceEncoder

FloatArray = NDArray[np.float32]

NEUTRAL = (0.0,) * len(EMOTIONS)


@dataclass(frozen=True)
class Spoken:
    """One segment."""

    codes_M: NDArray[np.int64]
    finish: Finish
    samples: int


class Speech:
    def __init__(self, bundle: OpenBundle) -> None:
        self.dims, self.limits, self.voices = bundle.dims, bundle.limits, bundle.voices
        self.encoder = VoiceEncoder(bundle.engines, bundle.dims)
        self.decoder = Decoder(bundle.engines, bundle.dims, bundle.limits)
        self.acoustic = Acoustic(bundle.engines, bundle.dims)
        self._planner = Planner(bundle.tokenizer, bundle.dims, bundle.limits)

    def plan(self, request: Request) -> Plan:
        """TextError for text that cannot be spoken, UsageError for a duration out of reach or an unknown voice."""
        if isinstance(request.voice, str):
            self._known(request.voice)
        return self._planner.plan(request)

    def voice(self, voice: str | Source | Voice) -> Voice:
        """A voice by name, from a recording, or as it is. UsageError for an unknown name."""
        if isinstance(voice, Voice):
            return voice
        if isinstance(voice, str) and self._known(voice):
            return self.encoder.encode(self.voices[voice], voice)
        return self.encoder.encode(voice)

    def conditioning(self, request: Request, voice: Voice) -> FloatArray:
        """-> (N,D). An emotion vector is scaled by alpha and goes on top of the voice's own recording, as in the
        reference."""
        if request.emotion_audio is not None:
            emotion = self.encoder.emotion(request.emotion_audio)
            return self.encoder.conditioning(voice, emotion, request.alpha, NEUTRAL)
        vector = request.emotion or NEUTRAL
        if request.alpha != 1.0:
            vector = tuple(int(weight * request.alpha * 10_000) / 10_000 for weight in vector)
        return self.encoder.conditioning(voice, voice.emotion, 1.0, vector)

    def row(self, segment: Segment, conditioning_ND: FloatArray) -> DecodeRow:
        return DecodeRow(conditioning_ND, segment.ids_L, segment.rate, segment.sampling, segment.index)

    def flow_options(self, request: Request) -> tuple[int, float]:
        """Steps and guidance."""
        flow = self.dims.flow
        return (
            flow.steps if request.steps is None else request.steps,
            flow.guidance if request.guidance is None else request.guidance,
        )

    def wave(self, request: Request, segment: Segment, voice: Voice) -> ChunkedWave:
        key = (segment.sampling.seed, segment.index)
        return ChunkedWave(self.acoustic, voice, *key, *self.flow_options(request))

    def frames(self, segment: Segment, codes: int, *, last: bool = True) -> int:
        """Mel frames of a segment's codes so far; with the last ones as many as its duration wants."""
        if segment.samples is None or not last:
            return self.acoustic.frames(codes)
        return -(-segment.samples // self.dims.audio.hop)

    def whole(
        self, plan: Plan, spoken: Sequence[Spoken], waves: Sequence[FloatArray], timings: dict[str, float]
    ) -> Result:
        """Segments -> their result. SynthesisError for one that is not finite or silent."""
        rate = self.dims.audio.sample_rate
        for segment, wave_S in zip(plan.segments, waves, strict=True):
            check(wave_S, f"segment {segment.index + 1} ({segment.text[:40]!r})")
        wave_S = levelled(join([fade(wave, rate) for wave in waves], plan.silence))
        return self.result(plan, spoken, wave_S, timings)

    def result(
        self, plan: Plan, spoken: Sequence[Spoken], wave_S: FloatArray, timings: dict[str, float]
    ) -> Result:
        """Of a wave that is finished already."""
        rate, start, infos = self.dims.audio.sample_rate, 0, []
        for segment, one in zip(plan.segments, spoken, strict=True):
            times = (start / rate, one.samples / rate)
            infos.append(SegmentInfo(segment.text, *times, len(one.codes_M), one.finish, segment.rate))
            start += one.samples + plan.silence
        return Result(wave_S, rate, tuple(one.codes_M for one in spoken), tuple(infos), timings)

    def _known(self, voice: str) -> bool:
        """Whether it is a name of the bundle, not a file's. UsageError for what is neither."""
        if voice not in self.voices and not Path(voice).suffix:
            raise UsageError(
                f"there is no voice {voice!r}, only {', '.join(self.voices) or 'none'}",
                hint="name one of them, or a recording such as voice.wav",
            )
        return voice in self.voices


class StreamedSegment:
    """The last hand on a segment whose wave comes in parts: cut to its duration, faded, checked."""

    def __init__(self, segment: Segment, sample_rate: int) -> None:
        self.samples = 0
        """So far."""
        self._most, self._rate = segment.samples, sample_rate
        self._heard = Heard(f"segment {segment.index + 1}")

    def add(self, wave_S: FloatArray, *, last: bool) -> FloatArray:
        """-> what may be heard of it, perhaps nothing. SynthesisError for samples that are not numbers, and with the
        last part for a segment that was silent."""
        wave_S = wave_S if self._most is None else wave_S[: self._most - self.samples]
        first = self._heard.nothing
        self._heard.add(wave_S, last=last)
        self.samples += len(wave_S)
        return fade(wave_S, self._rate, start=first, end=last) if len(wave_S) else wave_S
