"""Everything that is measured, item by item, each kept as soon as it is finished.

    said       (bundle, seeds, line)            speech of its own, as FLAC
    likeness   (baseline, said)                 the baseline's style encoder compares it with the voice asked for
    heard      (said, ears)                     what a listener and the measures of one wave find in it
    checked    (said, limits)                   what quality control finds in it, where the model has limits
    forced     (baseline, candidate, line)      the same codes and noise through both
    cost       (all bundles)                    time and memory in turn

S samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tts_trt.atomic import write_atomic
from tts_trt.errors import SynthesisError, UsageError
from tts_trt.frontend.features import FBANK_RATE, style_features
from tts_trt.quality.mels import mel_gap
from tts_trt.quality.qc import Thresholds
from tts_trt.quality.speech import resampled
from tts_trt.report.distances import Pair, measure
from tts_trt.report.forced import Baseline, Candidate
from tts_trt.report.journal import Journal, key_of, load_wave, save_wave
from tts_trt.report.lines import Line, turns
from tts_trt.report.listening import Ears, findings, listen
from tts_trt.report.picture import heat_map
from tts_trt.report.subjects import Subject
from tts_trt.report.workers import Workers
from tts_trt.runtime.device import Array
from tts_trt.runtime.synthesizer import Synthesizer

Progress = Callable[[str, int, int], None]
Cost = Callable[[Sequence[Subject]], dict[str, Any]]
SHORTEST_S = 0.2
"""Of speech, to compare its timbre."""


@dataclass(frozen=True)
class Plan:
    """``forced``: how many of the lines, from the first, are compared over the same codes."""

    lines: tuple[Line, ...]
    forced: int
    ears: Ears
    limits: Thresholds | None = None
    threads: int = 0
    device: str = "auto"


class Evidence:
    """Makes what is missing from the journal and gives out what is there. ``subjects``: the baseline first."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        plan: Plan,
        journal: Journal,
        workers: Workers,
        progress: Progress = lambda phase, done, total: None,
    ) -> None:
        self.subjects, self.plan, self.journal = list(subjects), plan, journal
        self._workers, self._progress = workers, progress
        self._machine = {"threads": plan.threads, "device": plan.device}

    @property
    def baseline(self) -> Subject:
        return self.subjects[0]

    def collect(self, cost: Cost | None = None) -> None:
        """Cost first, while nothing else runs."""
        self._cost(cost)
        self._free()
        self._forced()
        self._workers.finish()

    # keys

    def said_key(self, subject: Subject, line: Line) -> str:
        return key_of(
            "said", of=subject.identity, offset=subject.seed_offset, line=line.to_json(), **self._machine
        )

    def likeness_key(self, said: str) -> str:
        return key_of("likeness", by=self.baseline.identity, said=said)

    def heard_key(self, said: str) -> str:
        return key_of("heard", said=said, ears=asdict(self.plan.ears))

    def checked_key(self, said: str) -> str:
        limits = self.plan.limits
        return key_of("checked", said=said, limits=limits.model_dump(mode="json") if limits else None)

    def forced_key(self, subject: Subject, line: Line) -> str:
        both = [self.baseline.identity, subject.identity, subject.again]
        return key_of("forced", of=both, line=line.to_json(), **self._machine)

    def base_wave_key(self, line: Line) -> str:
        return key_of("base", of=self.baseline.identity, line=line.to_json(), **self._machine)

    def cost_key(self) -> str:
        return key_of("cost", of=[s.identity for s in self.measured()], **self._machine)

    def measured(self) -> list[Subject]:
        """Those with a cost of their own."""
        return [subject for subject in self.subjects if not subject.again]

    # making

    def _cost(self, cost: Cost | None) -> None:
        if cost is not None and self.cost_key() not in self.journal:
            self.journal.add(self.cost_key(), cost(self.measured()))

    def _free(self) -> None:
        named = {subject.name: subject for subject in self.subjects}
        lines, total = self.plan.lines, len(self.plan.lines) * len(named)
        for done, (n, name) in enumerate(turns(list(named), len(lines))):
            self._progress("speaking and listening", done, total)
            self._speak(named[name], lines[n])

    def _speak(self, subject: Subject, line: Line) -> None:
        journal, key = self.journal, self.said_key(subject, line)
        if key not in journal or not ("failed" in journal[key] or journal.wave(key).exists()):
            said, wave_S = say(subject, line)
            if wave_S is not None:
                save_wave(journal.wave(key), wave_S, subject.tts.dims.audio.sample_rate)
            journal.add(key, said)
        if "failed" in journal[key]:
            return
        if (like := self.likeness_key(key)) not in journal:
            voice_E = self.baseline.tts.voice(line.voice).style_E
            journal.add(like, likeness(self.baseline.tts, *load_wave(journal.wave(key)), voice_E))
        if (heard := self.heard_key(key)) not in journal:
            self._workers.submit(
                lambda value: journal.add(heard, value),
                listen, journal.wave(key), line.text, journal[key]["codes"], self.plan.ears,
            )  # fmt: skip
        self._check(key, line)

    def _check(self, said: str, line: Line) -> None:
        """Limits are those of single segments."""
        item, key = self.journal[said], self.checked_key(said)
        if self.plan.limits is None or item["segments"] != 1 or key in self.journal:
            return
        tokenizer = self.baseline.tts.bundle.tokenizer
        expected = tokenizer.natural_seconds(tokenizer.normalise(line.text)) / line.rate
        self._workers.submit(
            lambda value: self.journal.add(key, value),
            findings, self.journal.wave(said), line, item["codes"], expected, self.plan.limits,
        )  # fmt: skip

    def _forced(self) -> None:
        baseline = Baseline(self.baseline.tts.bundle)
        candidates = {s.name: Candidate(baseline, s.tts.bundle) for s in self.subjects[1:]}
        lines = self.plan.lines[: self.plan.forced]
        for n, line in enumerate(lines):
            for k, subject in enumerate(self.subjects[1:]):
                self._progress("the same codes", n * len(candidates) + k, len(lines) * len(candidates))
                if (key := self.forced_key(subject, line)) not in self.journal:
                    self._compare(key, candidates[subject.name], line)

    def _compare(self, key: str, candidate: Candidate, line: Line) -> None:
        pair = candidate.pair(line)
        if not isinstance(pair, Pair):
            self.journal.add(key, pair)
            return
        rate = pair.audio.sample_rate
        try:
            gap_mT = mel_gap(pair.baseline.mel_mT, pair.candidate.mel_mT, pair.audio)
        except UsageError as error:  # values that are not numbers
            self.journal.add(key, {"failed": str(error)})
            return
        save_wave(self.journal.wave(self.base_wave_key(line)), pair.baseline.wave_S, rate)
        save_wave(self.journal.wave(key), pair.candidate.wave_S, rate)
        write_atomic(self.journal.picture(key), [heat_map(gap_mT)])
        self._workers.submit(lambda value: self.journal.add(key, value), measure, pair)


def say(subject: Subject, line: Line) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """One line as the subject says it by itself: what is known without listening, and the wave."""
    began = time.perf_counter()
    try:
        result = subject.tts.synthesize(line.request(subject.tts.dims, subject.seed_offset))
    except SynthesisError as error:
        return {"failed": str(error)}, None
    return {
        "seconds": result.seconds,
        "took": time.perf_counter() - began,
        "codes": [int(code) for part in result.codes for code in part],
        "segments": len(result.segments),
        "finish": next((s.finish for s in result.segments if s.finish != "stop"), "stop"),
    }, result.wave


def likeness(
    judge: Synthesizer, wave_S: NDArray[np.float32], rate: int, voice_E: NDArray[np.float32]
) -> float | None:
    """Cosine of the style embedding of what was said and that of the voice's recording, -1 to 1; None for hardly anything
    said."""
    if len(wave_S) < SHORTEST_S * rate:
        return None
    fbank = style_features(resampled(wave_S, rate, FBANK_RATE))
    fed: dict[str, Array] = {"fbank": fbank[None], "lengths": np.array([len(fbank)], np.int64)}
    said_E = judge.engines["style_encoder"].run(fed)["style"][0].astype(np.float64)
    lengths = float(np.linalg.norm(said_E) * np.linalg.norm(voice_E))
    return float(said_E @ voice_E) / lengths if lengths > 0 else None
