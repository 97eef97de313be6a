"""The rendered corpus and what is computed from it once, a shard at a time: waves, features, voices, phones.

T rows of one code each; frames: FRAMES mel frames a row. A shard is named by its stem, ``<work>/corpus/shard-0000``. Utterances and features of
the same shards come in the same order. Arrays are mapped from their files, not held in memory.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.nano import ragged
from scripts.nano.pitch import pitch_of
from tts_trt.dims import ModelDims
from tts_trt.frontend.features import log_mel, seamless_features, style_features

VOICES = ("slt", "rms", "awb", "kal16")
ACTED = ("happy", "angry", "sad", "calm")
BESIDES = 40  # rows that an utterance costs whatever its length: its text, its references
FRAME_RATE = 50.0  # mel frames a second
FRAMES = 2  # of mel, pitch and phones, a code
CODE_RATE = FRAME_RATE / FRAMES


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


def shards_of(work: Path, smoke: bool = False) -> list[Path]:
    """Stems of the corpus in ``work``, by name; one for a smoke run."""
    return _stems(work / "corpus")[: 1 if smoke else None]


def _stems(folder: Path) -> list[Path]:
    if found := sorted(path.with_suffix("") for path in folder.glob("shard-*.jsonl")):
        return found
    raise SystemExit(f"no corpus in {folder}; run python -m scripts.nano.corpus --out {folder} first")


def utterances_of(shards: Sequence[Path]) -> list[Utterance]:
    return list(chain.from_iterable(map(_utterances, shards)))


def load_corpus(folder: Path, limit: int | None = None) -> list[Utterance]:
    """The first ``limit`` utterances rendered to a folder."""
    return list(islice(chain.from_iterable(map(_utterances, _stems(folder))), limit))


def _utterances(shard: Path) -> Iterator[Utterance]:
    lines = shard.with_suffix(".jsonl").read_text().splitlines()
    for wave, meta in zip(ragged.read(shard), map(json.loads, lines), strict=True):
        yield Utterance(
            wave,
            meta["text"],
            meta["ids"],
            VOICES.index(meta["voice"]),
            ACTED.index(meta["emotion"]),
            meta["rate"],
            meta["phones"],
            meta["phone_index"],
        )


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
    """Per-utterance arrays, half precision."""

    semantic: list[np.ndarray]  # (T, 80*stride) float16
    mel: list[np.ndarray]  # (n_mels, FRAMES*T) float16
    style: list[np.ndarray]  # (F, 80) float16
    pitch: list[np.ndarray]  # (FRAMES*T,) float16, as pitch_of has it


def feature_stems(work: Path, shard: Path) -> dict[str, Path]:
    """Where the parts of ``Features`` of a shard are kept."""
    return ragged.stems_of(work / "features", shard, Features)


def kept_features(work: Path, shards: Sequence[Path], dims: ModelDims) -> list[dict[str, Path]]:
    """Stems of every shard's features; a shard without them, or rendered anew, gets them now."""
    stems = [feature_stems(work, shard) for shard in shards]
    missing = [
        (shard, kept)
        for shard, kept in zip(shards, stems, strict=True)
        if not ragged.are_newer(kept.values(), ragged.rows_of(shard))
    ]
    if missing:
        with multiprocessing.Pool(len(os.sched_getaffinity(0)), initializer=os.nice, initargs=(5,)) as pool:
            pool.starmap(partial(_write_features, dims=dims), missing, chunksize=1)
    return stems


def cached_features(work: Path, shards: Sequence[Path], dims: ModelDims) -> Features:
    """``features_of`` the shards, kept in ``work``."""
    parts = ragged.read_parts(kept_features(work, shards, dims))
    parts["mel"] = [frames.T for frames in parts["mel"]]
    return Features(**parts)


def _write_features(shard: Path, stems: dict[str, Path], dims: ModelDims) -> None:
    made = vars(features_of(utterances_of([shard]), dims))
    for name, stem in stems.items():
        ragged.write(stem, [part.T for part in made[name]] if name == "mel" else made[name])


def features_of(utterances: Sequence[Utterance], dims: ModelDims) -> Features:
    made = Features([], [], [], [])
    stride = dims.semantic_encoder.stride
    for u in utterances:
        wave = u.float_wave()
        rows, _ = seamless_features(wave, stride)
        frames = len(rows) * FRAMES
        # the last row's second half may lie beyond the wave: silence there
        padded = np.pad(wave, (0, max(0, frames * dims.audio.hop - len(wave))))
        pitch = pitch_of(u.wave)[:frames]
        made.semantic.append(rows.astype(np.float16))
        made.mel.append(log_mel(padded, dims.audio)[:, :frames].astype(np.float16))
        made.style.append(style_features(wave).astype(np.float16))
        beyond = (0, frames - len(pitch))
        made.pitch.append(np.pad(pitch, beyond, constant_values=np.nan).astype(np.float16))
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
