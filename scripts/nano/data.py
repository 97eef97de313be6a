"""The rendered corpus in memory: waves, features, voices, phones.

N utterances; T rows of one code each; frames: two mel frames a row.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tts_trt.dims import ModelDims
from tts_trt.frontend.features import log_mel, seamless_features, style_features

VOICES = ("slt", "rms", "awb", "kal16")
ACTED = ("happy", "angry", "sad", "calm")
BESIDES = 40  # rows that an utterance costs whatever its length: its text, its references
FRAME_RATE = 50.0  # mel frames a second
PART = 250  # utterances a process turns into features at a time


@dataclass(frozen=True)
class Utterance:
    wave: np.ndarray  # (S) int16
    text: str
    ids: list[int]
    voice: int
    emotion: int
    rate: float
    phones: list[list[Any]]  # [name, end seconds]
    phone_index: list[int]

    @property
    def seconds(self) -> float:
        return len(self.wave) / 16000

    def float_wave(self) -> np.ndarray:
        return self.wave.astype(np.float32) / 32768


def load_corpus(folder: Path, limit: int | None = None) -> list[Utterance]:
    utterances: list[Utterance] = []
    for meta_path in sorted(folder.glob("shard-*.jsonl")):
        arrays = np.load(meta_path.with_suffix(".npz"))
        audio, offsets = arrays["audio"], arrays["offsets"]
        for i, line in enumerate(meta_path.read_text().splitlines()):
            meta = json.loads(line)
            utterances.append(
                Utterance(
                    audio[offsets[i] : offsets[i + 1]],
                    meta["text"],
                    meta["ids"],
                    VOICES.index(meta["voice"]),
                    ACTED.index(meta["emotion"]),
                    meta["rate"],
                    meta["phones"],
                    meta["phone_index"],
                )
            )
            if limit and len(utterances) >= limit:
                return utterances
    if not utterances:
        raise SystemExit(f"no corpus in {folder}; run python -m scripts.nano.corpus --out {folder} first")
    return utterances


def phone_at(utterance: Utterance, rows: int, per_second: float) -> np.ndarray:
    """(rows) index into ``phones`` of the segment spoken at the middle of each row."""
    ends = np.array([end for _, end in utterance.phones])
    middle = (np.arange(rows) + 0.5) / per_second
    return np.minimum(np.searchsorted(ends, middle, side="right"), len(ends) - 1)


def phone_names(utterances: list[Utterance]) -> dict[str, int]:
    return {name: i for i, name in enumerate(sorted({name for u in utterances for name, _ in u.phones}))}


def phones_of(utterance: Utterance, names: dict[str, int], frames: int) -> np.ndarray:
    """(frames) int64, mel frames: which of ``names`` is spoken in each."""
    return np.array([names[utterance.phones[k][0]] for k in phone_at(utterance, frames, FRAME_RATE)])


@dataclass
class Features:
    """Per-utterance arrays, half precision to fit 28,000 utterances in memory."""

    semantic: list[np.ndarray]  # (T, 80*stride) float16
    mel: list[np.ndarray]  # (n_mels, 2T) float16
    style: list[np.ndarray]  # (F, 80) float16


def cached_features(work: Path, utterances: Sequence[Utterance], dims: ModelDims) -> Features:
    """``features_of`` kept in ``work``; made anew when the corpus has another size."""
    path = work / f"features-{len(utterances)}.pkl"
    if path.exists():
        return Features(**pickle.loads(path.read_bytes()))
    with multiprocessing.Pool(len(os.sched_getaffinity(0)), initializer=os.nice, initargs=(5,)) as pool:
        parts = pool.map(partial(features_of, dims=dims), _cut(utterances, PART), chunksize=1)
    made = Features(
        *(list(chain.from_iterable(lists)) for lists in zip(*(vars(p).values() for p in parts), strict=True))
    )
    temporary = path.with_suffix(".part")
    temporary.write_bytes(pickle.dumps(vars(made), protocol=5))
    os.replace(temporary, path)
    return made


def _cut(utterances: Sequence[Utterance], size: int) -> list[Sequence[Utterance]]:
    return [utterances[first : first + size] for first in range(0, len(utterances), size)]


def features_of(utterances: Sequence[Utterance], dims: ModelDims) -> Features:
    made = Features([], [], [])
    stride = dims.semantic_encoder.stride
    for u in utterances:
        wave = u.float_wave()
        rows, _ = seamless_features(wave, stride)
        frames = len(rows) * 2
        # the last row's second half may lie beyond the wave: silence there
        padded = np.pad(wave, (0, max(0, frames * dims.audio.hop - len(wave))))
        made.semantic.append(rows.astype(np.float16))
        made.mel.append(log_mel(padded, dims.audio)[:, :frames].astype(np.float16))
        made.style.append(style_features(wave).astype(np.float16))
    return made


def pad_stack(arrays: Sequence[np.ndarray], axis: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-pad along ``axis`` with zeros -> tensor (B,...) and lengths (B)."""
    lengths = [a.shape[axis] for a in arrays]
    longest = max(lengths)
    padded = []
    for a in arrays:
        pad = [(0, 0)] * a.ndim
        pad[axis] = (0, longest - a.shape[axis])
        padded.append(np.pad(a, pad))
    tensor = torch.from_numpy(np.stack(padded))
    return (tensor.float() if tensor.is_floating_point() else tensor), torch.tensor(lengths)


def bucketed(lengths: Sequence[int], batch: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of indices of similar length, in random order: ``batch`` of mean length, fewer long ones or more short ones
    for about the same work. With as many of each, a word of a long sentence would count a fraction of one of a short."""
    rng = np.random.default_rng(seed)
    costs = np.asarray(lengths) + BESIDES
    budget = batch * costs.mean()
    order = np.argsort(lengths, kind="stable")
    while True:
        # shuffle within neighbourhoods, so that batches differ between epochs
        noisy = order[np.argsort(np.arange(len(order)) + rng.uniform(0, 8 * batch, len(order)))]
        cuts, longest = [0], 0.0
        for at, cost in enumerate(costs[noisy]):
            longest = max(longest, cost)
            if (at + 1 - cuts[-1]) * longest > budget and at > cuts[-1]:
                cuts.append(at)
                longest = cost
        batches = [noisy[first:last].tolist() for first, last in pairwise([*cuts, len(noisy)])]
        for i in rng.permutation(len(batches)):
            yield batches[i]
