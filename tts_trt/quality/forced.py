"""The whole pipeline over a given code sequence: what one precision does to scores, states, mel and wave.

The sampler is left no choice, everything else is the real path, exact models' second pass included. With the same codes
and the same noise two sets of engines differ by their arithmetic alone.

M codes, V codes in the vocabulary, D model width, m mel bins, T mel frames, S samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tts_trt.errors import UsageError
from tts_trt.runtime.bundle import OpenBundle
from tts_trt.runtime.device import Array, Tensor
from tts_trt.runtime.engine import Arrays, Engine, Engines, Tensors
from tts_trt.runtime.request import Request
from tts_trt.runtime.synthesizer import Synthesizer
from tts_trt.runtime.tap import TappedEngine
from tts_trt.spec import graph_specs

FloatArray = NDArray[np.float32]

FORCE = 1e4  # logit of the code the sampler is made to draw


@dataclass(frozen=True)
class Pass:
    """One utterance through the pipeline."""

    codes_M: NDArray[np.int64]
    logits_MV: FloatArray  # (M+1,V): before each code and after the last
    latents_MD: FloatArray
    mel_mT: FloatArray
    wave_S: FloatArray


class Borrowed(Engines):
    """Engines that belong to somebody else, who closes them."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        super().__init__({})
        self._engines = dict(engines)


class Teacher:
    """Speaks freely or over given codes, and keeps what passes between the stages. Texts of one segment only."""

    def __init__(self, bundle: OpenBundle) -> None:
        self._codes: Sequence[int] | None = None
        self._logits: list[Array] = []
        self._latents: Array | None = None
        self._mel: Array | None = None
        names = graph_specs(bundle.dims, bundle.limits)
        taps = {
            "sampler": TappedEngine(bundle.engines["sampler"], change=self._score),
            "mel_condition": TappedEngine(bundle.engines["mel_condition"], seen=self._see_condition),
            "vocoder": TappedEngine(bundle.engines["vocoder"], seen=self._see_mel),
        }
        engines: dict[str, Engine] = {name: taps.get(name) or bundle.engines[name] for name in names}
        self.synthesizer = Synthesizer(replace(bundle, engines=Borrowed(engines)))

    def free(self, request: Request) -> Pass:
        return self._run(request, None)

    def force(self, request: Request, codes: Sequence[int] | NDArray[np.int64]) -> Pass:
        return self._run(request, [int(code) for code in codes])

    def _run(self, request: Request, codes: Sequence[int] | None) -> Pass:
        self._codes, self._logits = codes, []
        result = self.synthesizer.synthesize(request)
        if len(result.codes) != 1 or self._latents is None or self._mel is None:
            raise UsageError(f"{request.text[:40]!r} is {len(result.codes)} segments, expected one")
        made = result.codes[0]
        logits = np.concatenate(self._logits)[: len(made) + 1]
        return Pass(made, logits, self._latents, self._mel[0], result.wave)

    def _score(self, inputs: Arrays) -> Arrays:
        self._logits.append(inputs["logits"].astype(np.float32))
        if self._codes is None:
            return inputs
        step = int(inputs["step"][0])
        logits = np.zeros_like(inputs["logits"])
        if step < len(self._codes):
            logits[:, self._codes[step]] = FORCE
        free = {"temperature": 0.0, "top_k": 1, "penalty": 1.0, "min_codes": 0, "max_codes": len(self._codes)}
        fixed = {name: np.full_like(inputs[name], value) for name, value in free.items()}
        return {**inputs, **fixed, "logits": logits, "seen": np.zeros_like(inputs["seen"])}

    def _see_condition(self, inputs: Arrays, outputs: dict[str, Array]) -> None:
        if inputs["latent_scale"][0]:  # a reference's own codes have no latents
            self._latents = inputs["latents"][0].copy()

    def _see_mel(self, inputs: Arrays, outputs: dict[str, Array]) -> None:
        self._mel = inputs["mel"][:, :, : int(inputs["lengths"][0])].copy()


class Remembering(TappedEngine):
    """An engine that answers a question it was asked before from memory. For graphs without state: comparing many
    candidates, the stages before the changed one are computed once."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._known: dict[bytes, dict[str, Tensor]] = {}

    def answer(self, inputs: Arrays, caches: Tensors) -> dict[str, Tensor]:
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(inputs):
            digest.update(np.ascontiguousarray(inputs[name]).data)
        key = digest.digest()
        if key not in self._known:
            self._known[key] = self.inner.launch(inputs)
        return self._known[key]
