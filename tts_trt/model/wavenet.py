"""WaveNet head of the velocity estimator, conditioned on the flow time.

Shapes: B batch, C channels, T mel frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tts_trt.model.layers import WeightNormConv1d, lengths_to_mask


class WaveNet(nn.Module):
    """Gated convolutions with reflect padding, dilation 1, residual and skip streams."""

    def __init__(self, channels: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.channels, self.pad = channels, (kernel - 1) // 2
        self.in_layers = nn.ModuleList(
            _nested(WeightNormConv1d(channels, 2 * channels, kernel)) for _ in range(layers)
        )
        self.res_skip_layers = nn.ModuleList(
            _nested(WeightNormConv1d(channels, channels if i == layers - 1 else 2 * channels, 1))
            for i in range(layers)
        )
        self.cond_layer = _nested(WeightNormConv1d(channels, 2 * channels * layers, 1))

    def forward(self, y_BCT: Tensor, time_BC: Tensor, inside_BT: Tensor, edges_B: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T), zero outside ``inside`` (B, T) bool; reflects at ``edges`` (B) frames."""
        C = self.channels
        outside = ~inside_BT[:, None, :]
        beyond = ~lengths_to_mask(edges_B, y_BCT.shape[2])[:, None, :]
        gates = _conv(self.cond_layer, time_BC[:, :, None]).chunk(len(self.in_layers), dim=1)
        y = y_BCT.masked_fill(beyond, 0.0)
        total = torch.zeros_like(y)
        for gate, in_layer, res_skip in zip(gates, self.in_layers, self.res_skip_layers, strict=True):
            z = _conv(in_layer, reflect(y, edges_B, self.pad)) + gate
            out = _conv(res_skip, torch.tanh(z[:, :C]) * torch.sigmoid(z[:, C:]))
            if out.shape[1] == 2 * C:
                y = (y + out[:, :C]).masked_fill(outside, 0.0)
                out = out[:, C:]
            total = total + out
        return total.masked_fill(outside, 0.0)


def reflect(y_BCT: Tensor, edges_B: Tensor, pad: int) -> Tensor:
    """Reflect ``y``, zero beyond its ``edges``, about its first and its row's last frame: (B, C, T + 2 pad).

    A row of ``pad`` frames or fewer is first extended with zeros to ``pad + 1``.
    """
    y = torch.nn.functional.pad(y_BCT, (0, pad))
    left = y[:, :, 1 : pad + 1].flip(2)
    edge_B11 = edges_B.to(torch.int64).clamp(min=pad + 1)[:, None, None]
    position = torch.arange(y.shape[2], device=y.device)
    # one select per reflected frame: far cheaper than gathering all frames through an index
    mirrored = [y.gather(2, (edge_B11 - 2 - k).expand(-1, y.shape[1], 1)) for k in range(pad)]
    for k, frame_BC1 in enumerate(mirrored):
        y = torch.where(position == edge_B11 + k, frame_BC1, y)
    return torch.cat([left, y], dim=2)


def _nested(conv: WeightNormConv1d) -> nn.ModuleDict:
    """``conv`` under the key ``conv.conv``, where checkpoints keep it."""
    return nn.ModuleDict({"conv": nn.ModuleDict({"conv": conv})})


def _conv(nested: nn.Module, x: Tensor) -> Tensor:
    return nested.get_submodule("conv.conv")(x)
