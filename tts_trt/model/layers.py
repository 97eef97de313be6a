"""Small layers that several stages share.

Shapes: B batch, C channels, T time, K kernel taps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WeightNormConv1d(nn.Module):
    """1-D convolution whose weight is ``g * v / ||v||``, the norm taken over all dims but the first.

    The state dict holds ``weight_g`` (out,1,1), ``weight_v`` (out,in,K) and, with ``bias``, ``bias`` (out),
    as checkpoints trained with weight normalisation store them. Padding is with zeros.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.dilation, self.padding = stride, dilation, padding
        self.weight_v = nn.Parameter(torch.empty(out_channels, in_channels, kernel))
        self.weight_g = nn.Parameter(torch.empty(out_channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights as a plain convolution starts with; the gain is the norm, so that w equals v."""
        nn.init.kaiming_uniform_(self.weight_v, a=5**0.5)
        with torch.no_grad():
            self.weight_g.copy_(_row_norm(self.weight_v))
        if self.bias is not None:
            bound = self.weight_v[0].numel() ** -0.5
            nn.init.uniform_(self.bias, -bound, bound)

    @property
    def weight(self) -> Tensor:
        """The weight the convolution uses, (out, in, K)."""
        return self.weight_v * (self.weight_g / _row_norm(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, T) -> (B, out, T')."""
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


def _row_norm(v: Tensor) -> Tensor:
    """Euclidean norm of each row of ``v`` (out, in, K) -> (out, 1, 1)."""
    return v.square().sum((1, 2), keepdim=True).sqrt()


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """True where a position exists: lengths (B) int -> (B, size) bool."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
