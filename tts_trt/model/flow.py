"""What turns codes and their latents into the condition of the flow: ``gpt_layer`` and the length regulator.

Shapes: B batch, M source frames (codes), T target (mel) frames, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.dims import RegulatorDims
from tts_trt.model.layers import lengths_to_mask

STAGES = 4  # convolution, norm, Mish


class GptLayer(nn.Sequential):
    """Three Linears in a row, (B, M, in) -> (B, M, out), no activation between them."""

    def __init__(self, in_features: int, out_features: int, inner: tuple[int, int] = (256, 128)) -> None:
        super().__init__(
            nn.Linear(in_features, inner[0]), nn.Linear(inner[0], inner[1]), nn.Linear(inner[1], out_features)
        )


class MaskedNorm(nn.Module):
    """GroupNorm with one group whose statistics see only the frames inside each row."""

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCT: Tensor, share_B1T: Tensor) -> Tensor:
        """``share``: 1/length inside a row, 0 beyond. Means over C come first, so half precision does not
        overflow on long rows."""
        mean_B11 = (x_BCT.mean(1, keepdim=True) * share_B1T).sum(2, keepdim=True)
        centred = x_BCT - mean_B11
        var_B11 = (centred.square().mean(1, keepdim=True) * share_B1T).sum(2, keepdim=True)
        return centred * torch.rsqrt(var_B11 + self.eps) * self.weight[:, None] + self.bias[:, None]


class LengthRegulator(nn.Module):
    """Stretches source frames to mel frames and smooths them; every row is independent of its batch.

    ``embedding`` and ``mask_token`` are stored by checkpoints and used by nothing.
    """

    def __init__(self, in_channels: int, dims: RegulatorDims) -> None:
        super().__init__()
        channels = dims.channels
        self.content_in_proj = nn.Linear(in_channels, channels)
        self.embedding = nn.Embedding(dims.codebook_size, channels)
        self.mask_token = nn.Parameter(torch.zeros(1, channels))
        self.model = nn.ModuleList()
        for _ in range(STAGES):
            self.model.extend([nn.Conv1d(channels, channels, 3, padding=1), MaskedNorm(channels), nn.Mish()])
        self.model.append(nn.Conv1d(channels, channels, 1))

    def forward(self, x_BMC: Tensor, source_index_BT: Tensor, target_lengths_B: Tensor) -> Tensor:
        """x (B,M,in) float, source_index (B,T) int64 within M, target_lengths (B) int -> (B,T,channels).

        ``source_index`` is ``nearest_index`` of each row's own lengths; what it holds beyond the row's end
        does not matter. Frames beyond the end come out as zeros.
        """
        x_BMC = self.content_in_proj(x_BMC)
        index_BTC = source_index_BT[:, :, None].expand(-1, -1, x_BMC.shape[2])
        x = x_BMC.gather(1, index_BTC).transpose(1, 2)
        outside = ~lengths_to_mask(target_lengths_B, source_index_BT.shape[1])[:, None, :]
        x = x.masked_fill(outside, 0.0)
        share = (1.0 / target_lengths_B.clamp(min=1).to(x.dtype))[:, None, None].expand_as(outside)
        share = share.masked_fill(outside, 0.0)
        for stage in range(STAGES):
            conv, norm = self.model[3 * stage], self.model[3 * stage + 1]
            # zeros beyond the end are what the next convolution's padding is to a single row
            x = F.mish(norm(conv(x), share)).masked_fill(outside, 0.0)
        return self.model[-1](x).masked_fill(outside, 0.0).transpose(1, 2)
