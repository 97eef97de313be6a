"""Train semantic encoder, semantic codec and style encoder of the nano voice together.

A code has to tell which phone is spoken and, with the style, how the mel looks. Losses: phone per half row (before and
after quantisation), mel reconstruction from code + style, voice and emotion from pooled features, commitment.
    python -m scripts.nano.train_codec --work build/nano [--smoke]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scripts.nano.data import (
    ACTED,
    FRAMES,
    VOICES,
    Features,
    Utterance,
    bucketed,
    cached_features,
    pad_stack,
    phone_names,
    phones_of,
    shards_of,
    utterances_of,
)
from scripts.nano.loop import nano_dims, options, to_device, train
from tts_trt.dims import ModelDims
from tts_trt.model.codec import SemanticCodec
from tts_trt.model.layers import lengths_to_mask
from tts_trt.model.semantic import SemanticEncoder
from tts_trt.model.style import StyleEncoder

STYLE_ROWS, STYLE_FRAMES = 4, 96  # of each batch; the style encoder's 2-D head costs more than all the rest
QUANTISE_FROM = 200  # steps of free features before the codebook is seeded from them


class Teacher(nn.Module):
    """The three modules that ship and the heads that only train them."""

    def __init__(self, dims: ModelDims, phones: int) -> None:
        super().__init__()
        c, style = dims.semantic_encoder.hidden, dims.style.embedding
        self.semantic = SemanticEncoder(dims.semantic_encoder)
        self.codec = SemanticCodec(c, dims.codec)
        self.style = StyleEncoder(dims.style)
        self.phone_free = nn.Linear(c, FRAMES * phones)
        self.phone_coded = nn.Linear(c, FRAMES * phones)
        self.mel = nn.Sequential(
            nn.Linear(c + style, 256), nn.GELU(), nn.Linear(256, FRAMES * dims.audio.n_mels)
        )
        self.voice = nn.Linear(style, len(VOICES))
        self.voice_style = nn.Embedding(len(VOICES), style)
        self.pooled_voice = nn.Linear(c, len(VOICES))
        self.pooled_emotion = nn.Linear(c, len(ACTED))


def batch_of(
    chosen: list[int], utterances: list[Utterance], features: Features, names: dict[str, int]
) -> dict:
    semantic, lengths = pad_stack([features.semantic[i] for i in chosen])
    mel, _ = pad_stack([features.mel[i] for i in chosen], axis=1)
    fbank, fbank_lengths = pad_stack([middle_of(features.style[i]) for i in chosen[:STYLE_ROWS]])
    frames = [FRAMES * len(features.semantic[i]) for i in chosen]
    labels = [phones_of(utterances[i], names, n) for i, n in zip(chosen, frames, strict=True)]
    phones, _ = pad_stack([found.reshape(-1, FRAMES) for found in labels])
    return {
        "semantic": semantic,
        "lengths": lengths,
        "mel": mel,
        "fbank": fbank,
        "fbank_lengths": fbank_lengths,
        "phones": phones,
        "voice": torch.tensor([utterances[i].voice for i in chosen]),
        "emotion": torch.tensor([utterances[i].emotion for i in chosen]),
    }


def together(lengths: Sequence[int], batch: int, seed: int) -> Iterator[list[int]]:
    """``bucketed`` without those that come alone: the style encoder's normalisation needs two."""
    return (picked for picked in bucketed(lengths, batch, seed) if len(picked) > 1)


def middle_of(fbank: np.ndarray) -> np.ndarray:
    """A random stretch of the speech, its own mean removed as the style encoder expects."""
    size = min(len(fbank), STYLE_FRAMES)
    first = np.random.randint(len(fbank) - size + 1)
    cut = fbank[first : first + size].astype(np.float32)
    return cut - cut.mean(0)


def quantise(
    model: Teacher, encoded: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Straight-through -> embeddings (B,T,C), codebook + commitment loss, codes."""
    vq = model.codec.vq
    z = vq.in_project(encoded.transpose(1, 2)).transpose(1, 2)
    similarity = F.normalize(z, dim=-1) @ F.normalize(vq.codebook.weight, dim=-1).T
    codes = similarity.argmax(-1)
    row = vq.codebook(codes)
    gap = (
        F.mse_loss(row, z.detach(), reduction="none") + 0.25 * F.mse_loss(z, row.detach(), reduction="none")
    ).mean(-1)
    passed = z + (row - z).detach()
    embedded = vq.out_project(passed.transpose(1, 2)).transpose(1, 2)
    return embedded, gap[mask].mean(), codes


class Losses:
    def __init__(self, model: Teacher, phones: int) -> None:
        self.model, self.phones = model, phones
        self.usage = torch.zeros(model.codec.vq.codebook.num_embeddings)

    def __call__(self, batch: dict, step: int) -> dict[str, torch.Tensor]:
        m = self.model
        mask = lengths_to_mask(batch["lengths"], batch["semantic"].shape[1])
        free = m.semantic(batch["semantic"], mask)
        encoded = m.codec.encode(free, batch["lengths"])
        if step < QUANTISE_FROM and m.training:
            z = m.codec.vq.in_project(encoded.transpose(1, 2))
            coded, gap = m.codec.vq.out_project(z).transpose(1, 2), z.square().mean() * 1e-3
        else:
            coded, gap, codes = quantise(m, encoded, mask)
            if m.training:
                self._revive(encoded, mask, codes, step)
        decoded = m.codec.decode(coded, batch["lengths"])
        style = m.style(batch["fbank"], batch["fbank_lengths"])
        own = m.voice_style(batch["voice"])
        mel = m.mel(torch.cat([decoded, own[:, None].expand(-1, decoded.shape[1], -1)], dim=-1))
        target = batch["mel"].transpose(1, 2).reshape(mel.shape)
        difference = (mel - target)[mask]
        pooled = (free * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        parts = {
            "mel": difference.abs().mean() + 0.5 * difference.square().mean(),
            "phone_free": self._phone_loss(m.phone_free(free), batch["phones"], mask),
            "phone_coded": self._phone_loss(m.phone_coded(decoded), batch["phones"], mask),
            "voice": F.cross_entropy(m.voice(style), batch["voice"][: len(style)])
            + F.mse_loss(style, own[: len(style)].detach()),
            "pooled": F.cross_entropy(m.pooled_voice(pooled), batch["voice"])
            + F.cross_entropy(m.pooled_emotion(pooled), batch["emotion"]),
            "gap": gap,
        }
        parts["loss"] = (
            parts["mel"]
            + 0.3 * parts["phone_free"]
            + 0.5 * parts["phone_coded"]
            + 0.1 * (parts["voice"] + parts["pooled"])
            + parts["gap"]
        )
        return parts

    def _phone_loss(self, scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        scores = scores.unflatten(-1, (FRAMES, self.phones))[mask].flatten(0, 1)
        return F.cross_entropy(scores, labels[mask].flatten())

    @torch.no_grad()
    def _revive(self, encoded: torch.Tensor, mask: torch.Tensor, codes: torch.Tensor, step: int) -> None:
        """Seed the codebook from data once, and move codes that nobody used to where the data is."""
        vq = self.model.codec.vq
        z = vq.in_project(encoded.transpose(1, 2)).transpose(1, 2)[mask]
        if step == QUANTISE_FROM:
            vq.codebook.weight.copy_(z[torch.randint(len(z), (len(self.usage),))])
        counts = torch.bincount(codes[mask], minlength=len(self.usage)).float()
        self.usage = 0.98 * self.usage + 0.02 * counts
        if step % 50 == 0 and step > QUANTISE_FROM:
            dead = (self.usage < 0.02).nonzero()[:, 0]
            vq.codebook.weight[dead] = z[torch.randint(len(z), (len(dead),))]
            self.usage[dead] = 1.0


@torch.no_grad()
def validate(model: Teacher, losses: Losses, batch: dict) -> dict[str, float]:
    model.eval()
    parts = {k: float(v) for k, v in losses(batch, QUANTISE_FROM).items() if k in ("mel", "phone_coded")}
    mask = lengths_to_mask(batch["lengths"], batch["semantic"].shape[1])
    free = model.semantic(batch["semantic"], mask)
    codes, embedded = model.codec.quantize(free, batch["lengths"])
    scores = model.phone_coded(model.codec.decode(embedded, batch["lengths"])).unflatten(
        -1, (FRAMES, losses.phones)
    )
    voice = model.voice(model.style(batch["fbank"], batch["fbank_lengths"])).argmax(-1)
    parts["voice_accuracy"] = float((voice == batch["voice"][: len(voice)]).float().mean())
    parts["phone_accuracy"] = float((scores.argmax(-1) == batch["phones"])[mask].float().mean())
    used = torch.bincount(codes[mask], minlength=len(losses.usage)).float()
    share = used[used > 0] / used.sum()
    parts["perplexity"] = float((-(share * share.log()).sum()).exp())
    model.train()
    return parts


def main() -> None:
    chosen = options(__doc__, steps=3000, batch=24, lr=1e-3)
    dims = nano_dims()
    shards = shards_of(chosen.work, chosen.smoke)
    utterances, features = utterances_of(shards), cached_features(chosen.work, shards, dims)
    names = phone_names(utterances)
    held = max(2, min(100, len(utterances) // 10))
    model = Teacher(dims, len(names)).to(chosen.device)
    losses = Losses(model, len(names))
    validation = to_device(batch_of(list(range(held)), utterances, features, names), chosen.device)
    lengths = [len(f) for f in features.semantic[held:]]

    def batches() -> Iterator[dict]:
        for picked in together(lengths, chosen.batch, chosen.seed):
            yield batch_of([i + held for i in picked], utterances, features, names)

    train("codec", model, batches(), losses, chosen, evaluate=lambda: validate(model, losses, validation))


if __name__ == "__main__":
    main()
