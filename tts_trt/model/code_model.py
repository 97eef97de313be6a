"""The code model: conditioning, prompt, transformer and head of ``gpt.pth``.

B batch, L text ids, S rows, M codes, D width, N conditioning latents, C semantic width, V codes in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tts_trt.dims import ModelDims
from tts_trt.model.conditioning import Conformer, Perceiver
from tts_trt.model.gpt import Transformer

RATE_GAIN = 4.0
"""A rate of 1.19 or 1/1.19 moves the speed row by one unit of its direction."""


class _Positions(nn.Module):
    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(rows, dim)


class CodeModel(nn.Module):
    def __init__(self, dims: ModelDims) -> None:
        super().__init__()
        g, semantic = dims.gpt, dims.semantic_encoder.hidden
        self.dims = dims
        self.conditioning_encoder = Conformer(semantic, g.speaker)
        self.perceiver_encoder = Perceiver(
            g.speaker.width, g.dim, g.latents, g.speaker.heads, g.speaker.perceiver_mult
        )
        self.emo_conditioning_encoder = Conformer(semantic, g.emotion)
        self.emo_perceiver_encoder = Perceiver(
            g.emotion.width, semantic, 1, g.emotion.heads, g.emotion.perceiver_mult
        )
        self.emovec_layer = nn.Linear(semantic, g.dim)
        self.emo_layer = nn.Linear(g.dim, g.dim)
        self.text_embedding = nn.Embedding(g.text_tokens + 1, g.dim)
        self.mel_embedding = nn.Embedding(g.codes, g.dim)
        self.text_pos_embedding = _Positions(g.text_positions, g.dim)
        self.mel_pos_embedding = _Positions(g.code_positions, g.dim)
        self.speed_emb = nn.Embedding(2, g.dim)
        self.gpt = Transformer(g)
        self.final_norm = nn.LayerNorm(g.dim)
        self.mel_head = nn.Linear(g.dim, g.codes)
        self.text_head = nn.Linear(g.dim, g.text_tokens + 1)  # trained upstream, unused when speaking

    def latents(self, speaker_BTC: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """-> (B,N,D) timbre latents."""
        return self.perceiver_encoder(*self.conditioning_encoder(speaker_BTC, lengths_B))

    def emotion(self, emotion_BTC: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """-> (B,D) emotion row."""
        squeezed = self.emo_perceiver_encoder(*self.emo_conditioning_encoder(emotion_BTC, lengths_B))[:, 0]
        return self.emo_layer(self.emovec_layer(squeezed))

    def merged_emotion(
        self,
        speaker: torch.Tensor,
        speaker_lengths: torch.Tensor,
        emotion: torch.Tensor,
        emotion_lengths: torch.Tensor,
        alpha_B: torch.Tensor,
    ) -> torch.Tensor:
        """-> (B,D): from the speaker's own emotion (alpha 0) to the emotion reference's (alpha 1)."""
        own = self.emotion(speaker, speaker_lengths)
        return own + alpha_B[:, None] * (self.emotion(emotion, emotion_lengths) - own)

    def speed_rows(self, rate_B: torch.Tensor) -> torch.Tensor:
        """-> (B,2,D). At rate 1 these are upstream's two rows; the rate shifts the first along the second."""
        plain, moved = self.speed_emb.weight[1], self.speed_emb.weight[0]
        shift = RATE_GAIN * torch.log2(rate_B)[:, None]
        return torch.stack([plain + shift * moved, moved.expand(rate_B.shape[0], -1)], dim=1)

    def prompt(
        self,
        conditioning_BND: torch.Tensor,
        text_BL: torch.Tensor,
        text_lengths_B: torch.Tensor,
        rate_B: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """-> embeddings (B,N+2+L+3,D) right-padded with zeros, and real lengths (B).

        Rows: conditioning, two speed rows, start text, text, stop text, start code.
        """
        g = self.dims.gpt
        row = torch.arange(text_BL.shape[1] + 3, device=text_BL.device)[None]
        shifted = torch.nn.functional.pad(text_BL, (1, 2))
        length = text_lengths_B[:, None]
        ids = torch.where(row == 0, g.start_text, torch.where(row == length + 1, g.stop_text, shifted))
        text_pos = self.text_pos_embedding.emb.weight[: text_BL.shape[1] + 2]
        text = self.text_embedding(ids) + torch.nn.functional.pad(text_pos, (0, 0, 0, 1))
        start_code = self.mel_embedding.weight[g.start_code] + self.mel_pos_embedding.emb.weight[0]
        body = torch.where(
            (row < length + 2)[..., None],
            text,
            torch.where((row == length + 2)[..., None], start_code, torch.zeros_like(text)),
        )
        embeddings = torch.cat([conditioning_BND, self.speed_rows(rate_B), body], dim=1)
        return embeddings, text_lengths_B + (g.latents + 2 + 3)

    def code_rows(self, codes_BM: torch.Tensor) -> torch.Tensor:
        """-> (B,M,D) embeddings of codes c_1.. with contiguous positions 1.."""
        positions = self.mel_pos_embedding.emb.weight[1 : codes_BM.shape[1] + 1]
        return self.mel_embedding(codes_BM) + positions

    def next_row(self, code_B: torch.Tensor, step_B: torch.Tensor) -> torch.Tensor:
        """-> (B,1,D): the row fed after ``code`` was drawn at ``step`` (0 for the first code).

        Upstream's decode loop skips position 1; models with one-pass latents count contiguously.
        """
        first = 2 if self.dims.latents == "exact" else 1
        position = (step_B + first).clamp(max=self.dims.gpt.code_positions - 1)
        return (self.mel_embedding(code_B) + self.mel_pos_embedding.emb(position))[:, None]

    def step(
        self,
        embeddings_BSD: torch.Tensor,
        lengths_B: torch.Tensor,
        pos_B: torch.Tensor,
        start_B: torch.Tensor,
        caches: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Prefill (S>1) or decode step (S=1) -> logits (B,V) after each row's last real row, hidden (B,S,D), caches."""
        states, caches_out = self.gpt.step(embeddings_BSD, pos_B, start_B, caches)
        hidden = self.final_norm(states)
        last = (lengths_B - 1)[:, None, None].expand(-1, 1, hidden.shape[2])
        return self.mel_head(hidden.gather(1, last)[:, 0]), hidden, caches_out
