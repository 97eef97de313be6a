"""Codes to wave: mel condition, flow, vocoder. Every call takes a list of rows and runs them as one batch.

Legend: B rows, M codes, T mel frames, P prompt frames (reference, or reference and what was already said), m mel bins,
c condition channels, D latent width, S samples. Rows differ in length; each comes back at its own.
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
from tts_trt.runtime.engine import Engines

FloatArray = NDArray[np.float32]

FEWEST_FRAMES = 4
"""Lower end of the frame axis in the graph contracts; shorter rows are padded up to it."""


@dataclass(frozen=True)
class ConditionJob:
    codes_M: NDArray[np.int64]
    latents_MD: FloatArray | None  # None: a reference's own codes
    frames: int  # mel frames to stretch the codes to


@dataclass(frozen=True)
class FlowJob:
    condition_Tc: FloatArray  # of prompt and target frames
    prompt_mP: FloatArray
    noise_mT: FloatArray  # of the target frames
    style_E: FloatArray
    steps: int
    guidance: float


class Acoustic:
    def __init__(self, engines: Engines, dims: ModelDims) -> None:
        self._engines, self.dims = engines, dims

    def frames(self, codes: int) -> int:
        """floor(frames_per_code * codes) in float32, as the reference computes it; at least 1."""
        return max(1, math.floor(np.float32(self.dims.frames_per_code) * np.float32(codes)))

    def conditions(self, jobs: Sequence[ConditionJob]) -> list[FloatArray]:
        """-> (frames,c) per row."""
        width = self.dims.gpt.dim
        plain = [np.zeros((len(job.codes_M), width), np.float32) for job in jobs]
        latents = [
            zeros if job.latents_MD is None else job.latents_MD
            for job, zeros in zip(jobs, plain, strict=True)
        ]
        out = self._engines["mel_condition"].run(
            {
                "codes": padded([job.codes_M for job in jobs]),
                "latents": padded(latents),
                "latent_scale": np.array([float(job.latents_MD is not None) for job in jobs], np.float32),
                "source_index": padded(
                    [nearest_index(len(j.codes_M), j.frames) for j in jobs], FEWEST_FRAMES
                ),
                "target_lengths": np.array([job.frames for job in jobs], np.int64),
            }
        )
        return [row[: job.frames] for row, job in zip(out["condition"], jobs, strict=True)]

    def flow(self, jobs: Sequence[FlowJob]) -> list[FloatArray]:
        """-> mel (m,T) of the target frames per row. Rows may take different numbers of Euler steps."""
        prompts = [job.prompt_mP.shape[1] for job in jobs]
        lengths = [len(job.condition_Tc) for job in jobs]
        noise = [np.pad(job.noise_mT, ((0, 0), (p, 0))).T for job, p in zip(jobs, prompts, strict=True)]
        prompt_BmT = padded(
            [_stretched(job.prompt_mP.T, n) for job, n in zip(jobs, lengths, strict=True)], FEWEST_FRAMES
        )
        fixed = {
            "condition": padded([job.condition_Tc for job in jobs], FEWEST_FRAMES),
            "prompt": np.ascontiguousarray(prompt_BmT.transpose(0, 2, 1)),
            "style": np.stack([job.style_E for job in jobs]),
            "lengths": np.array(lengths, np.int64),
            "prompt_lengths": np.array(prompts, np.int64),
            "guidance": np.array([job.guidance for job in jobs], np.float32),
        }
        x_BmT = np.ascontiguousarray(padded(noise, FEWEST_FRAMES).transpose(0, 2, 1))
        t_BK, dt_BK = _grids([job.steps for job in jobs])
        step = self._engines["flow_step"]
        for t_B, dt_B in zip(t_BK.T, dt_BK.T, strict=True):
            x_BmT = step.run({"x": x_BmT, "t": t_B, "dt": dt_B, **fixed})["x_out"]
        return [row[:, p:n] for row, p, n in zip(x_BmT, prompts, lengths, strict=True)]

    def waves(self, mels: Sequence[FloatArray]) -> list[FloatArray]:
        """(m,T) per row -> (T*hop) samples per row."""
        lengths = [mel.shape[1] for mel in mels]
        mel_BTm = padded([mel.T for mel in mels], FEWEST_FRAMES)
        wave_BS = self._engines["vocoder"].run(
            {"mel": np.ascontiguousarray(mel_BTm.transpose(0, 2, 1)), "lengths": np.array(lengths, np.int64)}
        )["wave"]
        return [row[: n * self.dims.audio.hop].copy() for row, n in zip(wave_BS, lengths, strict=True)]


def _stretched(rows: FloatArray, length: int) -> FloatArray:
    return np.pad(rows, ((0, length - len(rows)), (0, 0)))


def _grids(steps: Sequence[int]) -> tuple[FloatArray, FloatArray]:
    """Times and step sizes (B,K); a row with fewer steps ends on steps of size 0, which leave it as it is."""
    grids = [time_grid(count) for count in steps]
    return padded([t for t, _ in grids]), padded([dt for _, dt in grids])
