"""Velocity estimator of the flow: a diffusion transformer with a WaveNet head.

Shapes: B batch, T mel frames (prompt and target), M mel bins, D width, H heads, E style, C content width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.dims import FlowDims
from tts_trt.model.layers import lengths_to_mask
from tts_trt.model.wavenet import WaveNet
from tts_trt.model.weight_norm import WeightNormLinear

IGNORABLE = ("input_pos", "t_embedder.freqs", "t_embedder2.freqs")
"""Buffers of upstream checkpoints that follow from a formula and are not stored here."""

TIME_FREQUENCIES = 128


class TimeEmbedding(nn.Module):
    """Flow time (B) in 0..1 -> (B, D): cosines and sines of 1000 t at 128 frequencies, then an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        index = torch.arange(TIME_FREQUENCIES, dtype=torch.float32, device=t_B.device)
        angle = 1000.0 * t_B[:, None] * torch.exp(index * (-math.log(10000.0) / TIME_FREQUENCIES))
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=1))


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class AdaptiveNorm(nn.Module):
    """RMS norm whose gain and offset are projected from the time embedding (gain first, no 1+)."""

    eps = 1e-5

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project_layer = nn.Linear(width, 2 * width)
        self.norm = _Scale(width)

    def forward(self, x_BTD: Tensor, time_BD: Tensor) -> Tensor:
        gain, offset = self.project_layer(time_BD)[:, None, :].chunk(2, dim=-1)
        return gain * F.rms_norm(x_BTD, x_BTD.shape[-1:], self.norm.weight, self.eps) + offset


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x_BTD: Tensor, rotary: tuple[Tensor, Tensor], keys_B1TT: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for part in self.wqkv(x_BTD).chunk(3, dim=-1)
        )
        out = F.scaled_dot_product_attention(_rotate(q, *rotary), _rotate(k, *rotary), v, attn_mask=keys_B1TT)
        return self.wo(out.transpose(1, 2).reshape(B, T, D))


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    """One transformer layer; ``skip_in_linear`` is stored by every layer and used by the later half."""

    def __init__(self, dims: FlowDims) -> None:
        super().__init__()
        self.attention = Attention(dims.dim, dims.heads)
        self.feed_forward = FeedForward(dims.dim, dims.ffn)
        self.attention_norm = AdaptiveNorm(dims.dim)
        self.ffn_norm = AdaptiveNorm(dims.dim)
        self.skip_in_linear = nn.Linear(2 * dims.dim, dims.dim)

    def forward(
        self, x: Tensor, skip: Tensor | None, time: Tensor, rotary: tuple[Tensor, Tensor], keys: Tensor
    ) -> Tensor:
        if skip is not None:
            x = self.skip_in_linear(torch.cat([x, skip], dim=-1))
        x = x + self.attention(self.attention_norm(x, time), rotary, keys)
        return x + self.feed_forward(self.ffn_norm(x, time))


class Transformer(nn.Module):
    """Layers with U-shaped skips: the first half's outputs enter the second half, last in first out."""

    def __init__(self, dims: FlowDims) -> None:
        super().__init__()
        self.head_dim = dims.dim // dims.heads
        self.layers = nn.ModuleList(Layer(dims) for _ in range(dims.depth))
        self.norm = AdaptiveNorm(dims.dim)

    def forward(self, x_BTD: Tensor, time_BD: Tensor, inside_BT: Tensor) -> Tensor:
        T = x_BTD.shape[1]
        # ONNX Runtime's Attention broadcasts the mask over heads but not over queries
        keys_B1TT = inside_BT[:, None, None, :].expand(-1, -1, T, -1)
        rotary = _rotary(T, self.head_dim, x_BTD)
        middle = len(self.layers) // 2
        skips: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            skip = skips.pop() if i > middle else None
            x_BTD = layer(x_BTD, skip, time_BD, rotary, keys_B1TT)
            if i < middle:
                skips.append(x_BTD)
        return self.norm(x_BTD, time_BD)


class FinalLayer(nn.Module):
    """LayerNorm modulated by the time embedding (shift first, 1 + scale), then a projection."""

    def __init__(self, time_width: int, width: int) -> None:
        super().__init__()
        self.linear = WeightNormLinear(width, width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 2 * width))

    def forward(self, x_BTD: Tensor, time_BD: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(time_BD)[:, None, :].chunk(2, dim=-1)
        x_BTD = F.layer_norm(x_BTD, x_BTD.shape[-1:], eps=1e-6)
        return self.linear(x_BTD * (1.0 + scale) + shift)


class Estimator(nn.Module):
    """Velocity of the flow at time t. ``x_embedder``, ``cond_embedder`` and ``content_mask_embedder`` are
    stored by checkpoints and used by nothing."""

    def __init__(self, dims: FlowDims, n_mels: int, style_dim: int, content_dim: int) -> None:
        super().__init__()
        dim, head_dim = dims.dim, dims.wavenet_dim
        self.transformer = Transformer(dims)
        self.x_embedder = WeightNormLinear(n_mels, dim)
        self.cond_embedder = nn.Embedding(dims.codebook_size, dim)
        self.content_mask_embedder = nn.Embedding(1, dim)
        self.cond_projection = nn.Linear(content_dim, dim)
        self.cond_x_merge_linear = nn.Linear(2 * n_mels + dim + style_dim, dim)
        self.t_embedder = TimeEmbedding(dim)
        self.t_embedder2 = TimeEmbedding(head_dim)
        self.skip_linear = nn.Linear(dim + n_mels, dim)
        self.conv1 = nn.Linear(dim, head_dim)
        self.wavenet = WaveNet(head_dim, dims.wavenet_layers, dims.wavenet_kernel)
        self.res_projection = nn.Linear(dim, head_dim)
        self.final_layer = FinalLayer(dim, head_dim)
        self.conv2 = nn.Conv1d(head_dim, n_mels, 1)

    def forward(
        self,
        x_BMT: Tensor,
        prompt_BMT: Tensor,
        lengths_B: Tensor,
        t_B: Tensor,
        style_BE: Tensor,
        condition_BTC: Tensor,
        exact_edges: bool = True,
    ) -> Tensor:
        """All float but lengths (B) int in frames -> velocity (B, n_mels, T).

        With ``exact_edges`` a right-padded row equals its own unpadded run; without, the head reflects at
        the padded end as upstream does. Frames beyond a row's end are undefined.
        """
        T = x_BMT.shape[2]
        inside_BT = lengths_to_mask(lengths_B, T)
        time = self.t_embedder(t_B)
        x_BTM = x_BMT.transpose(1, 2)
        content = self.cond_projection(condition_BTC)
        style = style_BE[:, None, :].expand(-1, T, -1)
        merged = torch.cat([x_BTM, prompt_BMT.transpose(1, 2), content, style], dim=-1)
        hidden = self.transformer(self.cond_x_merge_linear(merged), time, inside_BT)
        hidden = self.skip_linear(torch.cat([hidden, x_BTM], dim=-1))
        edges_B = lengths_B if exact_edges else torch.full_like(lengths_B, T)
        wave = self.wavenet(self.conv1(hidden).transpose(1, 2), self.t_embedder2(t_B), inside_BT, edges_B)
        out = self.final_layer(wave.transpose(1, 2) + self.res_projection(hidden), time)
        return self.conv2(out.transpose(1, 2))


def _rotary(size: int, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, head_dim / 2) of positions 0..T-1, base 10000, in the dtype of ``like``."""
    index = torch.arange(0, head_dim, 2, dtype=torch.float32, device=like.device)
    position = torch.arange(size, dtype=torch.float32, device=like.device)
    angle = position[:, None] * torch.exp(index * (-math.log(10000.0) / head_dim))
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def _rotate(x_BHTd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the neighbouring pairs (2i, 2i+1)."""
    even, odd = x_BHTd[..., 0::2], x_BHTd[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)
