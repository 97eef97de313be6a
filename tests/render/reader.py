"""A reader whose sound is made of syllables, for whatever listens to speech; it can be told to spoil some of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cache

import numpy as np

from tests.quality.synthetic import CODES_PER_SECOND, RATE, segment, speech
from tts_trt.choice import Offer
from tts_trt.errors import SynthesisError
from tts_trt.quality.qc import Thresholds
from tts_trt.quality.qc_thresholds import Limit, Source, derive
from tts_trt.render.speakers import Speaker
from tts_trt.render.takes import Inspector
from tts_trt.runtime.decode import Finish
from tts_trt.runtime.request import Request, Result, SegmentInfo

Spoil = Callable[[np.ndarray, int], np.ndarray]
SECONDS = 2.4


@cache
def limits() -> Thresholds:
    source = Source(model="sounds", bundle="made", weights_sha256="0" * 64, date=date(2026, 1, 1))
    made = derive([[segment(2 * n), segment(2 * n + 1)] for n in range(16)], source)
    tempo: dict[str, Limit | None] = {"too_fast": None, "too_slow": None}  # its words have no natural length
    return made.model_copy(update={"limits": made.limits | tempo})


def clean(seed: int) -> np.ndarray:
    """Speech that quality control has nothing against."""
    return speech(100 + seed % 6)


def inspector() -> Inspector:
    return Inspector(limits(), "anna", lambda text: SECONDS)


class Reader:
    """``spoil`` changes the nth wave; ``asked`` are all requests. One that is None fails to speak."""

    def __init__(self, spoil: dict[int, Spoil | None] | None = None, finish: Finish = "stop") -> None:
        self.spoil, self.finish = spoil or {}, finish
        self.asked: list[Request] = []

    def synthesize(self, request: Request) -> Result:
        assert request.sampling is not None
        number = len(self.asked)
        self.asked.append(request)
        wave_S = clean(request.sampling.seed)
        if number in self.spoil:
            change = self.spoil[number]
            if change is None:
                raise SynthesisError("segment 1 is silent")
            wave_S = change(wave_S, RATE)
        codes = np.random.default_rng(number).integers(0, 500, round(len(wave_S) / RATE * CODES_PER_SECOND))
        info = SegmentInfo(request.text, 0.0, len(wave_S) / RATE, len(codes), self.finish, 1.0)
        return Result(wave_S, RATE, (codes,), (info,), {"flow": 0.1})


def speaker(reader: Reader, precision: str = "int8") -> Speaker:
    name = f"nano-{precision}"
    return Speaker(Offer(name, None, precision, "onnxruntime", "nano", "w", f"hash of {precision}"), reader)  # type: ignore[arg-type]


def hole(wave_S: np.ndarray, rate: int) -> np.ndarray:
    """A tenth of a second of zeros in the loudest part."""
    made = wave_S.copy()
    first = int(np.abs(made[rate // 2 : -rate // 2]).argmax()) + rate // 2
    made[first : first + rate // 10] = 0
    return made


def leaning(wave_S: np.ndarray, rate: int) -> np.ndarray:
    """A constant offset, one fault."""
    return wave_S + np.float32(0.02)


def ruin(wave_S: np.ndarray, rate: int) -> np.ndarray:
    """Faded out, with a hole, a click and hiss."""
    made = hole(wave_S * np.linspace(1, 0.01, len(wave_S), dtype=np.float32), rate)
    made[rate] += 0.7
    return made + np.random.default_rng(0).normal(0, 0.01, len(made)).astype(np.float32)
