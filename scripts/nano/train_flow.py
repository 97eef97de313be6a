"""Train the mel stage of the nano voice by flow matching: length regulator, latent projection and DiT estimator.

Each item is a reference mel of the same voice (the prompt) and a target; the loss counts target frames only. Before the
code model exists the latents are left out (phase "codes"); afterwards they are added (phase "latents"). A head that is not
shipped foretells mel, pitch and phones from the condition and the style alone: it pulls the sound out of the latents with a gradient that does not
pass the noise, and the pitch apart from it, since a prompt of another mood has a pitch of its own.
    python -m scripts.nano.train_flow --work build/nano [--smoke]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scripts.nano.data import FRAMES, Features, Utterance, bucketed, pad_stack, phones_of
from scripts.nano.encoded import Encoded, load_teacher
from scripts.nano.loop import nano_dims, options, to_device, train
from scripts.nano.train_gpt import Batches, pitch_loss, sequence, setup, states
from tts_trt.dims import ModelDims
from tts_trt.frontend.timing import nearest_index
from tts_trt.model.code_model import CodeModel
from tts_trt.model.codec import SemanticCodec
from tts_trt.model.family import MelStage
from tts_trt.model.layers import lengths_to_mask

MAX_TARGET = 200  # mel frames while training
DROP = 0.15  # share of rows trained without prompt, style and condition, for guidance
FORETOLD_WEIGHT, PHONE_WEIGHT = 0.3, 0.1


@dataclass
class Item:
    target: torch.Tensor  # (B,n_mels,T) prompt, then target
    lengths: torch.Tensor
    prompt_lengths: torch.Tensor
    condition_codes: torch.Tensor  # (B,M)
    latents: torch.Tensor | None  # (B,M,D)
    prompt_codes: torch.Tensor
    source: torch.Tensor  # (B,Tt) code of each target frame
    prompt_source: torch.Tensor
    style: torch.Tensor
    pitch: torch.Tensor  # (B,T) log pitch over 100 Hz, NaN where unvoiced; the prompt's is not looked at
    phones: torch.Tensor  # (B,T) which is spoken; the prompt's are not looked at


class LatestGpt:
    """The code model in ``gpt.pt``, read again whenever that file has changed: both stages may train side by side."""

    def __init__(self, work: Path, dims: ModelDims, device: str) -> None:
        self._path, self._model, self._read = work / "gpt.pt", CodeModel(dims).to(device).eval(), 0

    def __call__(self) -> CodeModel:
        changed = self._path.stat().st_mtime_ns
        if changed != self._read:
            state = torch.load(self._path, map_location="cpu", weights_only=True)["model"]
            self._model.load_state_dict(state)
            self._read = changed
        return self._model


class Items:
    def __init__(
        self,
        dims: ModelDims,
        utterances: list[Utterance],
        features: Features,
        encoded: Encoded,
        gpt: LatestGpt | None,
    ) -> None:
        self.features, self.encoded, self.gpt = features, encoded, gpt
        self._prompt_rows = dims.prompt_frames // FRAMES  # as when it speaks
        self.batches = Batches(utterances, encoded, 3)
        self.rng = np.random.default_rng(4)

    def make(self, picked: list[int]) -> Item:
        latents = self._latents(picked)
        prompts = [self.batches.speaker_of(i) for i in picked]
        targets, codes, kept_latents, prompt_mels, prompt_codes, pitches, phones = [], [], [], [], [], [], []
        for b, (i, p) in enumerate(zip(picked, prompts, strict=True)):
            rows = min(len(self.encoded.codes[i]), MAX_TARGET // FRAMES)
            first = int(self.rng.integers(0, len(self.encoded.codes[i]) - rows + 1))
            codes.append(self.encoded.codes[i][first : first + rows].astype(np.int64))
            spoken = slice(FRAMES * first, FRAMES * (first + rows))
            targets.append(self.features.mel[i][:, spoken])
            if latents is not None:
                kept_latents.append(latents[b, first : first + rows].numpy())
            most = min(len(self.encoded.codes[p]), self._prompt_rows)
            size = int(self.rng.integers(most // 2, most + 1))
            at = int(self.rng.integers(0, len(self.encoded.codes[p]) - size + 1))
            prompt_codes.append(self.encoded.codes[p][at : at + size].astype(np.int64))
            prompt_mels.append(self.features.mel[p][:, FRAMES * at : FRAMES * (at + size)])
            pitches.append(np.pad(self.features.pitch[i][spoken], (FRAMES * size, 0)))
            said = phones_of(
                self.batches.utterances[i], self.batches.names, FRAMES * len(self.encoded.codes[i])
            )
            phones.append(np.pad(said[spoken], (FRAMES * size, 0)))
        joined = [np.concatenate(pair, axis=1) for pair in zip(prompt_mels, targets, strict=True)]
        target, lengths = pad_stack(joined, axis=1)
        return Item(
            target, lengths, torch.tensor([m.shape[1] for m in prompt_mels]), pad_stack(codes)[0],
            pad_stack(kept_latents)[0] if kept_latents else None, pad_stack(prompt_codes)[0],
            self._sources(codes), self._sources(prompt_codes),
            torch.from_numpy(self.encoded.style[prompts]), pad_stack(pitches)[0], pad_stack(phones)[0],
        )  # fmt: skip

    def _sources(self, codes: list[np.ndarray]) -> torch.Tensor:
        return pad_stack([nearest_index(len(c), FRAMES * len(c)) for c in codes])[0]

    @torch.inference_mode()
    def _latents(self, picked: list[int]) -> torch.Tensor | None:
        if self.gpt is None:
            return None
        gpt = self.gpt()
        batch = to_device(self.batches.make(picked), str(gpt.final_norm.weight.device))
        rows, first = sequence(gpt, batch)
        hidden, _ = states(gpt, rows)
        at = (first - 1)[:, None] + torch.arange(batch.codes.shape[1])
        return hidden.gather(1, at[..., None].expand(-1, -1, hidden.shape[-1])).float().cpu()

    def endless(self, lengths: list[int], offset: int, size: int, seed: int) -> Iterator[Item]:
        for picked in bucketed(lengths, size, seed):
            yield self.make([offset + i for i in picked])


class SoundHead(nn.Module):
    """Condition (B,T,C) and style (B,E) -> mel, pitch and voicing of each frame; condition alone -> its phone.
    Only trained, never shipped."""

    def __init__(self, dims: ModelDims, phones: int) -> None:
        super().__init__()
        width = dims.regulator.channels + dims.style.embedding
        self.layers = nn.Sequential(nn.Linear(width, 256), nn.GELU(), nn.Linear(256, dims.audio.n_mels + 2))
        self.phone = nn.Linear(dims.regulator.channels, phones)

    def losses(self, condition: torch.Tensor, item: Item, spoken: torch.Tensor) -> dict[str, torch.Tensor]:
        """spoken (B,T) -> three scalars."""
        style = item.style[:, None].expand(-1, condition.shape[1], -1)
        made = self.layers(torch.cat([condition, style], dim=-1))[spoken].float()
        return {
            "mel": F.l1_loss(made[:, :-2], item.target.transpose(1, 2)[spoken]),
            "pitch": pitch_loss(made[:, -2], made[:, -1], item.pitch[spoken]),
            "phone": F.cross_entropy(self.phone(condition)[spoken].float(), item.phones[spoken]),
        }


class Losses:
    def __init__(self, model: MelStage, codec: SemanticCodec, head: SoundHead) -> None:
        self.model, self.codec, self.head = model, codec, head

    def condition(self, item: Item) -> torch.Tensor:
        """-> (B,T,C): prompt frames' condition, then the target's, row by row."""
        with torch.no_grad():
            target, prompt = self.codec.embed(item.condition_codes), self.codec.embed(item.prompt_codes)
        if item.latents is not None:
            target = target + self.model.gpt_layer(item.latents)
        regulate = self.model.length_regulator
        spoken = regulate(target, item.source, item.lengths - item.prompt_lengths)
        before = regulate(prompt, item.prompt_source, item.prompt_lengths)
        frame = torch.arange(item.target.shape[2])[None]
        in_prompt = frame < item.prompt_lengths[:, None]
        index = torch.where(in_prompt, frame, before.shape[1] + frame - item.prompt_lengths[:, None])
        both = torch.cat([before, spoken], dim=1)
        index = index.clamp(max=both.shape[1] - 1)
        return both.gather(1, index[..., None].expand(-1, -1, both.shape[2]))

    def __call__(self, item: Item, step: int) -> dict[str, torch.Tensor]:
        size = item.target.shape[2]
        real = lengths_to_mask(item.lengths, size)
        prompt_mask = lengths_to_mask(item.prompt_lengths, size)[:, None]
        condition = self.condition(item)
        batch = len(item.lengths)
        keep = torch.rand(batch) >= (DROP if self.model.training else 0.0)
        gate = keep.float()[:, None, None]
        noise, t = torch.randn_like(item.target), torch.rand(batch)
        x = (1 - t)[:, None, None] * noise + t[:, None, None] * item.target
        x = x.masked_fill(prompt_mask, 0.0)
        prompt = item.target * prompt_mask
        velocity = self.model.cfm.estimator(
            x, prompt * gate, item.lengths, t, item.style * gate[:, 0], condition * gate
        )  # fmt: skip
        spoken = real & ~prompt_mask[:, 0]
        gap = (velocity.float() - (item.target - noise)).transpose(1, 2)[spoken].square().mean()
        heard = self.head.losses(condition, item, spoken)
        extra = FORETOLD_WEIGHT * (heard["mel"] + heard["pitch"]) + PHONE_WEIGHT * heard["phone"]
        return {"loss": gap + extra, "gap": gap} | heard


@torch.no_grad()
def validate(model: MelStage, losses: Losses, items: list[Item]) -> dict[str, float]:
    model.eval()
    kept = torch.get_rng_state()
    torch.manual_seed(0)
    found = [losses(item, 0) for item in items]
    torch.set_rng_state(kept)
    model.train()
    return {k: sum(float(f[k]) for f in found) / len(found) for k in found[0] if k != "loss"}


def silence_latents(model: MelStage) -> None:
    """Start from what was learnt without latents: their projection adds nothing until it has learnt something."""
    for parameter in model.gpt_layer[-1].parameters():
        torch.nn.init.zeros_(parameter)


def run(name: str, chosen, gpt: LatestGpt | None, start_from: str | None) -> None:  # type: ignore[no-untyped-def]
    dims = nano_dims()
    utterances, features, encoded = setup(chosen.work, dims, chosen.smoke)
    model = MelStage(dims).to(chosen.device)
    if start_from and not (chosen.work / f"{name}.pt").exists():
        model.load_state_dict(torch.load(chosen.work / f"{start_from}.pt", weights_only=True)["model"])
        silence_latents(model)
    source = Items(dims, utterances, features, encoded, gpt)
    held = max(4, min(96, len(utterances) // 10))
    held_items = [source.make(list(range(i, min(i + 16, held)))) for i in range(0, held, 16)]
    validation = to_device(held_items, chosen.device)
    head = SoundHead(dims, len(source.batches.names)).to(chosen.device)
    losses = Losses(model, load_teacher(chosen.work, dims).codec.to(chosen.device), head)
    lengths = [min(len(c), MAX_TARGET // FRAMES) for c in encoded.codes[held:]]
    batches = source.endless(lengths, held, chosen.batch, chosen.seed)
    train(
        name,
        model,
        batches,
        losses,
        chosen,
        evaluate=lambda: validate(model, losses, validation),
        autocast=True,
        scaffold=head,
    )


def main() -> None:
    chosen = options(__doc__, steps=28_000, batch=16, lr=1e-3, phases=("all", "codes", "latents"))
    if chosen.phase in ("all", "codes"):
        run("flow-codes", replace(chosen, steps=chosen.steps // 4), None, None)
    if chosen.phase in ("all", "latents"):
        second = replace(chosen, steps=chosen.steps * 3 // 4, lr=chosen.lr * 0.6)
        run("flow", second, LatestGpt(chosen.work, nano_dims(), chosen.device), "flow-codes")


if __name__ == "__main__":
    main()
