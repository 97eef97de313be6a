"""GPT-2 blocks over a cache, with keys and matrix layout of the checkpoint.

B batch, S new rows, C cache slots, D width, H heads, W head width. The four matrices of a block are stored
(in,out). The same block serves training (its own rows are the keys) and decoding (the cache is).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from tts_trt.dims import GptDims
from tts_trt.model.kv import kv_scatter


class Conv1D(nn.Module):
    """Affine map with the weight stored (in,out)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out) * 0.02)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_attn = Conv1D(dim, 3 * dim)
        self.c_proj = Conv1D(dim, dim)

    def project(self, x_BSD: torch.Tensor) -> list[torch.Tensor]:
        """-> q, k, v (B,H,S,W)."""
        parts = self.c_attn(x_BSD).chunk(3, dim=-1)
        return [p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts]

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.c_proj(out.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = Conv1D(dim, 4 * dim)
        self.c_proj = Conv1D(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = _Attention(dim, heads)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = _Mlp(dim)

    def forward(
        self,
        x: torch.Tensor,
        mask: torch.Tensor,
        cache: tuple[torch.Tensor, torch.Tensor] | None = None,
        pos: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x (B,S,D), mask (B,1,S,C) true where a key may be seen -> x, keys, values."""
        q, k, v = self.attn.project(self.ln_1(x))
        if cache is not None and pos is not None:
            k, v = kv_scatter(cache[0], k, pos), kv_scatter(cache[1], v, pos)
        x = x + self.attn.attend(q, k, v, mask)
        return x + self.mlp(self.ln_2(x)), k, v


class Transformer(nn.Module):
    def __init__(self, dims: GptDims) -> None:
        super().__init__()
        self.h = nn.ModuleList(Block(dims.dim, dims.heads) for _ in range(dims.layers))
        self.ln_f = nn.LayerNorm(dims.dim)

    def forward(self, x_BSD: torch.Tensor, key_mask_BS: torch.Tensor | None = None) -> torch.Tensor:
        """Causal pass without a cache: training and the slow reference."""
        rows = x_BSD.shape[1]
        mask = torch.ones(rows, rows, dtype=torch.bool, device=x_BSD.device).tril()[None, None]
        if key_mask_BS is not None:
            own = torch.eye(rows, dtype=torch.bool, device=x_BSD.device)
            mask = (mask & key_mask_BS[:, None, None]) | own
        for block in self.h:
            x_BSD, _, _ = block(x_BSD, mask)
        return self.ln_f(x_BSD)

    def step(
        self, x_BSD: torch.Tensor, pos_B: torch.Tensor, start_B: torch.Tensor, caches: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Append S rows at slots pos.. of the caches [k_0, v_0, k_1, ...] and return states and caches."""
        mask = cache_mask(pos_B, start_B, x_BSD.shape[1], caches[0].shape[2])
        out: list[torch.Tensor] = []
        for i, block in enumerate(self.h):
            x_BSD, k, v = block(x_BSD, mask, (caches[2 * i], caches[2 * i + 1]), pos_B)
            out += [k, v]
        return self.ln_f(x_BSD), out


def cache_mask(pos_B: torch.Tensor, start_B: torch.Tensor, rows: int, slots: int) -> torch.Tensor:
    """(B,1,S,C) true where query row s, at slot pos+s, may see slot c.

    A row always sees itself, so that padding rows before ``start`` stay finite.
    """
    query = pos_B[:, None] + torch.arange(rows, device=pos_B.device)
    slot = torch.arange(slots, device=pos_B.device)
    own = slot == query[..., None]
    seen = (slot <= query[..., None]) & (slot >= start_B[:, None, None])
    return (seen | own)[:, None]
