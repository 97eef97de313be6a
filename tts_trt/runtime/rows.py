"""Rows of the decode loop: what is asked of one, how far it has come, and how rows of different length share an array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.errors import SynthesisError, TextError, UsageError
from tts_trt.runtime.device import Array, Tensor
from tts_trt.runtime.repetition import RepetitionGuard
from tts_trt.runtime.sampling import SamplingParams
from tts_trt.runtime.slots import Slots
from tts_trt.spec import Limits

Finish = Literal["stop", "length", "repetition"]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class DecodeRow:
    conditioning_ND: NDArray[np.float32]
    text_L: Ids
    rate: float
    sampling: SamplingParams
    segment: int = 0  # keys the noise, with the seed


class RowState:
    """A row on its way, and the place in which it is decoded."""

    def __init__(self, row: DecodeRow, dims: ModelDims, slots: Slots, place: int, prompt_length: int) -> None:
        self.row, self.slots, self.place, self.prompt_length = row, slots, place, prompt_length
        self.codes: list[int] = []
        self.finish: Finish | None = None
        self.first_D: Tensor | None = None
        """Of exact models: the state that predicts the first code."""
        self._stop, self._guard = dims.gpt.stop_code, RepetitionGuard.of(dims)

    @property
    def codes_M(self) -> Ids:
        return np.array(self.codes[:], np.int64)  # a copy: it may be growing

    def take(self, code: int, finite: bool) -> None:
        """The next draw. SynthesisError when its scores were not numbers."""
        if not finite:
            raise SynthesisError(f"the scores of code {len(self.codes) + 1} are not numbers")
        if code == self._stop:
            self.finish = "stop"
            return
        self.codes.append(code)
        sampling, drawn = self.row.sampling, len(self.codes)
        looping = self._guard.add(code)
        if drawn == sampling.max_codes:
            self.finish = "length"
        elif looping and drawn >= sampling.min_codes:
            self.finish = "repetition"


def padded(rows: Sequence[Array], least: int = 0) -> Array:
    """Rows of different length as one array, zeros after each row's end; at least ``least`` long."""
    longest = max(least, *(len(row) for row in rows))
    made = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype)
    for into, row in zip(made, rows, strict=True):
        into[: len(row)] = row
    return made


def within(row: DecodeRow, dims: ModelDims, limits: Limits) -> DecodeRow:
    """The row with its limit of codes filled in. UsageError for over-long text or more codes than the bundle makes."""
    if not 1 <= len(row.text_L) <= limits.text_of(dims):
        raise TextError(
            f"a segment of {len(row.text_L)} text ids, expected 1 to {limits.text_of(dims)}",
            hint="let the text be split into shorter segments",
        )
    most, asked = limits.codes_of(dims), row.sampling
    if max(asked.min_codes, asked.max_codes or 0) > most:
        raise UsageError(
            f"{max(asked.min_codes, asked.max_codes or 0)} codes are asked for, this bundle makes at most {most} "
            f"({most / dims.codes_per_second:.1f} s) a segment",
            hint="split the text, or build the bundle with more codes",
        )
    return replace(row, sampling=replace(asked, max_codes=asked.max_codes or most))
