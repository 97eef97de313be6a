"""Codes to wave: mel condition, flow, vocoder. Every call takes a list of rows and runs them as one batch.

Legend: B rows, M codes, T mel frames, P prompt frames (reference, or reference and what was already said), m mel bins,
c condition channels, D latent width, S samples. Rows differ in length; each comes back at its own. What a stage leaves on
the device the next one reads there: between the codes and the wave nothing visits the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.frontend.timing import nearest_index, time_grid
from tts_trt.runtime.decode import padded
from tts_trt.runtime.device import Array, Device, Tensor
from tts_trt.runtime.engine import Engines

FloatArray = NDArray[np.float32]
Rows = Array | Tensor
"""On the host or on the device."""

FEWEST_FRAMES = 4
"""Lower end of the frame axis in the graph contracts; shorter rows are padded up to it."""

ALIGNED_FLOATS = 64  # 256 bytes


@dataclass(frozen=True)
class ConditionJob:
    codes_M: NDArray[np.int64]
    latents_MD: Rows | None  # None: a reference's own codes
    frames: int  # mel frames to stretch the codes to


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


class Acoustic:
    def __init__(self, engines: Engines, dims: ModelDims) -> None:
        self._engines, self.dims = engines, dims

    @property
    def device(self) -> Device:
        return self._engines["flow_step"].device

    def frames(self, codes: int) -> int:
        """floor(frames_per_code * codes) in float32, as the reference computes it; at least 1."""
        return max(1, math.floor(np.float32(self.dims.frames_per_code) * np.float32(codes)))

    def conditions(self, jobs: Sequence[ConditionJob]) -> list[Tensor]:
        """-> (frames,c) per row."""
        most = max(len(job.codes_M) for job in jobs)
        latents_BMD = self.device.zeros((len(jobs), most, self.dims.gpt.dim), np.float32)
        for b, job in enumerate(jobs):
            if job.latents_MD is not None:
                self.device.put(latents_BMD[b, : len(job.codes_M)], job.latents_MD)
        out = self._engines["mel_condition"].launch(
            {
                "codes": padded([job.codes_M for job in jobs]),
                "latents": latents_BMD,
                "latent_scale": np.array([float(job.latents_MD is not None) for job in jobs], np.float32),
                "source_index": padded(
                    [nearest_index(len(j.codes_M), j.frames) for j in jobs], FEWEST_FRAMES
                ),
                "target_lengths": np.array([job.frames for job in jobs], np.int64),
            }
        )
        return [out["condition"][b, : job.frames] for b, job in enumerate(jobs)]

    def flow(self, jobs: Sequence[FlowJob]) -> list[Tensor]:
        """-> mel (m,T) of the target frames per row. Rows may take different numbers of Euler steps."""
        device, mels, most = (
            self.device,
            self.dims.audio.n_mels,
            max(FEWEST_FRAMES, *(job.frames for job in jobs)),
        )
        condition_BTc = device.zeros((len(jobs), most, self.dims.regulator.channels), np.float32)
        prompt_BmT = device.zeros((len(jobs), mels, most), np.float32)
        x_BmT = device.zeros((len(jobs), mels, most), np.float32)
        for b, job in enumerate(jobs):
            _in_a_row(condition_BTc[b], job.condition_Tc, 0)
            _in_a_row(prompt_BmT[b], job.prompt_mP, 1)
            device.write(x_BmT[b, :, job.prompt_frames : job.frames], job.noise_mT)
        fixed = {
            "condition": condition_BTc,
            "prompt": prompt_BmT,
            "style": device.upload(np.stack([job.style_E for job in jobs])),
            "lengths": device.upload(np.array([job.frames for job in jobs], np.int64)),
            "prompt_lengths": device.upload(np.array([job.prompt_frames for job in jobs], np.int64)),
            "guidance": device.upload(np.array([job.guidance for job in jobs], np.float32)),
        }
        times = device.upload(_grids([job.steps for job in jobs]))
        step = self._engines["flow_step"]
        for k in range(times.shape[1]):
            t_B, dt_B = (times[i, k, : len(jobs)] for i in range(2))
            x_BmT = step.launch({"x": x_BmT, "t": t_B, "dt": dt_B, **fixed})["x_out"]
        return [x_BmT[b, :, job.prompt_frames : job.frames] for b, job in enumerate(jobs)]

    def waves(self, mels: Sequence[Rows]) -> list[FloatArray]:
        """(m,T) per row -> (T*hop) samples per row, on the host."""
        lengths = [mel.shape[1] for mel in mels]
        shape = (len(mels), self.dims.audio.n_mels, max(FEWEST_FRAMES, *lengths))
        mel_BmT = self.device.zeros(shape, np.float32)
        for b, mel_mT in enumerate(mels):
            self.device.put(mel_BmT[b, :, : lengths[b]], mel_mT)
        out = self._engines["vocoder"].launch({"mel": mel_BmT, "lengths": np.array(lengths, np.int64)})
        wave_BS = out["wave"].numpy()
        return [row[: n * self.dims.audio.hop].copy() for row, n in zip(wave_BS, lengths, strict=True)]


def _in_a_row(target: Tensor, parts: Sequence[Rows], axis: int) -> None:
    """Parts of a matrix one after the other along an axis, from its start."""
    first = 0
    for part in parts:
        last = first + part.shape[axis]
        if last > first:
            place = target[:, first:last] if axis else target[first:last]
            target.device.put(place, part)
        first = last


def _grids(steps: Sequence[int]) -> FloatArray:
    """Times and step sizes (2,K,B'), B' the rows rounded up so that every step's values begin where TensorRT wants them;
    a row with fewer steps ends on steps of size 0, which leave it as it is."""
    grids = [time_grid(count) for count in steps]
    both_2BK = np.stack([padded([t for t, _ in grids]), padded([dt for _, dt in grids])])
    aligned = -(-len(steps) // ALIGNED_FLOATS) * ALIGNED_FLOATS
    made = np.zeros((2, both_2BK.shape[2], aligned), np.float32)
    made[:, :, : len(steps)] = both_2BK.transpose(0, 2, 1)
    return made
