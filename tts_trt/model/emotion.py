"""Mixing an emotion vector into the emotion row through the checkpoint's matrices.

B batch, R matrix rows, E style width, D model width. ``speaker_matrix`` (R,E) and ``emotion_matrix`` (R,D) are
grouped by emotion; in each group the row whose speaker vector is nearest to the style is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class EmotionMatrix(nn.Module):
    speaker_matrix: torch.Tensor
    emotion_matrix: torch.Tensor

    def __init__(self, rows: Sequence[int], style: int, dim: int) -> None:
        super().__init__()
        self.rows = tuple(rows)
        self.register_buffer("speaker_matrix", torch.zeros(sum(rows), style))
        self.register_buffer("emotion_matrix", torch.zeros(sum(rows), dim))

    def nearest(self, style_BE: torch.Tensor) -> torch.Tensor:
        """-> (B,8) row within each group with the highest cosine similarity to the style."""
        similarity = F.normalize(style_BE, dim=-1) @ F.normalize(self.speaker_matrix, dim=-1).T
        return torch.stack([group.argmax(dim=1) for group in similarity.split(self.rows, dim=1)], dim=1)

    def forward(
        self, emotion_BD: torch.Tensor, style_BE: torch.Tensor, weights_B8: torch.Tensor
    ) -> torch.Tensor:
        """sum_c w_c * row_c + (1 - sum w) * emotion. Zero weights leave ``emotion`` as it is."""
        first = torch.tensor([sum(self.rows[:i]) for i in range(len(self.rows))], device=style_BE.device)
        chosen_B8D = self.emotion_matrix[self.nearest(style_BE) + first]
        mixed = (weights_B8[..., None] * chosen_B8D).sum(dim=1)
        return mixed + (1 - weights_B8.sum(dim=1, keepdim=True)) * emotion_BD
