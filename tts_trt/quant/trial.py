"""What changed graphs cost: candidates against the FP32 engines over the same codes and the same noise.

Stages before a changed graph give what they gave before, so they are computed once and remembered. Quantised graphs are
run literally: what is judged is the recipe, not the kernels of one CPU library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tts_trt.frontend.opening import open_tokenizer
from tts_trt.models import ModelFolder
from tts_trt.quality.distance import log_spectral_distance_db, mel_distance_db
from tts_trt.quality.forced import Borrowed, Pass, Remembering, Teacher
from tts_trt.quality.numerics import log_softmax
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.engine import Engine, Engines
from tts_trt.runtime.onnx_engine import OrtEngine
from tts_trt.runtime.request import Request
from tts_trt.spec import Limits, graph_specs

POSITIONS = 5
"""Equal parts of an utterance in which the error is told apart."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Damage:
    """Of one candidate, over all utterances. Lists have one value per fifth of the utterance, first to last."""

    steps: int
    top1: float  # share of steps with FP32's best code
    kl: float  # nats a step
    sqnr_db: float  # of the latents, pooled
    mel_db: float
    lsd_db: float
    kl_by_position: tuple[float, ...]
    sqnr_db_by_position: tuple[float, ...]

    @property
    def growth(self) -> float:
        """KL in the last fifth over KL in the first: how much worse it gets along an utterance."""
        return self.kl_by_position[-1] / max(self.kl_by_position[0], 1e-12)


class Trial:
    """Holds the FP32 engines and what they said. ``graphs``: name -> FP32 ONNX file; ``float_type`` of candidates that
    are not FP32 is given with them."""

    def __init__(
        self,
        folder: ModelFolder,
        graphs: Mapping[str, Path],
        requests: Sequence[Request],
        *,
        limits: Limits | None = None,
        threads: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._stack = ExitStack()
        self._threads = threads
        self.dims, self.requests = folder.dims(), list(requests)
        self.specs = graph_specs(self.dims, limits or Limits())
        self._opened = self._stack.enter_context(
            Engines({name: self._open(name, graphs[name]) for name in self.specs})
        )
        self._remembering = {name: Remembering(self._opened[name]) for name in self.specs if name != "gpt"}
        tokenizer = open_tokenizer(folder.tokenizer)
        self._bundle = OpenBundle(self._opened, self.dims, tokenizer, folder.voices, limits or Limits())
        teacher = self._teacher({})
        self.spoken: list[Pass] = []
        for i, request in enumerate(self.requests):
            if progress:
                progress("fp32", i, len(self.requests))
            drawn = teacher.free(request).codes_M
            self.spoken.append(teacher.force(request, drawn))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def damage(self, candidates: Mapping[str, Path], float_type: str = "float32") -> Damage:
        """With these graphs (name -> ONNX file) in place of the FP32 ones."""
        with Engines({name: self._open(name, path, float_type) for name, path in candidates.items()}) as new:
            teacher = self._teacher({name: new[name] for name in candidates})
            passes = [
                teacher.force(request, spoken.codes_M)
                for request, spoken in zip(self.requests, self.spoken, strict=True)
            ]
        return compare(self.spoken, passes, self)

    def _open(self, name: str, path: Path, float_type: str = "float32") -> Engine:
        return OrtEngine(path, self.specs[name], float_type, threads=self._threads, literal=True)

    def _teacher(self, changed: Mapping[str, Engine]) -> Teacher:
        engines = {
            name: changed.get(name) or self._remembering.get(name) or self._opened[name]
            for name in self.specs
        }
        return Teacher(replace(self._bundle, engines=Borrowed(engines)))


def compare(baseline: Sequence[Pass], candidate: Sequence[Pass], trial: Trial) -> Damage:
    kl, same, noise, signal, position = [], [], [], [], []
    mel, lsd = [], []
    audio = trial.dims.audio
    for a, b in zip(baseline, candidate, strict=True):
        p, q = log_softmax(a.logits_MV), log_softmax(b.logits_MV)
        steps = len(a.latents_MD)  # the row that predicts the stop has scores, but no latent
        kl.append(np.sum(np.exp(p) * (p - q), axis=1)[:steps])
        same.append((p.argmax(1) == q.argmax(1))[:steps])
        noise.append(np.sum((b.latents_MD.astype(np.float64) - a.latents_MD) ** 2, axis=1))
        signal.append(np.sum(a.latents_MD.astype(np.float64) ** 2, axis=1))
        position.append(np.arange(steps) * POSITIONS // max(steps, 1))
        mel.append(mel_distance_db(a.mel_mT, b.mel_mT, audio))
        lsd.append(log_spectral_distance_db(a.wave_S, b.wave_S, audio.sample_rate))
    where = np.concatenate(position)
    kls, noises, signals = (np.concatenate(x) for x in (kl, noise, signal))
    fifths = [where == i for i in range(POSITIONS)]
    return Damage(
        steps=len(where),
        top1=float(np.concatenate(same).mean()),
        kl=float(kls.mean()),
        sqnr_db=_db(signals.sum(), noises.sum()),
        mel_db=float(np.mean(mel)),
        lsd_db=float(np.mean(lsd)),
        kl_by_position=tuple(float(kls[part].mean()) for part in fifths),
        sqnr_db_by_position=tuple(_db(signals[part].sum(), noises[part].sum()) for part in fifths),
    )


def _db(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """Capped at 200 dB, which stands for equality."""
    return float(10 * np.log10(max(float(signal), 1e-30) / max(float(noise), 1e-20 * float(signal), 1e-30)))
