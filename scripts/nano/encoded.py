"""What the later trainers read: every utterance through the trained codec, once, cached on disk by the shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scripts.nano import ragged
from scripts.nano.data import FRAMES, Features, cached_features, kept_features, pad_stack
from scripts.nano.train_codec import Teacher
from tts_trt.dims import ModelDims
from tts_trt.model.layers import lengths_to_mask

BATCH = 32
STYLE_FRAMES = 128  # of each utterance; the style of the rest is the same voice


@dataclass
class Encoded:
    """Per utterance: semantic features (T,C) float16, codes (T) int16, style (E) float32."""

    semantic: list[np.ndarray]
    codes: list[np.ndarray]
    style: np.ndarray


def load_teacher(work: Path, dims: ModelDims) -> Teacher:
    state = torch.load(work / "codec.pt", map_location="cpu", weights_only=True)["model"]
    teacher = Teacher(dims, state["phone_free.bias"].shape[0] // FRAMES)
    teacher.load_state_dict(state)
    return teacher.eval()


@torch.inference_mode()
def encode(teacher: Teacher, features: Features) -> Encoded:
    order = np.argsort([len(f) for f in features.semantic], kind="stable")
    semantic: list[np.ndarray] = [np.empty(0)] * len(order)
    codes: list[np.ndarray] = [np.empty(0)] * len(order)
    style = np.zeros((len(order), teacher.voice.in_features), np.float32)
    for first in range(0, len(order), BATCH):
        picked = order[first : first + BATCH]
        rows, lengths = pad_stack([features.semantic[i] for i in picked])
        states = teacher.semantic(rows, lengths_to_mask(lengths, rows.shape[1]))
        found, _ = teacher.codec.quantize(states, lengths)
        fbank, fbank_lengths = pad_stack([features.style[i][:STYLE_FRAMES] for i in picked])
        made = teacher.style(fbank, fbank_lengths)
        for j, i in enumerate(picked):
            semantic[i] = states[j, : lengths[j]].numpy().astype(np.float16)
            codes[i] = found[j, : lengths[j]].numpy().astype(np.int16)
            style[i] = made[j].numpy()
    return Encoded(semantic, codes, style)


def cached_encoding(work: Path, teacher: Teacher, shards: Sequence[Path], dims: ModelDims) -> Encoded:
    """``encode`` kept in ``work``; a shard whose features or whose codec is newer is encoded anew."""
    features = kept_features(work, shards, dims)
    kept = [ragged.stems_of(work / "encoded", shard, Encoded) for shard in shards]
    for shard, stems, read in zip(shards, kept, features, strict=True):
        sources = [work / "codec.pt", *map(ragged.rows_of, read.values())]
        if not all(ragged.are_newer(stems.values(), source) for source in sources):
            for name, arrays in vars(encode(teacher, cached_features(work, [shard], dims))).items():
                ragged.write(stems[name], arrays)
    parts = ragged.read_parts(kept)
    return Encoded(parts["semantic"], parts["codes"], np.stack(parts["style"]))
