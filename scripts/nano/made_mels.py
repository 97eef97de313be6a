"""Mels as the flow makes them of recorded codes, frame by frame beside the recording: what the vocoder hears when the voice speaks.

A vocoder that has only seen the mels of recordings takes what the flow blurs for sound. HiFi-GAN (Kong et al. 2020, section 4.4)
is tuned on such mels for the same reason.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.nano.data import Features, Utterance
from scripts.nano.encoded import Encoded, load_teacher
from scripts.nano.train_flow import MAX_TARGET, Items, LatestGpt, Losses, SoundHead
from tts_trt.dims import ModelDims
from tts_trt.model.cfm import solve
from tts_trt.model.family import MelStage

BATCH = 16
LONGEST = MAX_TARGET // 2
"""Codes of an utterance: longer ones would be cut, and the mel no longer begin where the recording does."""


def cached_made_mels(
    work: Path,
    utterances: list[Utterance],
    features: Features,
    encoded: Encoded,
    pitch: list[np.ndarray],
    count: int,
    dims: ModelDims,
    device: str,
) -> dict[int, NDArray[np.float16]]:
    """Index of an utterance -> its mel (n_mels,T) made by ``flow.pt`` and ``gpt.pt``, of the first ``count`` that are not too long.
    Kept in ``work`` and made anew when a checkpoint is newer."""
    path = work / f"made-mels-{count}.pkl"
    newest = max((work / f"{name}.pt").stat().st_mtime for name in ("flow", "gpt"))
    if path.exists() and path.stat().st_mtime > newest:
        return pickle.loads(path.read_bytes())
    items = Items(dims, utterances, features, encoded, pitch, LatestGpt(work, dims, device))
    fitting = [i for i, codes in enumerate(encoded.codes) if len(codes) <= LONGEST]
    chosen = sorted(fitting[:count], key=lambda i: len(encoded.codes[i]))
    made: dict[int, NDArray[np.float16]] = {}
    maker = _Maker(work, dims, device)
    for first in range(0, len(chosen), BATCH):
        picked = chosen[first : first + BATCH]
        made |= dict(zip(picked, maker(items, picked), strict=True))
        sys.stderr.write(f"\rmels of the flow {len(made)}/{len(chosen)}  ")
    sys.stderr.write("\n")
    temporary = path.with_suffix(".part")
    temporary.write_bytes(pickle.dumps(made, protocol=5))
    os.replace(temporary, path)
    return made


class _Maker:
    def __init__(self, work: Path, dims: ModelDims, device: str) -> None:
        self._dims, self._model = dims, MelStage(dims).to(device).eval()
        self._model.load_state_dict(
            torch.load(work / "flow.pt", map_location="cpu", weights_only=True)["model"]
        )
        self._losses = Losses(self._model, load_teacher(work, dims).codec.to(device), SoundHead(dims))

    @torch.inference_mode()
    def __call__(self, items: Items, picked: list[int]) -> list[NDArray[np.float16]]:
        item = items.make(picked)
        flow = self._dims.flow
        mels = solve(
            self._model.cfm.estimator, self._losses.condition(item), item.target, item.prompt_lengths, item.lengths,
            item.style, torch.randn_like(item.target), flow.steps, torch.full((len(picked),), flow.guidance),
        )  # fmt: skip
        return [
            mel[:, before:after].half().numpy()
            for mel, before, after in zip(
                mels, item.prompt_lengths.tolist(), item.lengths.tolist(), strict=True
            )
        ]
