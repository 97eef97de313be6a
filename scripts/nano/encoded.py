"""What the later trainers read: every utterance through the trained codec, once, cached on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scripts.nano.data import Features, Utterance, pad_stack
from scripts.nano.loop import save_atomic
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
    teacher = Teacher(dims, state["phone_free.bias"].shape[0] // 2)
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


def cached_encoding(work: Path, teacher: Teacher, utterances: list[Utterance], features: Features) -> Encoded:
    """The encoding of the corpus, made anew when the codec checkpoint is newer than the cache."""
    path = work / "encoded.pt"
    if path.exists() and path.stat().st_mtime > (work / "codec.pt").stat().st_mtime:
        state = torch.load(path, weights_only=False)  # our own file, of numpy arrays
        if len(state["codes"]) == len(utterances):
            return Encoded(**state)
    made = encode(teacher, features)
    save_atomic(vars(made), path)
    return made
