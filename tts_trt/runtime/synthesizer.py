"""Text and voice in, speech out.

    with Synthesizer.from_bundle("engines/nano-fp32-onnxruntime") as tts:
        result = tts.synthesize(Request("Good morning.", "anna"))

S samples. Whole: plan -> conditioning -> decode -> mel condition -> flow -> vocoder -> finish. The segments of all requests
of a batch share the batch of every stage; what one request gets does not depend on the others beyond float rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tts_trt.chunks import chunk_end, least_rest
from tts_trt.errors import UsageError
from tts_trt.runtime.acoustic import ConditionJob, FlowJob
from tts_trt.runtime.bundle import OpenBundle, open_bundle
from tts_trt.runtime.decode import Decoded
from tts_trt.runtime.device import Device
from tts_trt.runtime.executors import AUTO
from tts_trt.runtime.plan import Plan, Segment
from tts_trt.runtime.request import Request, Result
from tts_trt.runtime.sampling import mel_noise
from tts_trt.runtime.slots import Slots
from tts_trt.runtime.speech import Speech, Spoken, StreamedSegment
from tts_trt.runtime.voice import Source, Voice

__all__ = ["Request", "Result", "Synthesizer"]

FloatArray = NDArray[np.float32]


class Synthesizer:
    """Speaks with one bundle. Threads may share it; each call is independent."""

    def __init__(self, bundle: OpenBundle) -> None:
        self.bundle = bundle
        self.dims, self.limits, self.voices = bundle.dims, bundle.limits, bundle.voices
        self.engines = bundle.engines
        self.speech = Speech(bundle)
        self.encoder = self.speech.encoder

    @classmethod
    def from_bundle(cls, folder: Path | str, *, threads: int = 0, device: str = AUTO) -> Self:
        """A bundle directory, verified before it is opened. BundleError for a damaged one, EngineError for one that
        cannot run here. ``threads`` 0 leaves their number to the executor; ``device`` is auto, cpu, cuda or cuda:N, where
        auto is the GPU for TensorRT's engines and the CPU for ONNX Runtime's."""
        return cls(open_bundle(folder, threads=threads, device=device))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.engines.close()

    def voice(self, voice: str | Source | Voice) -> Voice:
        """A voice by name, from a recording, or as it is. UsageError for an unknown name."""
        return self.speech.voice(voice)

    @contextmanager
    def decode_slots(self, rows: int = 1) -> Iterator[Slots]:
        """From the pool, for measurements of the code model alone."""
        with self.speech.decoder.slots(rows) as slots:
            yield slots

    def synthesize(self, request: Request, cancel: threading.Event | None = None) -> Result:
        return self.synthesize_batch([request], cancel)[0]

    def synthesize_batch(
        self, requests: Sequence[Request], cancel: threading.Event | None = None
    ) -> list[Result]:
        """One result per request. Raises UsageError before anything runs, Cancelled when the event is set,
        SynthesisError for audio that is not finite or silent."""
        watch = Stopwatch(self.engines["gpt"].device)
        with watch("plan"):
            plans = [self.speech.plan(request) for request in requests]
        with watch("voice"):
            voices = [self.voice(request.voice) for request in requests]
            conditionings = [self.speech.conditioning(r, v) for r, v in zip(requests, voices, strict=True)]
        owners = [(i, segment) for i, plan in enumerate(plans) for segment in plan.segments]
        made: list[list[tuple[Decoded, FloatArray]]] = [[] for _ in requests]
        for first in range(0, len(owners), self.limits.batch):
            group = owners[first : first + self.limits.batch]
            with watch("decode"):
                rows = [self.speech.row(segment, conditionings[i]) for i, segment in group]
                decoded = self.speech.decoder.run(rows, cancel)
            jobs = [(requests[i], voices[i], s, d) for (i, s), d in zip(group, decoded, strict=True)]
            for (i, _), code, wave in zip(group, decoded, self._waves(jobs, watch), strict=True):
                made[i].append((code, wave))
        return [self._result(plan, parts, watch) for plan, parts in zip(plans, made, strict=True)]

    def _result(self, plan: Plan, parts: Sequence[tuple[Decoded, FloatArray]], watch: Stopwatch) -> Result:
        spoken = [Spoken(decoded.codes_M, decoded.finish, len(wave_S)) for decoded, wave_S in parts]
        return self.speech.whole(plan, spoken, [wave_S for _, wave_S in parts], watch.seconds())

    def stream(
        self,
        request: Request,
        first_codes: int = 20,
        chunk_codes: int = 40,
        cancel: threading.Event | None = None,
    ) -> Iterator[FloatArray]:
        """Samples as they become final; see ``stream.py``. The first chunk has ``first_codes`` codes, each
        further one ``chunk_codes``, the last one more or fewer (``chunks.py``). Closing the iterator stops the work. Errors as ``synthesize``."""
        if first_codes < 1 or chunk_codes < 1:
            raise UsageError(f"chunks of {first_codes} and {chunk_codes} codes, expected at least 1")
        request.check_streamed()
        plan, voice = self.speech.plan(request), self.voice(request.voice)
        conditioning = self.speech.conditioning(request, voice)
        return self._stream(request, plan, voice, conditioning, (first_codes, chunk_codes), cancel)

    def _stream(
        self,
        request: Request,
        plan: Plan,
        voice: Voice,
        conditioning_ND: FloatArray,
        chunks: tuple[int, int],
        cancel: threading.Event | None,
    ) -> Iterator[FloatArray]:
        for segment in plan.segments:
            if segment.index and plan.silence:
                yield np.zeros(plan.silence, np.float32)
            streamed = StreamedSegment(segment, self.dims.audio.sample_rate)
            for wave_S, last in self._chunks(request, segment, voice, conditioning_ND, chunks, cancel):
                if len(ready_S := streamed.add(wave_S, last=last)):
                    yield ready_S

    def _chunks(
        self,
        request: Request,
        segment: Segment,
        voice: Voice,
        conditioning_ND: FloatArray,
        chunks: tuple[int, int],
        cancel: threading.Event | None,
    ) -> Iterator[tuple[FloatArray, bool]]:
        """Final samples of one segment, and whether they are its last."""
        wave = self.speech.wave(request, segment, voice)
        due, least = chunks[0], least_rest(chunks[1])
        with (
            self.speech.decoder.batch([self.speech.row(segment, conditioning_ND)]) as batch,
            batch.growing_latents() as latents,
        ):
            for _ in batch.steps(cancel):
                drawn, over, last = batch.drawn(0), batch.finish[0] is not None, False
                while not last and (found := chunk_end(drawn, over=over, boundary=due, least=least)):
                    end, last = found
                    due = end + chunks[1]
                    frames = self.speech.frames(segment, end, last=last)
                    yield wave.push(batch.codes(0)[:end], latents.of(end), frames, last=last), last

    def _waves(
        self, jobs: Sequence[tuple[Request, Voice, Segment, Decoded]], watch: Stopwatch
    ) -> list[FloatArray]:
        frames = [self.speech.frames(segment, len(decoded.codes_M)) for _, _, segment, decoded in jobs]
        with watch("mel_condition"):
            conditions = self.speech.acoustic.conditions(
                [
                    ConditionJob(d.codes_M, d.latents_MD, n)
                    for (_, _, _, d), n in zip(jobs, frames, strict=True)
                ]
            )
        with watch("flow"):
            flows = []
            for (request, voice, segment, _), condition_Tc, n in zip(jobs, conditions, frames, strict=True):
                steps, guidance = self.speech.flow_options(request)
                flows.append(
                    FlowJob(
                        condition_Tc=[voice.condition_Tc, condition_Tc],
                        prompt_mP=[voice.mel_mT],
                        noise_mT=mel_noise(segment.sampling.seed, segment.index, n, self.dims.audio.n_mels),
                        style_E=voice.style_E,
                        steps=steps,
                        guidance=guidance,
                    )
                )
            mels = self.speech.acoustic.flow(flows)
        with watch("vocoder"):
            waves = self.speech.acoustic.waves(mels)
        return [wave[: segment.samples] for wave, (_, _, segment, _) in zip(waves, jobs, strict=True)]


class Stopwatch:
    """Seconds per stage as the device spends them, summed over its visits. The stages are ranges for a profiler too."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._visits: list[tuple[str, Any, Any]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = self._device.mark()
        try:
            with self._device.section(stage):
                yield
        finally:
            self._visits.append((stage, start, self._device.mark()))

    def seconds(self) -> dict[str, float]:
        """Waits for the last stage."""
        found: dict[str, float] = {}
        for stage, start, end in self._visits:
            found[stage] = found.get(stage, 0.0) + self._device.seconds(start, end)
        return found
