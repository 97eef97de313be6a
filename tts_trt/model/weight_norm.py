"""Weight-normalised layers beside the convolution, and folding all of them to plain ones.

The weight is ``g * v / ||v||`` with the norm over all dims but the first, whatever the layer: for a
transposed convolution that is one gain per *input* channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tts_trt.model.layers import WeightNormConv1d


class WeightNormConvTranspose1d(nn.Module):
    """Transposed 1-D convolution; keys ``weight_g`` (in,1,1), ``weight_v`` (in,out,K), ``bias`` (out)."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        plain = nn.ConvTranspose1d(in_channels, out_channels, kernel)
        self.weight_v = nn.Parameter(plain.weight.detach().clone())
        self.weight_g = nn.Parameter(_norm(plain.weight.detach()))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    @property
    def weight(self) -> Tensor:
        """The weight the convolution uses, (in, out, K)."""
        return self.weight_v * (self.weight_g / _norm(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, T) -> (B, out, (T-1)*stride - 2*padding + K)."""
        return F.conv_transpose1d(x, self.weight, self.bias, self.stride, self.padding)


class WeightNormLinear(nn.Module):
    """Linear layer; keys ``weight_g`` (out,1), ``weight_v`` (out,in), ``bias`` (out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        plain = nn.Linear(in_features, out_features)
        self.weight_v = nn.Parameter(plain.weight.detach().clone())
        self.weight_g = nn.Parameter(_norm(plain.weight.detach()))
        self.bias = nn.Parameter(torch.zeros(out_features))

    @property
    def weight(self) -> Tensor:
        """The weight the product uses, (out, in)."""
        return self.weight_v * (self.weight_g / _norm(self.weight_v))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, self.weight, self.bias)


def fold_weight_norm(module: nn.Module) -> None:
    """Replace every weight-normalised layer below ``module`` by the plain layer it equals, in place.

    Keys ``weight_g``/``weight_v`` become ``weight``. The new parameters do not require gradients.
    """
    for name, child in list(module.named_children()):
        plain = _plain(child)
        if plain is None:
            fold_weight_norm(child)
        else:
            setattr(module, name, plain)


def _plain(layer: nn.Module) -> nn.Module | None:
    """The plain twin of a weight-normalised layer, None for any other module."""
    plain: nn.Conv1d | nn.ConvTranspose1d | nn.Linear
    if isinstance(layer, WeightNormConv1d):
        out_channels, in_channels, kernel = layer.weight_v.shape
        plain = nn.Conv1d(
            in_channels, out_channels, kernel, layer.stride, layer.padding, layer.dilation,
            bias=layer.bias is not None, device="meta",
        )  # fmt: skip
    elif isinstance(layer, WeightNormConvTranspose1d):
        in_channels, out_channels, kernel = layer.weight_v.shape
        plain = nn.ConvTranspose1d(
            in_channels, out_channels, kernel, layer.stride, layer.padding, device="meta"
        )
    elif isinstance(layer, WeightNormLinear):
        out_features, in_features = layer.weight_v.shape
        plain = nn.Linear(in_features, out_features, device="meta")
    else:
        return None
    plain.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    return plain.train(layer.training)


def _norm(weight: Tensor) -> Tensor:
    """Euclidean norm of each row of ``weight``, dims kept: (N, ...) -> (N, 1, ...)."""
    return weight.square().sum(tuple(range(1, weight.dim())), keepdim=True).sqrt()
