"""Train the nano code model: text, timbre, emotion and rate -> codes.

Two attention heads of the second layer are guided, early on, to look at the phone being spoken: the code loss only
falls fast once some head does. A head that is not shipped foretells mel, pitch and phones from the states: codes carry no pitch and blur
phones, so what the mel stage is to know of an emotion's melody and of the words must be in the states that predict them. References are other utterances of the same voice (timbre) and emotion.
    python -m scripts.nano.train_gpt --work build/nano [--smoke]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scripts.nano.data import (
    CODE_RATE,
    FRAMES,
    Features,
    Utterance,
    bucketed,
    cached_features,
    pad_stack,
    phone_at,
    phone_names,
    phones_of,
    shards_of,
    utterances_of,
)
from scripts.nano.encoded import Encoded, cached_encoding, load_teacher
from scripts.nano.loop import nano_dims, options, to_device, train
from tts_trt.dims import ModelDims
from tts_trt.model.code_model import CodeModel
from tts_trt.model.codec import SemanticCodec
from tts_trt.model.layers import lengths_to_mask

GUIDED_LAYER, GUIDED_HEADS = 1, 2
REFERENCE_ROWS = (40, 100)  # shortest and longest crop of a reference, 25 rows a second
SOUND_WEIGHT, PHONE_WEIGHT = 0.3, 0.2
DROPPED, MISTAKEN = 0.08, 0.08
"""Shares of the code rows that training blanks, and that it swaps for a code that sounds alike: when decoding runs free the
history is not without mistakes."""
ALIKE = 8  # codes to choose a mistake from


@dataclass
class Batch:
    text: torch.Tensor
    text_lengths: torch.Tensor
    codes: torch.Tensor  # (B,M) right-padded
    code_lengths: torch.Tensor
    at_text: torch.Tensor  # (B,M) text id that code m speaks, or -1
    rate: torch.Tensor
    speaker: torch.Tensor
    speaker_lengths: torch.Tensor
    emotion: torch.Tensor
    emotion_lengths: torch.Tensor
    sound: torch.Tensor | None = (
        None  # (B,M,FRAMES,mels + 1): mel, then log pitch over 100 Hz, NaN where unvoiced
    )
    phones: torch.Tensor | None = None  # (B,M,FRAMES) which phone is spoken


class Batches:
    """Draws utterances of similar length and references for them; with ``sound`` also what the codes sound like."""

    def __init__(
        self,
        utterances: list[Utterance],
        encoded: Encoded,
        seed: int,
        sound: Features | None = None,
    ) -> None:
        self.utterances, self.encoded, self.sound = utterances, encoded, sound
        self.names = phone_names(utterances)
        self.rng = np.random.default_rng(seed)
        self.same: dict[tuple[int, int], np.ndarray] = {}
        voices = np.array([u.voice for u in utterances])
        emotions = np.array([u.emotion for u in utterances])
        for voice in np.unique(voices):
            self.same[(int(voice), -1)] = np.flatnonzero(voices == voice)
            for emotion in np.unique(emotions):
                self.same[(int(voice), int(emotion))] = np.flatnonzero(
                    (voices == voice) & (emotions == emotion)
                )
        for emotion in np.unique(emotions):
            self.same[(-1, int(emotion))] = np.flatnonzero(emotions == emotion)

    def _pick(self, own: int, *kinds: tuple[int, int]) -> int:
        """An utterance of the first kind that has any."""
        for kind in kinds:
            if len(pool := self.same.get(kind, [])):
                return int(self.rng.choice(pool))
        return own

    def speaker_of(self, i: int) -> int:
        u = self.utterances[i]
        return self._pick(i, (u.voice, -1))

    def emotion_of(self, i: int) -> int:
        u = self.utterances[i]
        first = (u.voice, u.emotion) if self.rng.random() < 0.5 else (-1, u.emotion)
        return self._pick(i, first, (-1, u.emotion))

    def crop(self, rows: np.ndarray) -> np.ndarray:
        size = min(len(rows), int(self.rng.integers(*REFERENCE_ROWS)))
        first = int(self.rng.integers(0, len(rows) - size + 1))
        return rows[first : first + size]

    def make(self, picked: list[int]) -> Batch:
        text, text_lengths = pad_stack([np.array(self.utterances[i].ids) for i in picked])
        codes, code_lengths = pad_stack([self.encoded.codes[i].astype(np.int64) for i in picked])
        at = np.full(codes.shape, -1, np.int64)
        for b, i in enumerate(picked):
            u, rows = self.utterances[i], len(self.encoded.codes[i])
            at[b, :rows] = np.array(u.phone_index)[phone_at(u, rows, CODE_RATE)]
        speaker, speaker_lengths = pad_stack(
            [self.crop(self.encoded.semantic[self.speaker_of(i)]) for i in picked]
        )
        emotion, emotion_lengths = pad_stack(
            [self.crop(self.encoded.semantic[self.emotion_of(i)]) for i in picked]
        )
        rate = torch.tensor([self.utterances[i].rate for i in picked], dtype=torch.float32)
        return Batch(
            text, text_lengths, codes, code_lengths, torch.from_numpy(at), rate,
            speaker, speaker_lengths, emotion, emotion_lengths, self._sound_of(picked), self._phones_of(picked),
        )  # fmt: skip

    def _sound_of(self, picked: list[int]) -> torch.Tensor | None:
        if self.sound is None:
            return None
        mel, pitch = self.sound.mel, self.sound.pitch
        rows = [np.concatenate([mel[i].T, pitch[i][:, None]], axis=1) for i in picked]
        return pad_stack([r.reshape(len(r) // FRAMES, FRAMES, -1).astype(np.float32) for r in rows])[0]

    def _phones_of(self, picked: list[int]) -> torch.Tensor | None:
        if self.sound is None:
            return None
        sizes = [FRAMES * len(self.encoded.codes[i]) for i in picked]
        found = [phones_of(self.utterances[i], self.names, n) for i, n in zip(picked, sizes, strict=True)]
        return pad_stack([rows.reshape(-1, FRAMES) for rows in found])[0]

    def endless(self, indices: list[int], size: int, seed: int) -> Iterator[Batch]:
        lengths = [len(self.encoded.codes[i]) for i in indices]
        for picked in bucketed(lengths, size, seed):
            yield self.make([indices[i] for i in picked])


def sequence(model: CodeModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompt followed by the row's codes without a gap -> rows (B,R,D) and first code row's index (B).

    Row ``first + m`` holds code m (0-based); row ``first - 1`` is the start code.
    """
    emotion = model.emotion(batch.emotion, batch.emotion_lengths)  # what merging gives at alpha 1
    conditioning = model.latents(batch.speaker, batch.speaker_lengths) + emotion[:, None]
    prompt, first = model.prompt(conditioning, batch.text, batch.text_lengths, batch.rate)
    codes = model.code_rows(batch.codes)
    rows = F.pad(prompt, (0, 0, 0, codes.shape[1]))
    at = first[:, None] + torch.arange(codes.shape[1])
    return rows.scatter(1, at[..., None].expand_as(codes), codes.to(rows.dtype)), first


def states(model: CodeModel, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-> normalised states (B,R,D) and log attention of the guided heads (B,heads,R,R)."""
    causal = torch.ones(rows.shape[1], rows.shape[1], dtype=torch.bool).tril()[None, None]
    attention = rows.new_zeros(())
    x = rows
    for i, block in enumerate(model.gpt.h):
        if i == GUIDED_LAYER:
            q, k, _ = block.attn.project(block.ln_1(x))
            q, k = q[:, :GUIDED_HEADS].float(), k[:, :GUIDED_HEADS].float()
            score = (q @ k.transpose(-2, -1)) / q.shape[-1] ** 0.5
            attention = score.masked_fill(~causal, -1e4).log_softmax(-1)
        x, _, _ = block(x, causal)
    return model.final_norm(model.gpt.ln_f(x)), attention


def pitch_loss(made: torch.Tensor, voicing: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
    """Foretold log pitch and logit of voicing against the pitch, NaN where unvoiced; all of one shape -> scalar."""
    voiced = ~pitch.isnan()
    apart = F.smooth_l1_loss(made[voiced], pitch[voiced], beta=0.1, reduction="sum")
    melody = apart / voiced.sum().clamp(min=1)  # a batch may be all whispers
    return melody + 0.2 * F.binary_cross_entropy_with_logits(voicing, voiced.float())


class SoundHead(nn.Module):
    """The state that predicts a code, and the code -> its mel frames, pitch, voicing and phones. Only trained, never shipped."""

    def __init__(self, dims: ModelDims, phones: int) -> None:
        super().__init__()
        g, self.mels = dims.gpt, dims.audio.n_mels
        self.code = nn.Embedding(g.codes, g.dim)
        self.state = nn.Linear(g.dim, g.dim)
        self.out = nn.Linear(g.dim, FRAMES * (self.mels + 2))
        self.phone = nn.Linear(g.dim, FRAMES * phones)

    def losses(
        self,
        hidden: torch.Tensor,
        codes: torch.Tensor,
        sound: torch.Tensor,
        phones: torch.Tensor,
        real: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """hidden (N,M,D), codes (N,M), sound (N,M,FRAMES,mels + 1), phones (N,M,FRAMES), real (N,M) -> scalars."""
        inner = F.gelu(self.state(hidden) + self.code(codes))
        made, scores = (
            layer(inner).unflatten(-1, (FRAMES, -1)).float()[real] for layer in (self.out, self.phone)
        )
        mel, pitch = sound[real][..., :-1], sound[real][..., -1]
        return {
            "mel": F.l1_loss(made[..., : self.mels], mel),
            "pitch": pitch_loss(made[..., self.mels], made[..., self.mels + 1], pitch),
            "phone": F.cross_entropy(scores.flatten(0, 1), phones[real].flatten()),
        }


def codes_alike(codec: SemanticCodec, size: int) -> torch.Tensor:
    """(codes, ALIKE): of each code those with the nearest embeddings."""
    with torch.no_grad():
        embedding = F.normalize(codec.embed(torch.arange(size)[None])[0], dim=-1)
        return (embedding @ embedding.T).fill_diagonal_(-1).topk(ALIKE).indices


class Losses:
    def __init__(
        self,
        model: CodeModel,
        guided_until: int,
        head: SoundHead | None = None,
        alike: torch.Tensor | None = None,
    ) -> None:
        self.model, self.guided_until, self.head, self.alike = model, guided_until, head, alike

    def __call__(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        g = self.model.dims.gpt
        rows, first = sequence(self.model, self._with_mistakes(batch))
        if self.model.training:
            # a little dropout on whole code rows keeps the model reading the text
            keep = (torch.rand(rows.shape[:2]) > DROPPED) | (torch.arange(rows.shape[1]) < first[:, None])
            rows = rows * keep[..., None]
        hidden, attention = states(self.model, rows)
        steps = batch.codes.shape[1] + 1
        at = (first - 1)[:, None] + torch.arange(steps)
        predicting = hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1]))
        logits = self.model.mel_head(predicting).float()
        target = F.pad(batch.codes, (0, 1)).scatter(1, batch.code_lengths[:, None], g.stop_code)
        real = lengths_to_mask(batch.code_lengths + 1, steps)
        code = F.cross_entropy(
            logits[real], target[real], label_smoothing=0.05 if self.model.training else 0.0
        )
        guided = self._guided(attention, batch, at)
        weight = max(0.1, 1.0 - step / self.guided_until)
        top1 = (logits.argmax(-1) == target)[real].float().mean()
        found = {"loss": code + weight * guided, "code": code, "guided": guided, "top1": top1}
        if self.head is None or batch.sound is None or batch.phones is None:
            return found
        spoken = lengths_to_mask(batch.code_lengths, steps - 1)
        heard = self.head.losses(predicting[:, :-1], batch.codes, batch.sound, batch.phones, spoken)
        extra = SOUND_WEIGHT * (heard["mel"] + heard["pitch"]) + PHONE_WEIGHT * heard["phone"]
        return found | heard | {"loss": found["loss"] + extra}

    def _with_mistakes(self, batch: Batch) -> Batch:
        if self.alike is None or not self.model.training:
            return batch
        wrong = self.alike[batch.codes, torch.randint(ALIKE, batch.codes.shape)]
        return replace(batch, codes=torch.where(torch.rand(batch.codes.shape) < MISTAKEN, wrong, batch.codes))

    def _guided(self, attention: torch.Tensor, batch: Batch, at: torch.Tensor) -> torch.Tensor:
        """-log attention from the row that predicts code m to the text row of the phone that code m speaks."""
        text_row = self.model.dims.gpt.latents + 2 + 1 + batch.at_text  # speed rows and start text come first
        known = (batch.at_text >= 0) & lengths_to_mask(batch.code_lengths, batch.at_text.shape[1])
        query = at[:, :-1]
        by_query = attention.gather(
            2, query[:, None, :, None].expand(-1, GUIDED_HEADS, -1, attention.shape[-1])
        )
        looked = by_query.gather(3, text_row.clamp(min=0)[:, None, :, None].expand(-1, GUIDED_HEADS, -1, 1))[
            ..., 0
        ]
        return -looked.transpose(1, 2)[known].mean()


@torch.no_grad()
def validate(model: CodeModel, losses: Losses, batches: list[Batch]) -> dict[str, float]:
    model.eval()
    found = [losses(b, 0) for b in batches]
    model.train()
    return {k: sum(float(f[k]) for f in found) / len(found) for k in found[0] if k != "loss"}


def setup(work: Path, dims: ModelDims, smoke: bool) -> tuple[list[Utterance], Features, Encoded]:
    shards = shards_of(work, smoke)
    features = cached_features(work, shards, dims)
    return utterances_of(shards), features, cached_encoding(work, load_teacher(work, dims), shards, dims)


def main() -> None:
    chosen = options(__doc__, steps=33_000, batch=16, lr=6e-4)
    dims = nano_dims()
    utterances, features, encoded = setup(chosen.work, dims, chosen.smoke)
    source = Batches(utterances, encoded, chosen.seed, features)
    held = max(4, min(160, len(utterances) // 10))
    quiet = Batches(utterances, encoded, 1, features)
    held_batches = [quiet.make(list(range(i, min(i + 16, held)))) for i in range(0, held, 16)]
    validation = to_device(held_batches, chosen.device)
    model = CodeModel(dims).to(chosen.device)
    head = SoundHead(dims, len(source.names)).to(chosen.device)
    alike = codes_alike(load_teacher(chosen.work, dims).codec, dims.codec.codebook_size).to(chosen.device)
    losses = Losses(model, max(1, chosen.steps // 2), head, alike)
    spoken = [i for i in range(held, len(utterances)) if len(encoded.codes[i]) <= dims.gpt.max_codes - 2]
    train(
        "gpt", model, source.endless(spoken, chosen.batch, chosen.seed), losses, chosen,
        evaluate=lambda: validate(model, losses, validation), autocast=True, scaffold=head,
    )  # fmt: skip


if __name__ == "__main__":
    main()
