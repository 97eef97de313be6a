"""Euler steps of the flow: rows that share the steps of a batch, each at a time of its own.

    row     noise at t = 0  ->  step  ->  step  ->  ...  ->  mel at t = 1
    batch   rows of like length, stepped together; its members may change between any two steps

Legend: B rows, T frames of prompt and target, P prompt frames, m mel bins, c condition channels, K steps, E style width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.frontend.timing import time_grid
from tts_trt.runtime.device import Array, Device, Tensor
from tts_trt.runtime.engine import Engine
from tts_trt.runtime.rows import padded

FloatArray = NDArray[np.float32]
Rows = Array | Tensor
"""On the host or on the device."""

FEWEST_FRAMES = 4
"""Lower end of the frame axis in the graph contracts; shorter rows are padded up to it."""

ALIGNED_FLOATS = 64  # 256 bytes

BUCKETS_PER_OCTAVE = 8
"""Of frames: rows of one bucket differ by less than an eighth, so that padding costs less than that."""


@dataclass(frozen=True)
class FlowJob:
    """The condition and the prompt come in parts, which follow each other in time."""

    condition_Tc: Sequence[Rows]  # of prompt and target frames
    prompt_mP: Sequence[Rows]
    noise_mT: FloatArray  # of the target frames
    style_E: FloatArray
    steps: int
    guidance: float

    @property
    def prompt_frames(self) -> int:
        return sum(part.shape[1] for part in self.prompt_mP)

    @property
    def frames(self) -> int:
        return sum(part.shape[0] for part in self.condition_Tc)


def bucket(frames: int) -> int:
    """The length to which rows of about this many frames are padded when they meet in a batch."""
    size = max(1, 1 << max(0, frames.bit_length() - 1 - BUCKETS_PER_OCTAVE.bit_length() + 1))
    return max(FEWEST_FRAMES, -(-frames // size) * size)


class FlowRow:
    """One job on the device, ``taken`` steps on its way. Tensors have a leading axis of 1."""

    def __init__(self, job: FlowJob, device: Device, dims: ModelDims, frames: int) -> None:
        """``frames``: to pad to."""
        self.job, self.taken, self.width = job, 0, frames
        self.condition_1Tc = device.zeros((1, frames, dims.regulator.channels), np.float32)
        self.prompt_1mT, self.x_1mT = (
            device.zeros((1, dims.audio.n_mels, frames), np.float32) for _ in range(2)
        )
        _in_a_row(self.condition_1Tc[0], job.condition_Tc, 0)
        _in_a_row(self.prompt_1mT[0], job.prompt_mP, 1)
        device.write(self.x_1mT[0, :, job.prompt_frames : job.frames], job.noise_mT)

    @property
    def done(self) -> bool:
        return self.taken >= self.job.steps

    @property
    def mel_mT(self) -> Tensor:
        """Of the target frames."""
        return self.x_1mT[0, :, self.job.prompt_frames : self.job.frames]


class EulerBatch:
    """Rows that step together from where each of them is. Their ``x`` are views of the batch's after every step."""

    def __init__(self, engine: Engine, rows: Sequence[FlowRow]) -> None:
        self.rows, self._engine, self._device = list(rows), engine, engine.device
        jobs, upload = [row.job for row in rows], engine.device.upload
        self._x_BmT = self._together([row.x_1mT for row in rows], 2)
        self._fixed = {
            "condition": self._together([row.condition_1Tc for row in rows], 1),
            "prompt": self._together([row.prompt_1mT for row in rows], 2),
            "style": upload(np.stack([job.style_E for job in jobs])),
            "lengths": upload(np.array([job.frames for job in jobs], np.int64)),
            "prompt_lengths": upload(np.array([job.prompt_frames for job in jobs], np.int64)),
            "guidance": upload(np.array([job.guidance for job in jobs], np.float32)),
        }
        self._times = upload(_grids([job.steps for job in jobs], [row.taken for row in rows]))
        self._taken = 0

    def step(self) -> None:
        """One step of every row; rows that are done stay as they are."""
        t_B, dt_B = (self._times[i, self._taken, : len(self.rows)] for i in range(2))
        self._x_BmT = self._engine.launch({"x": self._x_BmT, "t": t_B, "dt": dt_B, **self._fixed})["x_out"]
        self._taken += 1
        for b, row in enumerate(self.rows):
            row.taken += 1
            row.x_1mT = self._x_BmT[b : b + 1, :, : row.width]

    def _together(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Along the batch, padded with zeros to the longest."""
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[0], shape[axis] = len(parts), max(part.shape[axis] for part in parts)
        whole = self._device.zeros(shape, np.float32)
        for b, part in enumerate(parts):
            size = part.shape[axis]
            self._device.copy(whole[b, :size] if axis == 1 else whole[b, :, :size], part[0])
        return whole


def _in_a_row(target: Tensor, parts: Sequence[Rows], axis: int) -> None:
    """Parts of a matrix one after the other along an axis, from its start."""
    first = 0
    for part in parts:
        last = first + part.shape[axis]
        if last > first:
            place = target[:, first:last] if axis else target[first:last]
            target.device.put(place, part)
        first = last


def _grids(steps: Sequence[int], taken: Sequence[int]) -> FloatArray:
    """Times and step sizes (2,K,B') of what is left, B' the rows rounded up so that every step's values begin where
    TensorRT wants them; a row with fewer steps ends on steps of size 0, which leave it as it is."""
    grids = [[part[n:] for part in time_grid(count)] for count, n in zip(steps, taken, strict=True)]
    both_2BK = np.stack([padded([t for t, _ in grids]), padded([dt for _, dt in grids])])
    aligned = -(-len(steps) // ALIGNED_FLOATS) * ALIGNED_FLOATS
    made = np.zeros((2, both_2BK.shape[2], aligned), np.float32)
    made[:, :, : len(steps)] = both_2BK.transpose(0, 2, 1)
    return made
