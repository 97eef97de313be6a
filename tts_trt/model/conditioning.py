"""Conformer and perceiver: semantic features of a reference -> latents.

B batch, T feature rows, U rows after the stride-2 input convolution, C feature width, D conformer width,
N latents, P perceiver width. Keys and arithmetic follow IndexTTS-2: no relative shift in the attention, no norm
before the perceiver's attention, queries included in its keys.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from tts_trt.dims import ConformerDims

PERCEIVER_HEAD = 64
MAX_ROWS = 5000
MASKED = -1e4  # as good as -inf after a softmax, and half can hold it


def sinusoid(rows: int, width: int) -> torch.Tensor:
    """(rows,width) table, even columns sine, odd cosine, base 10000."""
    position = torch.arange(rows, dtype=torch.float32)[:, None]
    scale = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(10000.0) / width))
    table = torch.zeros(rows, width)
    table[:, 0::2] = torch.sin(position * scale)
    table[:, 1::2] = torch.cos(position * scale)
    return table


class _PositionTable(nn.Module):
    pe: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoid(MAX_ROWS, width)[None])


class _InputConv(nn.Module):
    """3x3 stride-2 convolution over (time, feature), flattened channel-major."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, width, 3, stride=2), nn.ReLU())
        self.out = nn.Sequential(nn.Linear(width * ((features - 1) // 2), width))
        self.pos_enc = _PositionTable(width)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        x_BDUf = self.conv(x_BTC[:, None])
        return self.out(x_BDUf.transpose(1, 2).flatten(2))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def forward(self, x_BUD: torch.Tensor, pos_1UD: torch.Tensor, mask_BU: torch.Tensor) -> torch.Tensor:
        def split(y: torch.Tensor) -> torch.Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q = split(self.linear_q(x_BUD))
        k, v, p = split(self.linear_k(x_BUD)), split(self.linear_v(x_BUD)), split(self.linear_pos(pos_1UD))
        content = (q + self.pos_bias_u[:, None]) @ k.transpose(-2, -1)
        position = (q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1)
        score = (content + position) / math.sqrt(q.shape[-1])
        hidden_key = ~mask_BU[:, None, None]
        weights = score.masked_fill(hidden_key, MASKED).softmax(-1).masked_fill(hidden_key, 0.0)
        return self.linear_out((weights @ v).transpose(1, 2).flatten(2))


class ConformerConvolution(nn.Module):
    isolate_rows = True
    """Zero padded frames between the convolutions too, so that a padded row equals the unpadded one. Upstream does
    not: the first bias leaks back from the padding. Switch off only to reproduce its padded batches."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x_BUD: torch.Tensor, mask_BU: torch.Tensor) -> torch.Tensor:
        real_B1U = mask_BU[:, None].to(x_BUD.dtype)
        x_BDU = x_BUD.transpose(1, 2) * real_B1U
        x_BDU = F.glu(self.pointwise_conv1(x_BDU), dim=1)
        if self.isolate_rows:
            x_BDU = x_BDU * real_B1U
        x_BDU = self.depthwise_conv(x_BDU)
        x_BDU = F.silu(self.norm(x_BDU.transpose(1, 2))).transpose(1, 2)
        return (self.pointwise_conv2(x_BDU) * real_B1U).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w_2(F.silu(self.w_1(x)))


class _Block(nn.Module):
    def __init__(self, dims: ConformerDims) -> None:
        super().__init__()
        self.self_attn = _Attention(dims.width, dims.heads)
        self.feed_forward = _FeedForward(dims.width, dims.ffn)
        self.conv_module = ConformerConvolution(dims.width, dims.conv_kernel)
        self.norm_ff = nn.LayerNorm(dims.width)
        self.norm_mha = nn.LayerNorm(dims.width)
        self.norm_conv = nn.LayerNorm(dims.width)
        self.norm_final = nn.LayerNorm(dims.width)

    def forward(self, x: torch.Tensor, pos: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.norm_mha(x), pos, mask)
        x = x + self.conv_module(self.norm_conv(x), mask)
        x = x + self.feed_forward(self.norm_ff(x))
        return self.norm_final(x)


class Conformer(nn.Module):
    def __init__(self, features: int, dims: ConformerDims) -> None:
        super().__init__()
        self.width = dims.width
        self.embed = _InputConv(features, dims.width)
        self.after_norm = nn.LayerNorm(dims.width)
        self.encoders = nn.ModuleList(_Block(dims) for _ in range(dims.blocks))

    def forward(self, x_BTC: torch.Tensor, lengths_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> states (B,U,D) and mask (B,U), U = (T-1)//2. A row shorter than 3 has no states."""
        mask_BT = torch.arange(x_BTC.shape[1], device=x_BTC.device) < lengths_B[:, None]
        x = self.embed(x_BTC) * math.sqrt(self.width)
        mask_BU = mask_BT[:, 2::2]
        pos = self.embed.pos_enc.pe[:, : x.shape[1]]
        for block in self.encoders:
            x = block(x, pos, mask_BU)
        return self.after_norm(x), mask_BU


class _PerceiverAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * PERCEIVER_HEAD
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, latents: torch.Tensor, context: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        keys = torch.cat([latents, context], dim=1)
        k, v = self.to_kv(keys).chunk(2, dim=-1)
        q, k, v = (
            y.unflatten(-1, (self.heads, PERCEIVER_HEAD)).transpose(1, 2) for y in (self.to_q(latents), k, v)
        )
        # spelt out: TensorRT-RTX 1.7 crashes on a fused attention with one query, two heads and this mask
        score = (q @ k.transpose(-2, -1)) / math.sqrt(PERCEIVER_HEAD)
        out = score.masked_fill(~mask[:, None, None], MASKED).softmax(-1) @ v
        return self.to_out(out.transpose(1, 2).flatten(2))


class _Geglu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)


class _RmsGain(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x, dim=-1, eps=1e-12) * math.sqrt(x.shape[-1]) * self.gamma


class Perceiver(nn.Module):
    def __init__(self, context: int, width: int, latents: int, heads: int, mult: int, depth: int = 2) -> None:
        super().__init__()
        inner = int(width * mult * 2 / 3)
        self.proj_context = nn.Linear(context, width)
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    _PerceiverAttention(width, heads),
                    nn.Sequential(nn.Linear(width, 2 * inner), _Geglu(), nn.Linear(inner, width)),
                ]
            )
            for _ in range(depth)
        )
        self.norm = _RmsGain(width)

    def forward(self, x_BUD: torch.Tensor, mask_BU: torch.Tensor) -> torch.Tensor:
        """-> latents (B,N,P)."""
        context = self.proj_context(x_BUD)
        latents = self.latents[None].expand(x_BUD.shape[0], -1, -1)
        always = torch.ones_like(mask_BU[:, :1]).expand(-1, self.latents.shape[0])
        mask = torch.cat([always, mask_BU], dim=1)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = latents + attention(latents, context, mask)
            latents = latents + feed_forward(latents)
        return self.norm(latents)
