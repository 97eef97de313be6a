"""Codes to wave: mel condition, flow, vocoder. Every call takes a list of rows and runs them as one batch.

Legend: B rows, M codes, T mel frames, m mel bins, c condition channels, D latent width, S samples. Rows differ in length; each comes back at its own. What a stage leaves on
the device the next one reads there: between the codes and the wave nothing visits the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tts_trt.dims import ModelDims
from tts_trt.frontend.timing import nearest_index
from tts_trt.runtime.device import Device, Tensor
from tts_trt.runtime.engine import Engines
from tts_trt.runtime.flow import FEWEST_FRAMES, EulerBatch, FlowJob, FlowRow, Rows
from tts_trt.runtime.rows import padded

__all__ = ["FEWEST_FRAMES", "Acoustic", "ConditionJob", "FlowJob", "Rows"]

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ConditionJob:
    codes_M: NDArray[np.int64]
    latents_MD: Rows | None  # None: a reference's own codes
    frames: int  # mel frames to stretch the codes to


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
        rows = [self.row(job) for job in jobs]
        batch = self.together(rows)
        for _ in range(max(job.steps for job in jobs)):
            batch.step()
        return [row.mel_mT for row in rows]

    def row(self, job: FlowJob, frames: int = 0) -> FlowRow:
        """A row before its first step, padded to at least ``frames``."""
        return FlowRow(job, self.device, self.dims, max(FEWEST_FRAMES, frames, job.frames))

    def together(self, rows: Sequence[FlowRow]) -> EulerBatch:
        """Rows at any times, to be stepped together."""
        return EulerBatch(self._engines["flow_step"], rows)

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
