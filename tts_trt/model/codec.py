"""Semantic codec: semantic features to one code per frame and back (RepCodec, one factorised quantiser).

State-dict keys are those of the published checkpoint.

Shapes: B batch, T frames, C semantic width, V backbone width, Q codebook width, N codes in the book.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.dims import CodecDims
from tts_trt.model.layers import WeightNormConv1d, lengths_to_mask

NORM_EPS = 1e-6


class ConvNextBlock(nn.Module):
    def __init__(self, dims: CodecDims) -> None:
        super().__init__()
        width = dims.vocos_dim
        self.dwconv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.pwconv1 = nn.Linear(width, dims.vocos_ffn)
        self.pwconv2 = nn.Linear(dims.vocos_ffn, width)
        self.gamma = nn.Parameter(torch.full((width,), 1.0 / dims.vocos_layers))

    def forward(self, x_BTV: Tensor, mask_BT1: Tensor | None) -> Tensor:
        x = self.norm(_convolve(self.dwconv, x_BTV, mask_BT1))
        return x_BTV + self.gamma * self.pwconv2(F.gelu(self.pwconv1(x)))


class Backbone(nn.Module):
    """Vocos backbone, (B,T,C) -> (B,T,V)."""

    def __init__(self, hidden: int, dims: CodecDims) -> None:
        super().__init__()
        self.embed = nn.Conv1d(hidden, dims.vocos_dim, 7, padding=3)
        self.norm = nn.LayerNorm(dims.vocos_dim, eps=NORM_EPS)
        self.convnext = nn.ModuleList(ConvNextBlock(dims) for _ in range(dims.vocos_layers))
        self.final_layer_norm = nn.LayerNorm(dims.vocos_dim, eps=NORM_EPS)

    def forward(self, x_BTC: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        mask_BT1 = None if lengths_B is None else lengths_to_mask(lengths_B, x_BTC.shape[1])[..., None]
        x_BTV = self.norm(_convolve(self.embed, x_BTC, mask_BT1))
        for block in self.convnext:
            x_BTV = block(x_BTV, mask_BT1)
        return self.final_layer_norm(x_BTV)


class VectorQuantizer(nn.Module):
    """Nearest codebook row by cosine similarity in a small space; the row itself is used un-normalised."""

    def __init__(self, hidden: int, dims: CodecDims) -> None:
        super().__init__()
        self.in_project = WeightNormConv1d(hidden, dims.codebook_dim, 1)
        self.out_project = WeightNormConv1d(dims.codebook_dim, hidden, 1)
        self.codebook = nn.Embedding(dims.codebook_size, dims.codebook_dim)

    def search(self, x_BTC: Tensor) -> Tensor:
        """(B,T,C) -> codes (B,T) int64."""
        z_BTQ = F.normalize(self.in_project(x_BTC.transpose(1, 2)).transpose(1, 2), dim=-1)
        book_NQ = F.normalize(self.codebook.weight, dim=-1)
        return (z_BTQ @ book_NQ.T).argmax(-1)

    def embed(self, codes_BT: Tensor) -> Tensor:
        """(B,T) int64 -> (B,T,C)."""
        return self.out_project(self.codebook(codes_BT).transpose(1, 2)).transpose(1, 2)


class ResidualQuantizer(nn.Module):
    def __init__(self, hidden: int, dims: CodecDims) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList([VectorQuantizer(hidden, dims)])


class SemanticCodec(nn.Module):
    """``lengths`` (B) int marks right padding: real frames come out as they do alone, the rest is noise."""

    def __init__(self, hidden: int, dims: CodecDims) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([Backbone(hidden, dims), nn.Linear(dims.vocos_dim, hidden)])
        self.decoder = nn.ModuleList([Backbone(hidden, dims), nn.Linear(dims.vocos_dim, hidden)])
        self.quantizer = ResidualQuantizer(hidden, dims)

    def quantize(self, x_BTC: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Semantic features (B,T,C) -> codes (B,T) int64 and their embeddings (B,T,C)."""
        codes_BT = self.vq.search(self.encode(x_BTC, lengths))
        return codes_BT, self.embed(codes_BT)

    forward = quantize

    def encode(self, x_BTC: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the quantiser sees, (B,T,C)."""
        backbone, project = self.encoder
        return project(backbone(x_BTC, lengths))

    def embed(self, codes_BT: Tensor) -> Tensor:
        """Codes (B,T) int64 -> embeddings (B,T,C)."""
        return self.vq.embed(codes_BT)

    def decode(self, quantised_BTC: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Code embeddings (B,T,C) -> reconstructed semantic features (B,T,C)."""
        backbone, project = self.decoder
        return project(backbone(quantised_BTC, lengths))

    @property
    def vq(self) -> VectorQuantizer:
        """The only quantiser."""
        return self.quantizer.quantizers[0]  # type: ignore[return-value]


def _convolve(conv: nn.Conv1d, x_BTC: Tensor, mask_BT1: Tensor | None) -> Tensor:
    """Zero-padded convolution over time that sees zeros, not padding, beyond each row's end."""
    if mask_BT1 is not None:
        x_BTC = x_BTC.masked_fill(~mask_BT1, 0.0)
    return conv(x_BTC.transpose(1, 2)).transpose(1, 2)
